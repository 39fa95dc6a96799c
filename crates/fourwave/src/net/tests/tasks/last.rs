//! The last handle of a stack, dropped by one of its own threads.

use crate::net::Net;
use crate::net::link::Link;
use crate::net::sockets::Sockets;
use crate::net::tokio::TcpStream;
use crate::{Idle, Stack};
use std::io::{Read, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// A task that is over when it is woken, and goes with all it has, as executors have them that run where they are woken.
struct Task(Mutex<Option<(Net, [TcpStream; 2])>>, Sender<Option<String>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
        self.1.send(std::thread::current().name().map(str::to_owned)).unwrap();
    }
}

/// A stack over the kernel's sockets, with streams of its own.
fn stack() -> Net {
    let mut links = Vec::new();
    let shards = Stack::kernel().idle(Idle::Sleep).start_each(|place| {
        links.push(Link::new(place.index.into(), 16, 4096));
        Sockets::new(Arc::clone(links.last().unwrap()))
    });
    let running = shards.unwrap();
    links.iter().zip(running.wakers()).for_each(|(link, waker)| link.set_waker(waker));
    Net::over(links, None, None, true, Some(running))
}

/// A thread that waited for itself would never end; so it is another that ends the stack, in order.
#[test]
fn the_last_handle_may_go_on_a_thread_of_the_stack() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, net) = (listener.local_addr().unwrap(), stack());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let open = || {
        let stream = runtime.block_on(TcpStream::connect_on(&net, address)).unwrap();
        let peer = listener.accept().unwrap().0;
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (stream, peer)
    };
    let ((busy, mut busy_peer), (idle, mut idle_peer)) = (open(), open());
    let (tell, told) = channel();
    let task = Arc::new(Task(Mutex::default(), tell));
    let waker = Waker::from(Arc::clone(&task));
    assert!(busy.poll_read_ready(&mut Context::from_waker(&waker)).is_pending());
    *task.0.lock().unwrap() = Some((net, [busy, idle]));
    busy_peer.write_all(b"x").unwrap();
    assert_eq!(told.recv().unwrap().as_deref(), Some("fw-shard-0"));
    assert_eq!(idle_peer.read(&mut [0]).unwrap(), 0, "closed in order");
}
