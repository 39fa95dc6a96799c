//! What is wrong on the way to a peer, told of the stack's connections and of the kernel's by one application that has both. Needs
//! root, iproute2, ethtool and sysctl.

mod lab;

use fourwave::{App, ConnId, ConnectionError, Duration, IcmpError, Io, Message, Running, SoftError, Stack, Via};
use lab::{Lab, ip, within};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Behind the router that fw-net-b is, and its own.
const SERVERS: [&str; 2] = ["10.78.9.1:7", "[fd78:9::1]:7"];
/// Without a word for so long, one was lost.
const LOST: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Debug, PartialEq)]
enum Told {
    Connected,
    Data(usize),
    Icmp(IcmpError),
    Closed(Option<ConnectionError>),
}

type Call = Box<dyn FnOnce(&mut Io<'_>) + Send>;

/// Does what comes by message, and says what it is told.
#[derive(Clone)]
struct Probe(Sender<(ConnId, Told)>);

impl App for Probe {
    fn on_connected(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.0.send((conn, Told::Connected)).unwrap();
    }

    fn on_data(&mut self, _: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        self.0.send((conn, Told::Data(data.len()))).unwrap();
        data.len()
    }

    fn on_soft_error(&mut self, _: &mut Io<'_>, conn: ConnId, error: SoftError) {
        if let SoftError::Icmp(error) = error {
            self.0.send((conn, Told::Icmp(error))).unwrap();
        }
    }

    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        self.0.send((conn, Told::Closed(error))).unwrap();
    }

    fn on_message(&mut self, io: &mut Io<'_>, message: Message) {
        message.downcast::<Call>().unwrap()(io);
    }
}

fn prepare() {
    for step in [
        "-n fw-net-a address add fd78::1/64 dev fwn-a nodad",
        "-n fw-net-b address add fd78::2/64 dev fwn-b nodad",
        "-n fw-net-a route add 10.78.9.1 via 10.78.0.2",
        "-n fw-net-a route add fd78:9::1 via fd78::2",
        "netns exec fw-net-b sysctl -w net.ipv4.ip_forward=1",
        "netns exec fw-net-b sysctl -w net.ipv6.conf.all.forwarding=1",
        "netns exec fw-net-b sysctl -w net.ipv4.icmp_ratelimit=0",
        "netns exec fw-net-b sysctl -w net.ipv6.icmp.ratelimit=0",
        "-n fw-net-b link set lo up",
    ] {
        assert!(ip(step), "ip {step}");
    }
    reachable(true);
}

/// The servers' host is behind the router, or is not: the router says so.
fn reachable(on: bool) {
    let (addresses, routes) = if on { ("add", "del") } else { ("del", "add") };
    for (host, family) in [("10.78.9.1/32", "-4"), ("fd78:9::1/128", "-6")] {
        let nodad = if on && family == "-6" { " nodad" } else { "" };
        let _ = ip(&format!("{family} -n fw-net-b route {routes} unreachable {host}"));
        assert!(ip(&format!("{family} -n fw-net-b address {addresses} {host} dev lo{nodad}")));
    }
}

/// An echo for two connections of each family, until they end.
fn serve() {
    let (ready, listens) = channel();
    within("fw-net-b", move || {
        for at in SERVERS {
            let listener = TcpListener::bind(at).unwrap();
            std::thread::spawn(move || {
                while let Ok((mut stream, _)) = listener.accept() {
                    std::thread::spawn(move || {
                        let mut piece = [0; 100];
                        while let Ok(n @ 1..) = stream.read(&mut piece) {
                            let _ = stream.write_all(&piece[..n]);
                        }
                    });
                }
            });
        }
        ready.send(()).unwrap();
    });
    listens.recv().unwrap();
}

struct World {
    running: Running<Probe>,
    told: Receiver<(ConnId, Told)>,
    conns: Vec<ConnId>,
}

impl World {
    fn up() -> Self {
        let (tell, told) = channel();
        let stack = Stack::on("fwn-a").with_kernel_sockets().active_opens();
        let running = within("fw-net-a", move || stack.start(Probe(tell))).join().unwrap().unwrap();
        let mut world = Self { running, told, conns: Vec::new() };
        for via in [Via::Stack, Via::Kernel] {
            for to in SERVERS {
                let to: SocketAddr = to.parse().unwrap();
                let conn = world.call(move |io| io.connect_via(via, None, to)).unwrap();
                world.conns.push(conn);
            }
        }
        world.each(|world, told| (0..world.conns.len()).all(|n| told[n] == [Told::Connected]));
        world
    }

