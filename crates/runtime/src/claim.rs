//! Before a stack begins: is the address that it is to own another station's? And later: who claims it?

use crate::clock::Clock;
use crate::error::Error;
use stack::{App, ConnId, Duration, Instant, Io, Shard};
use std::io;
use xdp::Port;

/// Frames taken in at a time.
const BATCH: usize = 64;
/// How long an answer may lie before it is read: nothing else happens yet, and a second is waited for it.
const LOOK: std::time::Duration = std::time::Duration::from_millis(2);
/// A conflict is logged at most so often (RFC 5227 section 2.4: "appropriately controlled").
const TELL: Duration = Duration::from_secs(60);

/// The application is not there yet. No connection can be, either: its address is not ours so far.
pub(crate) struct Nobody;

impl App for Nobody {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }
}

/// Asks whether anybody has the addresses that `shard` is to own, and announces them when nobody has answered in time. The
/// answer may come to any of `ports`; questions go out by the first. Without owned addresses, or without questions to ask,
/// it returns at once.
///
/// # Errors
/// [`Error::Duplicate`]; the device failed; [`Error::Interrupted`] as soon as `stop` says so.
pub(crate) fn confirm<P: Port>(
    ports: &mut [P],
    shard: &mut Shard,
    clock: &Clock,
    stop: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let failed = || Error::system("asking whether the address is in use");
    let mut received = Vec::with_capacity(BATCH);
    loop {
        let now = clock.now();
        for port in &mut *ports {
            // A batch each: what floods a queue does not keep the time from passing.
            port.receive(&mut received, BATCH);
            for frame in received.drain(..) {
                shard.on_frame(now, port.bytes(&frame), &mut Nobody);
                port.recycle(frame);
            }
        }
        if shard.tentative() {
            shard.advance(now, &mut Nobody);
        }
        if let Some(port) = ports.first_mut() {
            send(port, shard, now).map_err(failed())?;
        }
        if let Some(conflict) = shard.duplicate() {
            return Err(Error::Duplicate { ip: conflict.ip, mac: conflict.mac });
        }
        if !shard.tentative() {
            return Ok(());
        }
        if stop() {
            return Err(Error::Interrupted);
        }
        for port in &mut *ports {
            port.flush().map_err(failed())?;
        }
        std::thread::sleep(LOOK);
    }
}

/// Sends what there is to send. A question that can't be sent must not be taken for one that nobody answers.
pub(crate) fn send<P: Port>(port: &mut P, shard: &mut Shard, now: Instant) -> io::Result<()> {
    while shard.has_output() {
        let Some(mut frame) = port.allocate() else { return Err(io::Error::other("no frame is free")) };
        match shard.poll_transmit(now, port.buffer(&mut frame)) {
            Some(len) => {
                if let Err(frame) = port.transmit(frame, len) {
                    port.recycle(frame);
                    return Err(io::Error::other("the device takes no frame"));
                }
            }
            None => port.recycle(frame),
        }
    }
    port.flush()
}

/// Logs who claims an address of ours, now and then.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    quiet_until: Instant,
}

