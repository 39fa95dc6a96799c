//! A world from a seed, and what must be true of it at its end.

use crate::{
    network::{Network, Weather},
    player::{self, Ledger, Player},
    rng::Rng,
};
use sim::{Duo, Host, World};
use stack::{
    Congestion, Duration, Ecn, Instant, ListenOptions, LocalAddress, MacAddr, Settings, Shard, ShardConfig, SynCookies,
    TcpConfig,
};
use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

const PORT: u16 = 7;

fn address(n: u8, v6: bool) -> IpAddr {
    if v6 { IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(n)]) } else { IpAddr::from([10, 0, 0, n]) }
}

fn shard(rng: &mut Rng, n: u8) -> Shard {
    let local = |v6, prefix_len| LocalAddress { ip: address(n, v6), prefix_len, owned: true };
    let mtu = rng.pick(&[1500, 1500, 1280, 9000]);
    let secrets = [(); 4].map(|()| [u8::try_from(rng.below(256)).unwrap_or(0); 16]);
    let mut config =
        ShardConfig::new(MacAddr([2, 0, 0, 0, 0, n]), mtu, vec![local(false, 24), local(true, 64)], secrets);
    let buffers = [4096, 8192, 65_536, 1 << 20];
    let settings = Settings {
        receive_buffer_bytes: rng.pick(&buffers),
        send_buffer_bytes: rng.pick(&buffers),
        time_wait: Duration::from_secs(1 + rng.below(60)),
        timestamps: rng.percent(70),
        sack: rng.percent(70),
        window_scaling: rng.percent(70),
        ecn: rng.pick(&[Ecn::Off, Ecn::Answer, Ecn::Ask]),
        congestion: rng.pick(&[Congestion::Cubic, Congestion::NewReno]),
        delayed_ack: Duration::from_millis(rng.pick(&[1, 40, 400])),
        ..Settings::default()
    };
    config.tcp = TcpConfig::new(settings).expect("valid");
    config.pool_bytes = rng.pick(&[32 << 10, 256 << 10, 16 << 20]);
    Shard::new(config, Instant::ZERO).expect("valid")
}

fn options(rng: &mut Rng) -> ListenOptions {
    let cookies = [SynCookies::Never, SynCookies::WhenFull, SynCookies::From(1), SynCookies::Always];
    ListenOptions {
        backlog: rng.pick(&[1, 2, 3, 16]),
        accept_queue: rng.pick(&[None, None, Some(0), Some(1), Some(3)]),
        time_wait: rng.percent(30).then(|| Duration::from_secs(1 + rng.below(10))),
        syn_cookies: rng.pick(&cookies),
    }
}

fn weather(rng: &mut Rng, delay: Duration, v6: bool) -> Weather {
    let most = |rng: &mut Rng, chance, percent: u64| if rng.percent(chance) { rng.below(percent + 1) } else { 0 };
    Weather {
        loss: most(rng, 60, 20),
        duplicates: most(rng, 40, 10),
        reordered: most(rng, 40, 20),
        corrupted: most(rng, 30, 5),
        hole: rng.percent(20).then(|| if v6 { 1280 + rng.index(220) } else { 576 + rng.index(924) }),
        honest_hole: rng.percent(50),
        late: delay * 3,
        night: rng.percent(20).then(|| {
            let begins = Instant::ZERO + rng.ms(30_000);
            begins..begins + Duration::from_millis(rng.magnitude(100_000))
        }),
    }
}

pub(crate) fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let both = rng.percent(30);
    let v6 = rng.percent(50);
    let delay = Duration::from_micros(20 + rng.magnitude(60_000));
    let network = Network::new(weather(&mut rng, delay, v6), Rng::new(rng.next()));
    let mut host = |n: u8| {
        let shard = shard(&mut rng, n);
        let options = options(&mut rng);
        ledger.borrow_mut().cookies |= options.syn_cookies != SynCookies::Never;
        let local = SocketAddr::new(address(n, v6), PORT);
        let mut app = Player::new(Rng::new(rng.next()), ledger.clone(), local, options);
        app.roomy = shard.config().pool_bytes >= 16 << 20;
        let count = 1 + rng.below(8);
        if n == 1 || both {
            app.opens(count, SocketAddr::new(address(3 - n, v6), PORT));
        }
        if n == 2 || both {
            app.listens();
        }
        Host { shard, app }
    };
    let (a, b) = (host(1), host(2));
    if std::env::var_os("RANDOM_TRACE").is_some() {
        eprintln!("{:?}\n{:?}\n{:?}", a.shard.config(), b.shard.config(), network.borrow().weather);
    }
    let link = network.clone();
    let mut world =
        World::new(a, b, delay).with_tamper(move |from, frame| link.borrow_mut().tamper(from, frame.as_mut_slice()));
    let forges = rng.percent(50);
    // Five minutes of weather, then a quarter of an hour for the last timers: an orphan's, FIN-WAIT-2, 2MSL.
    let mut forge_at = Instant::ZERO + Duration::from_millis(1);
    let fair = Instant::ZERO + Duration::from_secs(240);
    while world.now() < fair {
        let until = if forges { forge_at.min(fair) } else { fair };
        turn(&mut world, &network, until);
        if forges && world.now() >= forge_at {
            forge_at = world.now() + Duration::from_micros(1 + rng.magnitude(3_000_000));
            for _ in 0..=rng.below(3) {
                let forged = network.borrow_mut().forged();
                if let Some((to, frame)) = forged {
                    world.forge(to, &frame);
                }
            }
        }
    }
    network.borrow_mut().weather = None;
    while world.now() < fair + Duration::from_secs(900) {
        turn(&mut world, &network, fair + Duration::from_secs(900));
    }
    nothing_is_left(&mut world);
    world.a.app.assert_over();
    world.b.app.assert_over();
    player::agree(&ledger.borrow());
}

/// Runs until then, or until a router has something to say.
fn turn(world: &mut Duo<Player, Player>, network: &Rc<RefCell<Network>>, until: Instant) {
    let (idle, last) = (Cell::new(0u64), Cell::new((Instant::ZERO, 0, 0)));
    world.run_until(until, |world| {
        network.borrow_mut().now = world.now();
        let state = (world.now(), world.frames(), world.a.app.told + world.b.app.told);
        // Nothing was sent, nobody was told anything: that may be a timer that moved, but not again and again.
        idle.set(if (state.1, state.2) == (last.get().1, last.get().2) { idle.get() + 1 } else { 0 });
        last.set(state);
        assert!(idle.get() < 20_000, "wakes up for nothing at {:?}", world.now());
        !network.borrow().errors.is_empty()
    });
    let errors = std::mem::take(&mut network.borrow_mut().errors);
    for (to, frame) in errors {
        world.forge(to, &frame);
    }
}

fn nothing_is_left(world: &mut Duo<Player, Player>) {
    for shard in [&world.a.shard, &world.b.shard] {
        let counters = shard.counters();
        assert_eq!(counters.frames_in, counters.frames_accounted(), "every frame is accounted for: {counters:?}");
        assert_eq!((shard.connections(), shard.half_open(), shard.time_waits()), (0, 0, 0), "{counters:?}");
        assert_eq!((shard.chunks_in_use(), shard.has_output(), shard.next_wakeup()), (0, false, None));
        assert_eq!(shard.listening().count(), 0);
    }
}
