//! A stack over the kernel's sockets, and programs that know nothing of it. Loopback; no privilege is needed.

use fourwave::{App, ConnId, Duration, Error, Idle, Io, ListenerId, Message, Running, Stack, TimerId};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// After so long nothing comes any more.
const LOST: std::time::Duration = std::time::Duration::from_secs(20);

/// Sends back what comes, and counts connections.
#[derive(Clone, Debug, Default)]
struct Echo {
    accepted: usize,
}

impl App for Echo {
    fn on_accept(&mut self, _: &mut Io<'_>, _: ConnId, _: ListenerId) {
        self.accepted += 1;
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        io.send(conn, data).unwrap_or(data.len())
    }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Everything that was sent comes back, in spite of a reader that only begins when all is sent; then the FIN.
fn echoes(to: SocketAddr, bytes: usize) {
    let mut client = TcpStream::connect(to).unwrap();
    let sent: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let mut writer = client.try_clone().unwrap();
    let all = sent.clone();
    let writer = std::thread::spawn(move || {
        writer.write_all(&all).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got == sent, "{} of {bytes} bytes", got.len());
    writer.join().unwrap();
}

#[test]
fn an_echo_runs_whatever_the_idle_strategy() {
    for idle in [Idle::Sleep, Idle::Adaptive, Idle::Busy] {
        let running = Stack::kernel().listen(anywhere()).idle(idle).start(Echo::default()).unwrap();
        assert!(running.report().is_none());
        let to = running.listening()[0];
        for bytes in [0, 1, 3_000_000] {
            echoes(to, bytes);
        }
        running.stop();
        let finished = running.join().unwrap();
        assert_eq!(finished[0].app.accepted, 3, "{idle:?}");
        let counters = finished[0].counters.sockets;
        assert_eq!((counters.accepted, counters.closed, counters.failed, counters.open), (3, 3, 0, 0), "{idle:?}");
        // The port is free again.
        drop(TcpListener::bind(to).unwrap());
    }
}

#[test]
fn shards_share_the_ports() {
    let stack = Stack::kernel().shards(3).listen(anywhere()).listen(([127, 0, 0, 1], 0).into()).idle(Idle::Sleep);
    let running = stack.start(Echo::default()).unwrap();
    assert_eq!(running.shards(), 3);
    let to: Vec<_> = running.listening().to_vec();
    assert_ne!(to[0].port(), to[1].port());
    // SO_REUSEPORT spreads them by a hash: that one shard of three gets all of 64 happens once in 10^30.
    (0..64).for_each(|at| echoes(to[at % 2], 100));
    running.stop();
    let accepted: Vec<_> = running.join().unwrap().iter().map(|shard| shard.app.accepted).collect();
    assert_eq!(accepted.iter().sum::<usize>(), 64);
    assert!(accepted.iter().all(|shard| *shard < 64), "{accepted:?}");
}

#[test]
fn a_port_in_use_is_told_with_its_holder() {
    let running = Stack::kernel().shards(2).listen(anywhere()).idle(Idle::Sleep).start(Echo::default()).unwrap();
    let to = running.listening()[0];
    for shards in [1, 2] {
        let error = Stack::kernel().shards(shards).listen(to).start(Echo::default()).unwrap_err();
        let Error::InUse { address, holder } = &error else { panic!("{error}") };
        assert_eq!(*address, to);
        assert!(holder.to_string().contains(&format!("(process {})", std::process::id())), "{holder}");
    }
}

#[test]
fn what_needs_an_interface_is_refused_by_its_name() {
    let own = fourwave::Address { ip: [10, 0, 0, 1].into(), prefix_len: 24, gateway: None };
    let wrong = [
        (Stack::kernel().address(own), "address is 10.0.0.1"),
        (Stack::kernel().vlan(7), "vlan is 7"),
        (Stack::kernel().queues([0]), "queues is [0]"),
        (Stack::kernel().ports(50_000..=50_010), "ports is 50000..=50010"),
        (Stack::kernel().xdp_mode(fourwave::XdpMode::Native), "xdp_mode is Native"),
        (Stack::kernel().copy_mode(fourwave::CopyMode::Copy), "copy_mode is Copy"),
        (Stack::kernel().tx_checksum(fourwave::TxChecksum::Compute), "tx_checksum is Compute"),
        (Stack::kernel().shards(0), "shards is 0"),
        (Stack::kernel().shards(2).cores([0]), "cores is [0]"),
        (Stack::on("lo").shards(2), "shards is 2"),
    ];
    for (stack, begins) in wrong {
        let error = stack.start(Echo::default()).unwrap_err().to_string();
        assert!(error.starts_with(begins) && error.contains("allowed is"), "{error}");
    }
    // The same program asks for active opens where there is an interface.
    Stack::kernel().active_opens().idle(Idle::Sleep).start(Echo::default()).unwrap();
}

#[test]
fn a_limit_out_of_its_range_is_refused_by_its_name() {
    let stack = || Stack::kernel().idle(Idle::Sleep);
    for (stack, says) in [
        (stack().max_connections(0), "max_connections is 0, allowed is 1 to 2^30"),
        (stack().max_connections((1 << 30) + 1), "max_connections is 1073741825, allowed is 1 to 2^30"),
        (stack().max_half_open((1 << 24) + 1), "max_half_open is 16777217, allowed is 1 to 2^24"),
        (stack().max_time_wait(0), "max_time_wait is 0, allowed is 1 to 2^30"),
        (stack().max_timers((1 << 30) + 1), "max_timers is 1073741825, allowed is 0 to 2^30"),
        (stack().max_messages(0), "max_messages is 0, allowed is 1 to 2^20"),
        (stack().pool_bytes(16_383), "pool_bytes is 16383, allowed is 16 KiB to 4 TiB"),
    ] {
        let error = stack.start(Echo::default()).unwrap_err().to_string();
        assert_eq!(error, says);
    }
}

/// Opens connections to a listener of its own until it may not, sets timers likewise, and says how many it has got.
#[derive(Clone, Debug)]
struct Greedy(std::sync::mpsc::Sender<(usize, usize)>, SocketAddr);

impl App for Greedy {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }

    fn on_message(&mut self, io: &mut Io<'_>, _: Message) {
        let opens = std::iter::from_fn(|| io.connect(self.1).ok()).take(100).count();
        let timers = std::iter::from_fn(|| io.start_timer(Duration::from_secs(60), 0).ok()).take(100).count();
        self.0.send((opens, timers)).unwrap();
    }
}

#[test]
fn limits_hold() {
    let listener = TcpListener::bind(anywhere()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let greedy = Greedy(tell, listener.local_addr().unwrap());
    let stack = Stack::kernel().idle(Idle::Sleep).max_connections(3).max_timers(5).max_messages(2);
    let running = stack.start(greedy).unwrap();
    running.poster().post(0, Box::new(())).unwrap();
    assert_eq!(told.recv().unwrap(), (3, 5));
}

/// The end is asked for: who is there may stay for the drain time, and nobody else comes.
#[test]
fn a_drain_waits_for_who_is_there() {
    let stack = Stack::kernel().listen(anywhere()).drain_time(Duration::from_secs(600)).idle(Idle::Sleep);
    let running = stack.start(Echo::default()).unwrap();
    let to = running.listening()[0];
    let mut client = TcpStream::connect(to).unwrap();
    let mut echo = |byte: u8| {
        let mut got = [0];
        client.write_all(&[byte]).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, [byte]);
    };
    echo(1);
    running.stop();
    while TcpStream::connect(to).is_ok() {
        std::thread::yield_now();
    }
    echo(2);
    assert!(!running.is_finished());
    drop(client);
    let counters = running.join().unwrap()[0].counters.sockets;
    assert_eq!((counters.open, counters.failed), (0, 0));
}

/// Sets a timer when it gets a message, and ends the stack when that is due.
#[derive(Clone, Debug)]
struct Service;

impl App for Service {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }

