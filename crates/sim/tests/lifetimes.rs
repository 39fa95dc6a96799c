//! Whole lifetimes of connections between two shards: opened, used, closed, and nothing left.

mod support;

use sim::{Duo, Fate, World};
use stack::{Duration, Error, Refusal, TcpConfig};
use support::{Client, Echo, host, shard};

const PORT: &str = "10.0.0.2:7";

fn world(total: usize) -> Duo<Client, Echo> {
    let mut b = host(2, Echo::default());
    b.shard.listen(PORT.parse().expect("an address"), 16).expect("free");
    World::new(host(1, Client::new(PORT, total)), b, Duration::from_micros(50))
}

/// What must hold after every lifetime, once 2MSL have passed.
fn nothing_is_left(world: &mut Duo<Client, Echo>) {
    world.run(Duration::from_secs(121));
    for shard in [&world.a.shard, &world.b.shard] {
        assert_eq!((shard.connections(), shard.time_waits(), shard.chunks_in_use()), (0, 0, 0));
        assert!(!shard.has_output());
        assert_eq!(shard.next_wakeup(), None);
    }
}

/// MUST-13.
#[test]
fn a_megabyte_comes_back_and_the_closer_waits_2msl() {
    let mut world = world(1 << 20);
    world.run(Duration::from_secs(1));
    assert_eq!((world.a.app.received, world.a.app.closed), (1 << 20, Some(None)));
    assert_eq!(world.b.app.open, 0);
    // The client closed first: it holds TIME-WAIT, the server nothing.
    assert_eq!((world.a.shard.connections(), world.a.shard.time_waits()), (0, 1));
    assert_eq!((world.b.shard.connections(), world.b.shard.time_waits()), (0, 0));
    world.run(Duration::from_millis(58_990));
    assert_eq!(world.a.shard.time_waits(), 1);
    world.run(Duration::from_secs(1));
    assert_eq!(world.a.shard.time_waits(), 0);
    nothing_is_left(&mut world);
}

/// RFC9293-3.6-b, RFC9293-3.10.8-b.
#[test]
fn any_one_lost_frame_is_repaired() {
    // 40 kB make about 60 frames; each in turn is lost, the SYN, the FINs and the last ACK among them.
    let mut whole = world(40_000);
    whole.run(Duration::from_secs(1));
    let frames = whole.frames();
    assert!(frames > 50);
    for lost in 0..frames {
        let mut n = 0;
        let mut world = world(40_000).with_tamper(move |_, _| {
            n += 1;
            if n == lost + 1 { Fate::Drop } else { Fate::Pass }
        });
        world.run(Duration::from_secs(10));
        assert_eq!((world.a.app.received, world.a.app.closed), (40_000, Some(None)), "frame {lost} lost");
        nothing_is_left(&mut world);
    }
}

#[test]
fn heavy_loss_duplication_and_reordering_are_survived() {
    for seed in 1..=20u64 {
        let mut state = seed;
        let mut world = world(200_000).with_tamper(move |_, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (state >> 33) % 100 {
                0..=4 => Fate::Drop,
                5..=7 => Fate::Duplicate,
                8..=12 => Fate::Delay(Duration::from_micros(170)),
                _ => Fate::Pass,
            }
        });
        world.run(Duration::from_secs(600));
        assert_eq!((world.a.app.received, world.a.app.closed), (200_000, Some(None)), "seed {seed}");
        nothing_is_left(&mut world);
    }
}

/// MUST-3.
#[test]
fn a_corrupted_segment_is_dropped_and_counted() {
    let mut n = 0;
    let mut world = world(100_000).with_tamper(move |_, frame| {
        n += 1;
        if n % 10 == 0 {
            let last = frame.len() - 1;
            frame[last] ^= 0x40;
        }
        Fate::Pass
    });
    world.run(Duration::from_secs(60));
    assert_eq!(world.a.app.received, 100_000);
    assert!(world.a.shard.counters().malformed_total() + world.b.shard.counters().malformed_total() > 0);
    nothing_is_left(&mut world);
}

/// MUST-12, RFC9293-3.5.2-a.
#[test]
fn nobody_listens_is_refused() {
    let mut world = World::new(host(1, Client::new(PORT, 10)), host(2, Echo::default()), Duration::from_micros(50));
    world.run(Duration::from_secs(1));
    assert_eq!(world.a.app.closed, Some(Some(Error::Refused)));
    assert_eq!(world.b.shard.counters().refusals(Refusal::NoEndpoint), 1);
    nothing_is_left(&mut world);
}

/// MUST-22, MUST-23.
#[test]
fn a_silent_peer_times_out_after_three_minutes_of_syns() {
    let mut world = world(10).with_tamper(|_, frame| if frame[12..14] == [8, 0] { Fate::Drop } else { Fate::Pass });
    world.run(Duration::from_secs(179));
    assert_eq!(world.a.app.closed, None, "MUST-23: R2 of a SYN is at least 3 minutes");
    world.run(Duration::from_secs(200));
    assert_eq!(world.a.app.closed, Some(Some(Error::TimedOut)));
    nothing_is_left(&mut world);
}

#[test]
fn a_dead_neighbour_is_unreachable() {
    let mut world = world(10).with_tamper(|_, _| Fate::Drop);
    world.run(Duration::from_secs(10));
    assert_eq!(world.a.app.closed, Some(Some(Error::HostUnreachable)));
    nothing_is_left(&mut world);
}

/// SHLD-11, RFC9293-3.10.8-a.
#[test]
fn a_lost_established_peer_times_out() {
    let mut cut = false;
    let mut n = 0;
    let mut world = world(1 << 20).with_tamper(move |_, _| {
        n += 1;
        cut |= n > 300;
        if cut { Fate::Drop } else { Fate::Pass }
    });
    world.run(Duration::from_secs(14 * 60));
    assert_eq!(world.a.app.closed, None);
    world.run(Duration::from_secs(5 * 60));
    assert_eq!(world.a.app.closed, Some(Some(Error::TimedOut)));
    assert_eq!(world.b.app.closed, [Some(Error::TimedOut)]);
    nothing_is_left(&mut world);
}

#[test]
fn small_windows_and_small_pools_still_carry_everything() {
    let small = |config: &mut stack::ShardConfig| {
        let settings =
            stack::Settings { receive_buffer_bytes: 4096, send_buffer_bytes: 4096, ..stack::Settings::default() };
        config.tcp = TcpConfig::new(settings).expect("valid");
        config.pool_bytes = 64 << 10;
    };
    let mut b = shard(2, small);
    b.listen(PORT.parse().expect("an address"), 16).expect("free");
    let a = sim::Host { shard: shard(1, small), app: Client::new(PORT, 300_000) };
    let b = sim::Host { shard: b, app: Echo::default() };
    let mut world = World::new(a, b, Duration::from_micros(50));
    world.run(Duration::from_secs(60));
    assert_eq!((world.a.app.received, world.a.app.closed), (300_000, Some(None)));
    nothing_is_left(&mut world);
}
