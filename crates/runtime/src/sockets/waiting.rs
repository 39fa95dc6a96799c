//! How a loop learns what has happened on the kernel's sockets: by one look at epoll in each turn, in its sleep, or, where it
//! spins over a few connections, by reading from them.

use super::KernelSockets;
use std::time::Duration;

/// The token of what a sleep is ended by besides.
pub(super) const WATCHED: usize = usize::MAX;
/// As many connections as a spinning loop reads from without being told: with more, one look at epoll is cheaper.
const FEW: usize = 8;
/// Reads from each in one turn while nothing comes: what else there is in a turn then takes little of the time.
const READS: u32 = 8;
/// Turns of which one looks at epoll all the same: for who connects, for room to send, and for what a read does not tell.
const TURNS: u32 = 4;

/// What is known between a sleep, or a turn, and the next one.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// A sleep has looked at epoll, and has seen so much.
    slept: Option<usize>,
    /// What is watched besides was readable, and nobody has been told yet.
    called: bool,
    /// Few connections are read from without being told.
    unasked: bool,
    turns: u32,
    /// Reads that are left in this turn.
    reads: u32,
}

impl Waiting {
    pub(super) const fn was_called(&mut self) {
        self.called = true;
    }

    /// Something has come.
    pub(super) const fn is_over(&mut self) {
        self.reads = 0;
    }
}

impl KernelSockets {
    /// The loop never sleeps, and few connections are to be read from without being told. What tells of urgent data is epoll: it
    /// may be told late then, or not at all.
    pub(crate) const fn read_unasked(&mut self) {
        self.waiting.unasked = true;
    }

    /// Looks what has happened, in a turn.
    pub(super) fn look(&mut self) -> usize {
        if let Some(seen) = self.waiting.slept.take() {
            return seen;
        }
        if !self.waiting.unasked || self.slots.len() > FEW {
            return self.harvest(Some(Duration::ZERO));
        }
        self.waiting.turns = self.waiting.turns.wrapping_add(1);
        self.waiting.reads = READS;
        if self.waiting.turns.is_multiple_of(TURNS) { self.harvest(Some(Duration::ZERO)) } else { 0 }
    }

    /// Reads once more from every connection. False: that is not for this turn.
    pub(super) fn ask_again(&mut self) -> bool {
        if self.waiting.reads == 0 {
            return false;
        }
        self.waiting.reads -= 1;
        let limit = self.config.queue_bytes;
        for slot in 0..u32::try_from(self.slots.len()).unwrap_or(0) {
            if self.slots[slot as usize].socket.as_mut().is_some_and(|socket| socket.ask(limit)) {
                self.mark(self.id(slot));
            }
        }
        self.turn = self.ready.len();
        true
    }

