//! A clock that leaps: the process was stopped, or the machine was, and time went on; or it goes back, which the system's
//! monotonic clock never does.

use crate::{
    field::{Field, Rng, SOURCE, nobody},
    peers::{Peer, field, ms, open},
};
use stack::Duration;

/// 100 peers that never acknowledge the data they asked for: each has a timer running.
fn waiting() -> Field {
    let (mut field, mut peers) = (field(32 << 20), Peer::many(100, SOURCE));
    open(&mut field, &mut peers);
    field
}

fn sent_again(field: &Field) -> u64 {
    field.count("retransmitted")
}

/// A loop that stood still for ten seconds has missed four doublings of each timer (RFC 6298 section 5: 1, 3, 7 s behind the
/// first) and sends each first segment once, not once for each that it missed; and nobody is given up for it.
#[test]
fn after_a_stop_each_timer_fires_once() {
    let mut field = waiting();
    let fired = |field: &Field| field.count("retransmit_timeouts") + field.count("loss_probes");
    let before = (sent_again(&field), fired(&field));
    field.now += Duration::from_secs(10);
    let mut frames = 0;
    // The least timeout is 200 ms: within half of it none is due again.
    field.run(ms(100), |strike| frames += strike.heard.len());
    assert_eq!(frames, 100);
    // The client's as well, if it had something in flight.
    let (again, fired) = (sent_again(&field) - before.0, fired(&field) - before.1);
    assert!((100..=101).contains(&fired) && (100..=110).contains(&again), "{fired} timers, {again} segments");
    assert_eq!(field.server.connections(), 101);
    let served = field.run(ms(1000), nobody);
    assert!(served > 1_000_000, "{served} bytes in a second behind the stop");
}

/// It stays back: timers are late by as much, nothing else happens. Bytes are compared, and the shard's invariants looked at,
/// as everywhere here.
#[test]
fn a_clock_that_went_back_delays_and_breaks_nothing() {
    let mut field = waiting();
    field.now = field.now - ms(300);
    field.run(ms(300), nobody);
    let served = field.run(ms(2000), nobody);
    assert!(served > 1_000_000, "{served} bytes in two seconds");
    assert_eq!(field.server.connections(), 101);
}

/// Back and forth by up to four seconds, and now and then an hour back and forth again, in each state that connections are in: with data in flight, closed windows, half open, and
/// behind their ends.
#[test]
fn a_clock_that_leaps_breaks_nothing() {
    for seed in 0..4 {
        let (mut field, mut rng) = (waiting(), Rng(seed));
        field.user.pauses = seed % 2 == 1;
        let right = field.now;
        for _ in 0..50 {
            let by = Duration::from_nanos(rng.bits() % 1_000_000_000 * [1, 60, 3600][rng.below(3)] / 1000);
            field.now = if rng.below(2) == 0 { field.now - by } else { field.now + by };
            field.run(field.tick * 4, nobody);
            let now = field.now;
            field.now = now - Duration::from_secs(3600);
            field.run(field.tick, nobody);
            field.now = field.now.max(now);
        }
        // From then on it goes as it should.
        field.now = field.now.max(right + Duration::from_secs(200));
        field.user.pauses = false;
        field.resume();
        // What was lost meanwhile is sent again by timers that may have backed off.
        field.tick = ms(1);
        let served = field.run(ms(15_000), nobody);
        assert!(served > 100_000, "seed {seed}: {served} bytes");
    }
}
