//! What the world itself costs per frame, checkers and capture included: two stations that only take and give frames, over
//! one link or through a dumbbell. `cargo run --release -p fourwave-sim --example overhead`

use sim::{Dumbbell, LinkConfig, Node, Topology, World, forge};
use stack::{Duration, Instant, MacAddr};
use std::net::IpAddr;
use wire::{
    SeqNum, eth, ip,
    tcp::{Flags, Header, Options},
};

const FRAMES: u64 = 2_000_000;
const PAYLOAD: u16 = 1448;

/// Sends a frame as often as the link has room for one, and counts what comes.
struct Station {
    mac: MacAddr,
    frame: Vec<u8>,
    next: Instant,
    left: u64,
    got: u64,
}

impl Node for Station {
    fn mac(&self) -> MacAddr {
        self.mac
    }
    fn frame_bytes(&self) -> usize {
        1518
    }
    fn on_frame(&mut self, _: Instant, _: &[u8]) {
        self.got += 1;
    }
    fn advance(&mut self, _: Instant) {}
    fn poll_transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<usize> {
        if self.left == 0 || now < self.next {
            return None;
        }
        self.left -= 1;
        self.next = now + Duration::from_nanos(1212);
        frame[..self.frame.len()].copy_from_slice(&self.frame);
        Some(self.frame.len())
    }
    fn next_wakeup(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.next)
    }
}

fn station(n: u8, left: u64) -> Station {
    let macs = [1, 2].map(|n| MacAddr([2, 0, 0, 0, 0, n]));
    let (src, dst) = (IpAddr::from([10, 0, 0, n]), IpAddr::from([10, 0, 0, 3 - n]));
    let link =
        eth::Header { dst: macs[usize::from(2 - n)], src: macs[usize::from(n - 1)], vlan: None, ethertype: 0x800 };
    let (seq, ack) = (SeqNum::new(1), SeqNum::new(1));
    let (src_port, dst_port, window, options) = (1000, 1000, 60_000, Options::default());
    let header = Header { src_port, dst_port, seq, ack, flags: Flags::ACK, window, urgent: 0, options };
    let mut segment = vec![0; header.len() + usize::from(PAYLOAD)];
    header.emit(src, dst, &mut segment);
    let frame = forge::packet(link, src, dst, ip::PROTOCOL_TCP, &segment).expect("one family");
    Station { mac: macs[usize::from(n - 1)], frame, next: Instant::ZERO, left, got: 0 }
}

/// Seconds that this thread has had a core; the wall clock's where Linux doesn't say.
fn core_seconds(begun: std::time::Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|stat| stat.split(' ').next()?.parse::<u64>().ok());
    nanos.map_or_else(|| begun.elapsed().as_secs_f64(), |nanos| nanos as f64 / 1e9)
}

fn main() {
    let wire = LinkConfig::rated(10_000_000_000, Duration::from_millis(10), 1 << 20);
    let dumbbell = Dumbbell { right: wire.clone(), left: wire.clone(), ..Dumbbell::default() };
    let worlds = [
        ("a cable", Topology::cable(wire.clone(), wire)),
        ("a dumbbell, three links", Topology::dumbbell(2, 1, &dumbbell)),
    ];
    for (name, topology) in worlds {
        let mut world = World::of(1, vec![station(1, FRAMES), station(2, 0)], topology);
        let begun = std::time::Instant::now();
        let before = core_seconds(begun);
        world.run(Duration::from_secs(10));
        let seconds = core_seconds(begun) - before;
        assert_eq!(world[1].got, FRAMES);
        println!("{name}: {:.2} million frames a second of a core", FRAMES as f64 / seconds / 1e6);
    }
}
