//! What calls return when a connection ends: the same programmes over fourwave and over the kernel's sockets, at every level,
//! against a peer of the kernel's; and docs/ERRORS.md is what they returned. Needs root, iproute2, ethtool and sysctl.

mod lab;
mod level1;
mod level2;
#[cfg(feature = "tokio")]
mod level3;
#[path = "../namespaces/mod.rs"]
mod namespaces;
mod party;

use fourwave::net::Net;
use fourwave::{Duration, Keepalive, Stack};
use lab::{INTERFACE, Lab};
use level1::Level1;
use level2::Level2;
use namespaces::within;
use party::{LOST, Party, Said};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ERRORS.md");

/// Where a programme runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Level1,
    Sockets,
    /// Sockets of mio's: what Linux does, unaltered.
    KernelSockets,
    /// Sockets for tasks, of either.
    #[cfg(feature = "tokio")]
    Tasks,
}

struct World<'a> {
    lab: &'a Lab,
    way: Way,
    party: &'a mut dyn Party,
    listener: TcpListener,
    peer: Option<TcpStream>,
    said: Vec<String>,
}

impl World<'_> {
    /// A connection, open.
    fn open(&mut self) {
        let to = self.listener.local_addr().unwrap();
        assert_eq!(self.party.connect(to, None), Said::Done);
        let peer = self.listener.accept().unwrap().0;
        peer.set_read_timeout(Some(LOST)).unwrap();
        self.peer = Some(peer);
    }

    fn connect(&mut self, to: &str) {
        let to: SocketAddr = to.parse().unwrap();
        let said = self.party.connect(to, Some(3 * SECOND / 2));
        self.say("open", said);
    }

    fn say(&mut self, what: &str, said: Said) {
        self.said.push(format!("{what}: {said}"));
    }

    fn read(&mut self) {
        let said = self.party.read();
        self.say("read", said);
    }

    fn write(&mut self) {
        let said = self.party.write();
        self.say("write", said);
    }

    fn shutdown(&mut self, how: Shutdown) {
        let said = self.party.shutdown(how);
        self.say("shutdown", said);
    }

    fn peer_addr(&mut self) {
        let said = self.party.peer_addr();
        self.say("peer_addr", said);
    }

    fn peer(&mut self) -> &TcpStream {
        self.peer.as_ref().unwrap()
    }

    fn peer_says(&mut self, what: &str) {
        self.peer().write_all(what.as_bytes()).unwrap();
    }

    fn peer_resets(&mut self) {
        SockRef::from(self.peer()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        self.peer = None;
    }

    fn peer_is_reset(&mut self) {
        assert_eq!(self.peer().read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    /// What is called when all is over.
    fn read_and_write(&mut self) {
        if self.party.has_handle() {
            self.read();
            self.write();
        }
    }
}

fn the_peer_closed_in_order(w: &mut World<'_>) {
    w.open();
    w.peer_says("last");
    w.peer().shutdown(Shutdown::Write).unwrap();
    w.read();
    w.read();
    w.write();
    w.peer().read_exact(&mut [0]).unwrap();
}

fn we_shut_down_writing(w: &mut World<'_>) {
    w.open();
    w.shutdown(Shutdown::Write);
    w.write();
    w.peer_says("more");
    w.read();
}

fn we_shut_down_reading_and_the_peer_sends(w: &mut World<'_>) {
    w.open();
    // Tokio has no word for it.
    #[cfg(feature = "tokio")]
    if w.way == Way::Tasks {
        return;
    }
    w.shutdown(Shutdown::Read);
    w.peer_says("late");
    match w.way {
        Way::KernelSockets => w.party.await_data(),
        _ => {
            w.peer_is_reset();
            w.party.hear_of_the_end();
        }
    }
    w.read();
    w.write();
    w.write();
}

fn the_peer_sent_a_reset(w: &mut World<'_>) {
    w.open();
    w.peer_says("last");
    w.party.await_data();
    w.peer_resets();
    w.party.hear_of_the_end();
    w.read();
    w.read();
    w.read_and_write();
}

fn the_peer_sent_a_reset_and_we_write_first(w: &mut World<'_>) {
    w.open();
    w.peer_resets();
    w.party.hear_of_the_end();
    w.write();
    w.write();
    w.read();
}

fn the_peer_sent_a_reset_behind_its_fin(w: &mut World<'_>) {
    w.open();
    w.peer().shutdown(Shutdown::Write).unwrap();
    w.read();
    w.peer_resets();
    w.party.hear_of_the_end();
    w.read();
    w.write();
}

fn nobody_listens_there(w: &mut World<'_>) {
    w.connect("10.79.0.2:9");
    w.read_and_write();
}

fn we_aborted(w: &mut World<'_>) {
    w.open();
    let said = w.party.abort();
    w.say("abort", said);
    w.peer_is_reset();
    if w.way == Way::Level1 {
        w.write();
        w.peer_addr();
    }
}

fn we_closed_with_unread_data(w: &mut World<'_>) {
    w.open();
    w.peer_says("unread");
    w.party.await_data();
    let said = w.party.close();
    w.say("close", said);
    w.peer_is_reset();
    if w.way == Way::Level1 {
        w.write();
        w.peer_addr();
    }
}

fn retransmissions_gave_up(w: &mut World<'_>) {
    w.open();
    w.party.set_user_timeout(SECOND);
    w.lab.cable(false);
    w.write();
    w.read();
    w.read_and_write();
    w.lab.cable(true);
}

fn keepalives_gave_up(w: &mut World<'_>) {
    w.open();
    let second = Duration::from_secs(1);
    w.party.set_keepalive(Keepalive { idle: second, interval: second, probes: 2 });
    w.lab.silence(true);
    w.read();
    w.read_and_write();
    w.lab.silence(false);
}

/// Of these only the open is asked: where a router is so near that its answer comes within connect(2), Linux tells of it twice.
fn icmp_host_unreachable(w: &mut World<'_>) {
    w.connect("10.79.1.1:7");
}

fn icmp_prohibited(w: &mut World<'_>) {
    w.connect("10.79.2.1:7");
}

fn icmp_net_unreachable(w: &mut World<'_>) {
    w.connect("10.79.3.1:7");
}

fn icmp_port_unreachable(w: &mut World<'_>) {
    let (to, router) = w.lab.unreachable_port();
    w.connect(&to.to_string());
    router.join().unwrap();
}

fn nobody_has_the_address(w: &mut World<'_>) {
    let said = w.party.connect("10.79.0.77:7".parse().unwrap(), None);
    w.say("open", said);
    w.read_and_write();
}

/// Of IPv6 there is not even an address.
fn there_is_no_route(w: &mut World<'_>) {
    w.connect("[2001:db8::1]:7");
}

fn the_handle_is_closed_already(w: &mut World<'_>) {
    w.open();
    match w.way {
        Way::Level1 => assert_eq!(w.party.close(), Said::Done),
        _ => {
            w.peer_resets();
            assert_eq!(w.party.read(), Said::Failed(ErrorKind::ConnectionReset));
        }
    }
    w.peer_addr();
    // Tokio's says that it is done.
    #[cfg(feature = "tokio")]
    if w.way == Way::Tasks {
        return assert_eq!(w.party.shutdown(Shutdown::Write), Said::Done);
    }
    w.shutdown(Shutdown::Both);
}

/// What a row of the table is called, and what is done.
type Programme = (&'static str, fn(&mut World<'_>));

/// Each is a row of the document's table, in this order.
const PROGRAMMES: [Programme; 18] = [
    ("the peer closed in order", the_peer_closed_in_order),
    ("we shut down writing", we_shut_down_writing),
    ("we shut down reading, and the peer sends", we_shut_down_reading_and_the_peer_sends),
    ("the peer sent RST", the_peer_sent_a_reset),
    ("the same, and we write first", the_peer_sent_a_reset_and_we_write_first),
    ("the same, behind its FIN", the_peer_sent_a_reset_behind_its_fin),
    ("RST in SYN-SENT: nobody listens", nobody_listens_there),
    ("we aborted", we_aborted),
    ("we closed with unread data", we_closed_with_unread_data),
    ("retransmissions gave up: the cable is out", retransmissions_gave_up),
    ("keep-alives gave up", keepalives_gave_up),
    ("ICMP host unreachable during an open", icmp_host_unreachable),
    ("ICMP administratively prohibited", icmp_prohibited),
    ("ICMP net unreachable", icmp_net_unreachable),
    ("ICMP port unreachable", icmp_port_unreachable),
    ("nobody on the link has the address", nobody_has_the_address),
    ("we have no route", there_is_no_route),
    ("the handle is closed already", the_handle_is_closed_already),
];

/// Runs them all; what each has said.
fn all(lab: &Lab, way: Way, party: &mut dyn Party) -> Vec<String> {
    let mut run = |(what, programme): &Programme| {
        println!("{way:?}: {what}");
        let mut world = World { lab, way, party: &mut *party, listener: lab.peer(), peer: None, said: Vec::new() };
        programme(&mut world);
        world.said.join(", ")
    };
    PROGRAMMES.iter().map(&mut run).collect()
}

#[test]
fn every_end_is_told_as_the_document_says() {
    let lab = Lab::up();
    let ours = within("fw-err-a", move || {
        let kernel = all(&lab, Way::Level1, &mut Level1::over(Stack::kernel()));
        let stack = all(&lab, Way::Level1, &mut Level1::over(Stack::on(INTERFACE)));
        assert_eq!(stack, kernel, "level 1 is the same over both");
        let linux = all(&lab, Way::KernelSockets, &mut Level2::over(Net::kernel()));
        let net = Stack::on(INTERFACE).sockets().unwrap();
        let sockets = all(&lab, Way::Sockets, &mut Level2::over(net.clone()));
        #[cfg(feature = "tokio")]
        {
            let same = |level3: Vec<String>, level2: &Vec<String>| {
                for ((level3, level2), (what, _)) in level3.iter().zip(level2).zip(&PROGRAMMES) {
                    // Up to where it has a word for it, or a stream.
                    assert!(level2.starts_with(level3), "{what}: {level3} at level 3, {level2} at level 2");
                }
            };
            same(all(&lab, Way::Tasks, &mut level3::Level3::over(Net::kernel())), &linux);
            same(all(&lab, Way::Tasks, &mut level3::Level3::over(net.clone())), &sockets);
        }
        net.finish().unwrap();
        (stack, sockets, linux)
    });
    let (level1, sockets, linux) = ours.join().unwrap();
    let mut table = String::new();
    for (row, (what, _)) in PROGRAMMES.iter().enumerate() {
        let (ours, linux) = (&sockets[row], &linux[row]);
        let linux = if linux == ours { "the same" } else { linux };
        table += &format!("| {what} | {} | {ours} | {linux} |\n", level1[row]);
    }
    let document = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(document.contains(&table), "docs/ERRORS.md is to have this table:\n{table}");
}
