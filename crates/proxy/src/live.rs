//! A configuration at work: listeners, pools and backends with what is known of them in the whole process.
//!
//! A reload makes a new one; what goes on being there keeps its gauges and its health. Connections keep the one they began with.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};

use crate::balance::Chooser;
use crate::config::{self, Backend, Config, Listener};
use crate::counters::Counter;

/// How many there are of something that has a limit, and how many wait for one of them to end.
///
/// Who leaves then looks for who waits, and who waits then looks again whether somebody has left: in one order for all, so that
/// one of the two sees the other.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// Unique in the process.
    pub(crate) id: u32,
    active: AtomicU32,
    waiting: AtomicU32,
    turn: AtomicU32,
}

impl Gauge {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, active: AtomicU32::new(0), waiting: AtomicU32::new(0), turn: AtomicU32::new(0) }
    }

    fn try_add(counter: &AtomicU32, most: u32) -> bool {
        counter.fetch_update(SeqCst, SeqCst, |n| (n < most).then_some(n + 1)).is_ok()
    }

    /// One more, if there are fewer than `most`.
    pub(crate) fn try_enter(&self, most: u32) -> bool {
        Self::try_add(&self.active, most)
    }

    pub(crate) fn leave(&self) {
        self.active.fetch_sub(1, SeqCst);
    }

    /// One more that waits, if fewer than `most` do.
    pub(crate) fn try_wait(&self, most: u32) -> bool {
        Self::try_add(&self.waiting, most)
    }

    pub(crate) fn stop_waiting(&self) {
        self.waiting.fetch_sub(1, SeqCst);
    }

    /// Which of so many shards may fill a place that has become free: each in its turn.
    pub(crate) fn next_shard(&self, count: u16) -> u16 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        u16::try_from(turn % u32::from(count.max(1))).unwrap_or(0)
    }

    pub(crate) fn active(&self) -> u32 {
        self.active.load(SeqCst)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) config: Listener,
    pub(crate) pool: Arc<Pool>,
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) accepted: Arc<Counter>,
}

/// A pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) config: config::Pool,
    /// Who waits for a backend.
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) targets: Vec<Arc<Target>>,
    chooser: Chooser,
}

/// A backend.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) config: Backend,
    pub(crate) state: Arc<TargetState>,
}

/// What is known of a backend.
#[derive(Debug)]
pub(crate) struct TargetState {
    up: AtomicBool,
    pub(crate) gauge: Gauge,
    pub(crate) connects: Counter,
    pub(crate) failed: Counter,
}

impl TargetState {
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }
}

/// What came of the choice of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This one, and it counts as one of its connections from now on.
    Target(usize),
    /// Those that could be tried have as many connections as they may.
    Busy,
    /// There is none that was not tried.
    Nobody,
}

impl Pool {
    /// A backend that is not among those tried: rather one that is up, but one that is said to be down if there is no other.
    pub(crate) fn choose(&self, tried: &[u16], turn: &mut usize, client: IpAddr) -> Choice {
        for up in [true, false] {
            let mut busy = false;
            let chosen = self.chooser.choose(
                self.targets.len(),
                turn,
                client,
                |i| self.targets[i].state.gauge.active(),
                |i| {
                    let target = &self.targets[i];
                    let candidate = target.state.is_up() == up && !tried.iter().any(|t| usize::from(*t) == i);
                    let entered = candidate && target.state.gauge.try_enter(target.config.max_connections);
                    busy |= candidate && !entered;
                    entered
                },
            );
            match chosen {
                Some(i) => return Choice::Target(i),
                None if busy => return Choice::Busy,
                None => {}
            }
        }
        Choice::Nobody
    }
}

/// A configuration at work.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) fronts: Vec<Arc<Front>>,
    pub(crate) pools: Vec<Arc<Pool>>,
}

impl Live {
    /// `before` is the one whose place it takes. `next_id` gives the ids of gauges.
    pub(crate) fn new(config: Config, before: Option<&Self>, mut next_id: impl FnMut() -> u32) -> Self {
        let old_pools: HashMap<&str, &Arc<Pool>> =
            before.into_iter().flat_map(|live| &live.pools).map(|pool| (pool.config.name.as_str(), pool)).collect();
        let pools: Vec<_> = config
            .pools
            .iter()
            .map(|pool| Arc::new(Self::pool(pool, old_pools.get(pool.name.as_str()).copied(), &mut next_id)))
            .collect();
        let fronts = config
            .listeners
            .iter()
            .map(|listener| {
                let old = before.and_then(|live| live.fronts.iter().find(|f| f.config.address == listener.address));
                let gauge = old.map_or_else(|| Arc::new(Gauge::new(next_id())), |old| Arc::clone(&old.gauge));
                let accepted = old.map_or_else(Arc::default, |old| Arc::clone(&old.accepted));
                let pool = Arc::clone(&pools[listener.pool]);
                Arc::new(Front { config: listener.clone(), pool, gauge, accepted })
            })
            .collect();
        Self { config, fronts, pools }
    }