impl Conflicts {
    /// To be called about once a second. The first shard, which hears all that others hear, speaks for them.
    pub(crate) fn look(&mut self, now: Instant, shard: &mut Shard) {
        if now < self.quiet_until || shard.config().place.index != 0 {
            return;
        }
        if let Some(conflict) = shard.take_conflict() {
            self.quiet_until = now + TELL;
            tracing::warn!(
                "{} claims {}, the stack's own address: it is kept, but who believes the other station is lost",
                conflict.mac,
                conflict.ip
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::{Dad, LocalAddress, MacAddr, Place, ShardConfig};
    use xdp::{MemoryConfig, MemoryPort};

    const OURS: [u8; 4] = [10, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn setting(dad: Option<Dad>, place: Place) -> (Shard, [MemoryPort; 2], [MemoryPort; 2], Clock) {
        let [(a, far_a), (b, far_b)] = [0, 1].map(|_| MemoryPort::pair(MemoryConfig::default()));
        let own = LocalAddress { ip: OURS.into(), prefix_len: 24, owned: true };
        let mut config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, 1]), 1500, vec![own], [[1; 16]; 4]);
        (config.dad, config.place) = (dad, place);
        let clock = Clock::new();
        (Shard::new(config, clock.now()).unwrap(), [a, b], [far_a, far_b], clock)
    }

    /// The other station says that it has our address.
    fn claims() -> Vec<u8> {
        let mut frame = [[2, 0, 0, 0, 0, 1], OTHER].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        frame.extend(OTHER);
        frame.extend(OURS);
        frame.extend([2, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        frame
    }

    /// What the other station has seen: operation, sender's and target's address.
    fn seen(far: &mut MemoryPort) -> Vec<(u8, [u8; 4], [u8; 4])> {
        let mut frames = Vec::new();
        far.receive(&mut frames, 64);
        let four = |bytes: &[u8], at: usize| bytes[at..at + 4].try_into().unwrap();
        let read = |bytes: &[u8]| (bytes[21], four(bytes, 28), four(bytes, 38));
        let all = frames.iter().map(|frame| read(far.bytes(frame))).collect();
        frames.into_iter().for_each(|frame| far.recycle(frame));
        all
    }

    /// RFC 5227 sections 2.1.1 and 2.3: a question from nobody, and, nobody having answered, an announcement.
    #[test]
    fn nobody_answers() {
        let dad = Dad { announce_wait: Duration::from_millis(20), ..Dad::default() };
        let (mut shard, mut ports, [mut far, mut other], clock) = setting(Some(dad), Place::ALONE);
        let began = clock.now();
        confirm(&mut ports, &mut shard, &clock, &|| false).unwrap();
        assert!(clock.now() - began >= dad.announce_wait);
        assert_eq!(seen(&mut far), [(1, [0; 4], OURS), (1, OURS, OURS)]);
        assert_eq!(seen(&mut other), []);
        // Nothing to ask: no time is spent.
        let (mut shard, mut ports, [mut far, _other], clock) = setting(None, Place::ALONE);
        confirm(&mut ports, &mut shard, &clock, &|| false).unwrap();
        assert_eq!(seen(&mut far), []);
    }

    /// RFC 5227 section 2.1.1: the answer of who has it, to another queue than the question left by.
    #[test]
    fn the_owner_answers() {
        let dad = Dad { announce_wait: Duration::from_secs(60), ..Dad::default() };
        let (mut shard, mut ports, [mut far, mut other], clock) = setting(Some(dad), Place::ALONE);
        let frame = claims();
        let mut out = other.allocate().unwrap();
        other.buffer(&mut out)[..frame.len()].copy_from_slice(&frame);
        other.transmit(out, frame.len()).unwrap();
        other.flush().unwrap();
        let error = confirm(&mut ports, &mut shard, &clock, &|| false).unwrap_err();
        assert!(error.to_string().starts_with("10.0.0.1 is in use by 02:00:00:00:00:02"), "{error}");
        let announced = seen(&mut far).iter().any(|(_, sender, _)| *sender == OURS);
        assert!(!announced, "what is another's was announced as ours");
    }

    /// Somebody does not want to wait: what nobody has been told is ours is not announced.
    #[test]
    fn whoever_does_not_wait_is_not_kept() {
        let dad = Dad { announce_wait: Duration::from_secs(60), ..Dad::default() };
        let (mut shard, mut ports, [mut far, _other], clock) = setting(Some(dad), Place::ALONE);
        let looks = std::cell::Cell::new(0);
        let third = || looks.replace(looks.get() + 1) == 2;
        let ended = confirm(&mut ports, &mut shard, &clock, &third);
        assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
        assert_eq!(seen(&mut far), [(1, [0; 4], OURS)]);
    }

    /// All shards hear of a conflict; one says it.
    #[test]
    fn a_conflict_is_logged_by_the_first_shard_alone() {
        for index in [0, 1] {
            let (mut shard, .., clock) = setting(None, Place { index, count: 2 });
            let now = clock.now();
            let _ = shard.on_handed(now, &claims(), &mut Nobody);
            let mut conflicts = Conflicts::default();
            conflicts.look(now, &mut shard);
            assert_eq!(conflicts.quiet_until > now, index == 0);
        }
    }
}