    fn on_message(&mut self, io: &mut Io<'_>, message: Message) {
        let key = *message.downcast::<u64>().unwrap();
        io.start_timer(Duration::from_millis(1), key).unwrap();
    }

    fn on_timer(&mut self, io: &mut Io<'_>, _: TimerId, key: u64) {
        assert_eq!((key, io.place().count), (7, 2));
        io.finish();
    }
}

#[test]
fn timers_and_messages_need_no_interface() {
    let running = Stack::kernel().shards(2).idle(Idle::Sleep).start(Service).unwrap();
    running.poster().post(1, Box::new(7u64)).unwrap();
    let finished = running.join().unwrap();
    assert_eq!(finished[1].counters.timers_fired, 1);
}

/// Falls over what comes.
#[derive(Clone, Debug)]
struct Clumsy;

impl App for Clumsy {
    fn on_data(&mut self, io: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        panic!("{} bytes at shard {}", data.len(), io.place().index);
    }
}

/// As Linux does it for a process that dies with data unread, for all connections of the shard; and whoever waits for the stack
/// is told.
#[test]
fn a_panic_of_the_application_resets_its_peers() {
    let running = Stack::kernel().listen(anywhere()).idle(Idle::Sleep).start(Clumsy).unwrap();
    let to = running.listening()[0];
    let mut clients = [TcpStream::connect(to).unwrap(), TcpStream::connect(to).unwrap()];
    clients[1].write_all(b"three").unwrap();
    for client in &mut clients {
        client.set_read_timeout(Some(LOST)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    let error = running.join().unwrap_err().to_string();
    assert!(error.starts_with("shard 0 panicked") && error.contains("5 bytes at shard 0"), "{error}");
    assert_eq!(TcpStream::connect(to).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

type Held = Arc<Mutex<Option<Running<Joiner>>>>;

/// Waits for its own end, once it is asked to.
#[derive(Clone, Debug, Default)]
struct Joiner {
    running: Held,
    told: Arc<Mutex<Option<String>>>,
}

impl App for Joiner {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        let joined = self.running.lock().unwrap().take().map(Running::join);
        *self.told.lock().unwrap() = joined.and_then(Result::err).map(|error| error.to_string());
        data.len()
    }
}

/// pthread_join(3) of oneself is a deadlock (EDEADLK): it is refused, and the stack ends.
#[test]
fn a_shard_does_not_wait_for_its_own_end() {
    let app = Joiner::default();
    let running = Stack::kernel().listen(anywhere()).idle(Idle::Sleep).start(app.clone()).unwrap();
    let mut client = TcpStream::connect(running.listening()[0]).unwrap();
    client.set_read_timeout(Some(LOST)).unwrap();
    *app.running.lock().unwrap() = Some(running);
    client.write_all(b"join").unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed in order");
    let told = app.told.lock().unwrap().clone().unwrap_or_default();
    assert!(told.contains("join on another thread"), "{told}");
}

/// `0.0.0.0` and `::` are all addresses of their family, as of a stack: each may have the same port.
#[test]
fn all_addresses_are_those_of_one_family() {
    let ip = |text: &str, port| SocketAddr::new(text.parse().unwrap(), port);
    let net = fourwave::net::Net::kernel();
    // The port may be somebody else's of IPv4.
    assert!((0..20).any(|_| {
        let six = net.bind(ip("::", 0)).unwrap();
        net.bind(ip("0.0.0.0", six.local_addr().unwrap().port())).is_ok()
    }));
    #[cfg(feature = "tokio")]
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(async {
        use fourwave::net::tokio::TcpListener;
        let mut both = false;
        for _ in 0..20 {
            let six = TcpListener::bind_on(&net, ip("::", 0)).await.unwrap();
            both |= TcpListener::bind_on(&net, ip("0.0.0.0", six.local_addr().unwrap().port())).await.is_ok();
        }
        assert!(both);
    });
}