    fn call<R: Send + 'static>(&self, f: impl FnOnce(&mut Io<'_>) -> R + Send + 'static) -> R {
        let (tell, told) = channel();
        let call: Call = Box::new(move |io| tell.send(f(io)).unwrap());
        self.running.poster().post(0, Box::new(call)).unwrap();
        told.recv_timeout(LOST).unwrap()
    }

    /// The same of every connection.
    fn ask<R: Send + 'static>(&self, f: impl Fn(&mut Io<'_>, ConnId) -> R + Send + Copy + 'static) -> Vec<R> {
        self.conns.iter().copied().map(|conn| self.call(move |io| f(io, conn))).collect()
    }

    /// What is told of each connection from now on, until it is over.
    fn each(&self, over: impl Fn(&Self, &[Vec<Told>]) -> bool) -> Vec<Vec<Told>> {
        let mut all: Vec<Vec<Told>> = self.conns.iter().map(|_| Vec::new()).collect();
        while !over(self, &all) {
            let (conn, what) = self.told.recv_timeout(LOST).unwrap_or_else(|_| panic!("nothing follows {all:?}"));
            all[self.conns.iter().position(|known| *known == conn).unwrap()].push(what);
        }
        all
    }
}

/// MUST-47, MUST-56, SHLD-20: a router says that the peer can't be reached. The application hears of it, of the same only once, and
/// the connection goes on: it can be sent on, and what was sent arrives when there is a way again. Behind that it is news again;
/// and why a connection is given up is what is known of its path.
#[test]
fn what_icmp_says_of_an_open_connection_is_told_and_survived() {
    let _lab = Lab::up();
    prepare();
    serve();
    let world = World::up();
    let wrong =
        [IcmpError::HostUnreachable, IcmpError::NetUnreachable, IcmpError::HostUnreachable, IcmpError::NetUnreachable];
    for round in 0..2 {
        reachable(false);
        assert_eq!(world.ask(|io, conn| io.send(conn, b"one")), [Ok(3); 4]);
        let told = world.each(|_, told| told.iter().all(|told| !told.is_empty()));
        // More of the same comes with each retransmission. (Linux takes its backoff back by it: RFC 6069.)
        let resent = world.ask(|io, conn| io.info(conn).unwrap().retransmits);
        let further = |now: Vec<u32>| now.iter().zip(&resent).all(|(now, then)| *now > *then);
        let began = std::time::Instant::now();
        while !further(world.ask(|io, conn| io.info(conn).unwrap().retransmits)) {
            assert!(began.elapsed() < LOST, "{resent:?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for (told, error) in told.iter().zip(wrong) {
            assert_eq!(*told, [Told::Icmp(error)], "round {round}");
        }
        assert_eq!(world.told.try_recv().ok(), None, "round {round}");
        let known: Vec<_> = wrong.into_iter().map(|error| Ok(Some(SoftError::Icmp(error)))).collect();
        assert_eq!(world.ask(|io, conn| io.soft_error(conn)), known);
        if round == 0 {
            assert_eq!(world.ask(|io, conn| io.send(conn, b"more")), [Ok(4); 4]);
            reachable(true);
            let octets = |told: &[Told]| {
                told.iter().map(|told| if let Told::Data(n) = told { *n } else { panic!("{told:?}") }).sum::<usize>()
            };
            world.each(|_, told| told.iter().all(|told| octets(told) == 7));
            assert_eq!(world.ask(|io, conn| io.soft_error(conn)), [Ok(None); 4]);
        }
    }
    world.ask(|io, conn| io.set_user_timeout(conn, Some(Duration::from_secs(1))).unwrap());
    let told = world.each(|_, told| told.iter().all(|told| !told.is_empty()));
    let ends = [ConnectionError::HostUnreachable, ConnectionError::NetworkUnreachable].repeat(2);
    for (told, error) in told.iter().zip(ends) {
        assert_eq!(*told, [Told::Closed(Some(error))]);
    }
    world.running.stop();
    world.running.join().unwrap();
}