    fn pool(config: &config::Pool, old: Option<&Arc<Pool>>, next_id: &mut impl FnMut() -> u32) -> Pool {
        // Of several with the same address each keeps its own.
        let mut known: Vec<_> = old.map_or(&[][..], |pool| &pool.targets).iter().collect();
        let targets = config.backends.iter().map(|backend| {
            let same = |t: &&Arc<Target>| (t.config.address, t.config.via) == (backend.address, backend.via);
            let state = match known.iter().position(same).map(|at| known.remove(at)) {
                Some(target) => Arc::clone(&target.state),
                None => Arc::new(TargetState {
                    up: AtomicBool::new(true),
                    gauge: Gauge::new(next_id()),
                    connects: Counter::default(),
                    failed: Counter::default(),
                }),
            };
            Arc::new(Target { config: backend.clone(), state })
        });
        let targets: Vec<_> = targets.collect();
        let gauge = old.map(|pool| Arc::clone(&pool.gauge)).unwrap_or_else(|| Arc::new(Gauge::new(next_id())));
        let chooser = Chooser::new(config.balance, config.backends.iter().map(|backend| backend.name.as_str()));
        Pool { config: config.clone(), gauge, targets, chooser }
    }

    /// The listener that a connection to this address of ours has come to.
    pub(crate) fn front(&self, local: std::net::SocketAddr) -> Option<&Arc<Front>> {
        let exact = self.fronts.iter().find(|front| front.config.address == local);
        exact.or_else(|| {
            self.fronts.iter().find(|front| {
                let address = front.config.address;
                let any = address.ip().is_unspecified() && address.is_ipv4() == local.is_ipv4();
                any && address.port() == local.port()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [[listener]]
        name = "web"
        address = "10.0.0.1:80"
        pool = "web"
        [[listener]]
        name = "any"
        address = "0.0.0.0:81"
        pool = "web"
        [[pool]]
        name = "web"
        [[pool.backend]]
        name = "a"
        address = "10.0.0.2:1"
        max-connections = 2
        [[pool.backend]]
        name = "b"
        address = "10.0.0.2:2"
        max-connections = 1
    "#;

    fn live(text: &str, before: Option<&Live>, first: u32) -> Live {
        let mut id = first;
        Live::new(Config::parse(text).unwrap(), before, || {
            id += 1;
            id
        })
    }

    fn client() -> IpAddr {
        [10, 0, 0, 9].into()
    }

    #[test]
    fn a_limit_is_kept_and_given_back() {
        let live = live(TEXT, None, 0);
        let (pool, mut turn) = (&live.pools[0], 0);
        let mut choose = |tried: &[u16]| pool.choose(tried, &mut turn, client());
        let chosen: Vec<_> = (0..4).map(|_| choose(&[])).collect();
        assert_eq!(chosen, [Choice::Target(0), Choice::Target(1), Choice::Target(0), Choice::Busy]);
        pool.targets[1].state.gauge.leave();
        assert_eq!(choose(&[1]), Choice::Busy, "the one that has room was tried");
        assert_eq!(choose(&[0]), Choice::Target(1));
        assert_eq!(choose(&[0, 1]), Choice::Nobody);
    }

    #[test]
    fn who_is_down_is_tried_last() {
        let live = live(TEXT, None, 0);
        let (pool, mut turn) = (&live.pools[0], 0);
        pool.targets[0].state.set_up(false);
        let mut choose = |tried: &[u16]| pool.choose(tried, &mut turn, client());
        assert_eq!(choose(&[]), Choice::Target(1));
        assert_eq!(choose(&[]), Choice::Busy, "it waits for one that is up");
        assert_eq!(choose(&[1]), Choice::Target(0), "there is no other");
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_what_stays() {
        let first = live(TEXT, None, 0);
        let (pool, mut turn) = (&first.pools[0], 0);
        assert_eq!(pool.choose(&[1], &mut turn, client()), Choice::Target(0));
        pool.targets[0].state.set_up(false);
        let third = "[[pool.backend]]\nname = \"c\"\naddress = \"10.0.0.2:3\"\n[[pool.backend]]\n        name = \"a\"";
        let text = TEXT.replace("[[pool.backend]]\n        name = \"a\"", third);
        let second = live(&text, Some(&first), 100);
        let [c, a, b] = &second.pools[0].targets[..] else { panic!() };
        assert_eq!((a.state.is_up(), a.state.gauge.active()), (false, 1));
        assert!(c.state.is_up() && b.state.is_up());
        assert!(c.state.gauge.id > 100 && Arc::ptr_eq(&second.pools[0].gauge, &pool.gauge));
        assert!(Arc::ptr_eq(&second.fronts[0].gauge, &first.fronts[0].gauge));
        // One that stands there twice, for twice its part, is two with a limit each.
        let twice = TEXT.replace("10.0.0.2:2", "10.0.0.2:1");
        let again = live(&twice, Some(&live(&twice, None, 300)), 400);
        let [a, b] = &again.pools[0].targets[..] else { panic!() };
        assert!(!Arc::ptr_eq(&a.state, &b.state));
    }

    #[test]
    fn a_connection_finds_its_listener() {
        let live = live(TEXT, None, 0);
        let name = |address: &str| live.front(address.parse().unwrap()).map(|front| front.config.name.as_str());
        assert_eq!(name("10.0.0.1:80"), Some("web"));
        assert_eq!(name("10.0.0.7:81"), Some("any"));
        assert_eq!([name("10.0.0.7:80"), name("[::1]:81")], [None; 2]);
    }
}