    /// Looks, in a sleep. True: what is watched besides has ended it.
    pub(super) fn sleep(&mut self, most: Option<Duration>) -> bool {
        let most = if self.waiting.called { Some(Duration::ZERO) } else { most };
        let seen = self.harvest(most) + self.waiting.slept.unwrap_or(0);
        self.waiting.slept = Some(seen);
        std::mem::take(&mut self.waiting.called)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, SocketEvent};
    use super::*;
    use stack::{ConnId, Instant, ListenOptions, Sockets};
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpStream};
    use std::os::fd::AsRawFd;

    const NOW: Instant = Instant::ZERO;
    /// A sleep that takes so long has missed what it waits for.
    const SOON: Option<stack::Duration> = Some(stack::Duration::from_secs(30));

    fn told(sockets: &mut KernelSockets) -> Vec<SocketEvent> {
        let mut buffer = [0; 1024];
        let events = std::iter::from_fn(|| {
            let event = sockets.next_event(NOW, &mut buffer)?;
            if let SocketEvent::Data(conn, _) = event {
                sockets.delivered(conn, &[]);
            }
            Some(event)
        });
        events.collect()
    }

    /// So many connections, accepted, of which there is nothing left to tell; and their peers.
    fn connected(count: usize) -> (KernelSockets, Vec<(ConnId, TcpStream)>) {
        let mut sockets = KernelSockets::new(Config { several: false, queue_bytes: 1 << 20, most: 1000 }).unwrap();
        let listener = sockets.listen((Ipv4Addr::LOCALHOST, 0).into(), &ListenOptions::from(512)).unwrap();
        let address = sockets.listener_address(listener).unwrap();
        let peers: Vec<_> = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut conns = Vec::new();
        while conns.len() < count {
            sockets.poll(NOW);
            conns.extend(told(&mut sockets).into_iter().filter_map(|event| match event {
                SocketEvent::Accepted(conn, _) => Some(conn),
                _ => None,
            }));
        }
        while sockets.poll(NOW) > 0 || !told(&mut sockets).is_empty() {}
        (sockets, conns.into_iter().zip(peers).collect())
    }

    /// A sleep is ended by a call, long before its time is over.
    fn heard(sockets: &mut KernelSockets) -> bool {
        let began = std::time::Instant::now();
        sockets.wait(SOON) && began.elapsed() < Duration::from_secs(30)
    }

    /// A round trip of a loop that sleeps costs one look at epoll: what the sleep has seen is told, and what has come since
    /// waits for the next one.
    #[test]
    fn the_turn_behind_a_sleep_does_not_look_again() {
        let (mut sockets, mut peers) = connected(1);
        assert!(!sockets.wait(Some(stack::Duration::ZERO)));
        let (conn, peer) = &mut peers[0];
        peer.write_all(b"hello").unwrap();
        assert_eq!((sockets.poll(NOW), told(&mut sockets)), (0, vec![]));
        assert!(!sockets.wait(SOON));
        assert_eq!((sockets.poll(NOW), told(&mut sockets)), (1, vec![SocketEvent::Data(*conn, 5)]));
    }

    /// Who is called between a look at its commands and its sleep does not sleep, though a turn has seen the call in between.
    #[test]
    fn a_call_is_heard_by_the_next_sleep() {
        let (mut sockets, mut peers) = connected(1);
        let mut poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        assert!(sockets.watch(poll.as_raw_fd()));
        for _ in 0..3 {
            waker.wake().unwrap();
            assert_eq!((sockets.poll(NOW), told(&mut sockets)), (0, vec![]), "it is nobody's news");
            assert!(heard(&mut sockets));
            assert!(!sockets.wait(Some(stack::Duration::ZERO)), "once");
            // In the sleep itself, and whether or not the call was taken.
            waker.wake().unwrap();
            assert!(heard(&mut sockets));
            poll.poll(&mut mio::Events::with_capacity(1), Some(Duration::ZERO)).unwrap();
            sockets.poll(NOW);
        }
        let (conn, peer) = &mut peers[0];
        peer.write_all(b"hello").unwrap();
        assert!(!sockets.wait(SOON));
        assert_eq!((sockets.poll(NOW), told(&mut sockets)), (1, vec![SocketEvent::Data(*conn, 5)]));
    }

    /// A spinning loop with few connections finds data by reading, without a look at epoll; with more it looks.
    #[test]
    fn a_loop_that_spins_over_few_connections_reads_without_being_told() {
        for (count, looks) in [(1, 0), (FEW, 0), (FEW + 1, 1)] {
            let (mut sockets, mut peers) = connected(count);
            sockets.read_unasked();
            for (conn, peer) in &mut peers {
                // The turn in which it looks at epoll is another one.
                sockets.waiting.turns = 0;
                peer.write_all(b"hello").unwrap();
                assert_eq!((sockets.poll(NOW), told(&mut sockets)), (looks, vec![SocketEvent::Data(*conn, 5)]));
            }
            // What no read tells is not overlooked.
            let mut turns = 0;
            let address = sockets.listeners().next().unwrap();
            let _peer = TcpStream::connect(address).unwrap();
            while !told(&mut sockets).iter().any(|event| matches!(event, SocketEvent::Accepted(..))) {
                sockets.poll(NOW);
                turns += 1;
                assert!(turns <= TURNS + 1, "nobody looks at epoll");
            }
        }
    }

    impl KernelSockets {
        fn listeners(&self) -> impl Iterator<Item = std::net::SocketAddr> {
            self.listener_ids().filter_map(|id| self.listener_address(id).ok())
        }
    }
}
