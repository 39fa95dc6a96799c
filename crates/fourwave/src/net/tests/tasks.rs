//! The same programs of tasks on the kernel's sockets and on stacks' with threads, on runtimes of one thread and of several.

use super::world::{Backend, World};
use crate::net::Net;
use crate::net::tokio::{TcpListener, TcpStream};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Builder;

mod ends;
mod http;
mod last;
mod waiting;

/// What takes longer was never woken.
const LOST: Duration = Duration::from_secs(60);

/// What a test runs in.
#[derive(Debug, Clone)]
struct Ends {
    backend: Backend,
    server: Net,
    client: Net,
}

impl Ends {
    async fn listen(&self) -> (TcpListener, SocketAddr) {
        let ip = if self.backend == Backend::Kernel { [127, 0, 0, 1] } else { super::world::SERVER };
        let listener = TcpListener::bind_on(&self.server, SocketAddr::from((ip, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn connect(&self, address: SocketAddr) -> TcpStream {
        TcpStream::connect_on(&self.client, address).await.unwrap()
    }

    /// A client's stream, and the server's.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let (listener, address) = self.listen().await;
        let client = self.connect(address).await;
        let (server, from) = listener.accept().await.unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        assert_eq!(server.local_addr().unwrap(), client.peer_addr().unwrap());
        (client, server)
    }
}

/// Runs a test on each backend and each kind of runtime. For a stack's sockets the runtime has no I/O driver: none is needed.
fn everywhere<F: Future<Output = ()>>(test: impl Fn(Ends) -> F) {
    for backend in [Backend::Kernel, Backend::Threads] {
        for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let world = World::new(backend);
            let ends = Ends { backend, server: world.server.clone(), client: world.client.clone() };
            if backend == Backend::Kernel {
                builder.enable_io();
            }
            let runtime = builder.enable_time().build().unwrap();
            let result = runtime.block_on(async { tokio::time::timeout(LOST, test(ends)).await });
            assert!(result.is_ok(), "{backend:?}: nobody was woken");
        }
    }
}

/// Polls a future once, and drops it.
async fn give_up<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1].wrapping_mul(31) ^ seed).collect()
}
