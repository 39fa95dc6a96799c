//! Which backend a connection goes to: values in, an index out.

mod maglev;

pub use maglev::Maglev;

use std::net::IpAddr;

use crate::config::Balance;

/// A pool's way of choosing. What changes with every choice is one shard's own.
#[derive(Debug)]
pub(crate) enum Chooser {
    RoundRobin,
    LeastConnections,
    Maglev(Maglev),
}

impl Chooser {
    /// `names` are the backends', in their order.
    pub(crate) fn new<'a>(balance: Balance, names: impl Iterator<Item = &'a str>) -> Self {
        match balance {
            Balance::RoundRobin => Self::RoundRobin,
            Balance::LeastConnections => Self::LeastConnections,
            Balance::Maglev => Self::Maglev(Maglev::new(names)),
        }
    }

    /// The first of `count` backends that `take` takes, in the order of preference. `turn` counts a shard's choices, `client`
    /// asks, `load` is how many connections a backend has.
    pub(crate) fn choose(
        &self,
        count: usize,
        turn: &mut usize,
        client: IpAddr,
        load: impl Fn(usize) -> u32,
        mut take: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin => {
                let first = *turn;
                let found = (0..count).map(|i| (first.wrapping_add(i)) % count).find(|i| take(*i))?;
                *turn = found + 1;
                Some(found)
            }
            Self::LeastConnections => {
                let first = *turn;
                *turn = (first + 1) % count.max(1);
                // Who is equal comes in turn; one whose number has changed meanwhile is no harm.
                let mut refused: Vec<usize> = Vec::new();
                loop {
                    let order = (0..count).map(|i| (first.wrapping_add(i)) % count);
                    let best = order.filter(|i| !refused.contains(i)).min_by_key(|i| load(*i))?;
                    if take(best) {
                        return Some(best);
                    }
                    refused.push(best);
                }
            }
            Self::Maglev(table) => {
                let mut refused: Vec<usize> = Vec::new();
                table.places(client).find(|i| {
                    if refused.contains(i) {
                        return false;
                    }
                    let taken = take(*i);
                    if !taken {
                        refused.push(*i);
                    }
                    taken
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn client(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn chooser(balance: Balance) -> Chooser {
        Chooser::new(balance, NAMES.into_iter())
    }

    #[test]
    fn round_robin_takes_turns_and_passes_over_who_is_down() {
        let (chooser, mut turn) = (chooser(Balance::RoundRobin), 0);
        let mut next = |down: usize| chooser.choose(4, &mut turn, client(1), |_| 0, |i| i != down);
        let chosen: Vec<_> = (0..6).map(|_| next(9)).collect();
        assert_eq!(chosen, [0, 1, 2, 3, 0, 1].map(Some));
        // The one behind it does not get its share twice in a row.
        let chosen: Vec<_> = (0..6).map(|_| next(2)).collect();
        assert_eq!(chosen, [3, 0, 1, 3, 0, 1].map(Some));
    }

    #[test]
    fn the_fewest_connections_win_and_equals_take_turns() {
        let (chooser, mut turn) = (chooser(Balance::LeastConnections), 0);
        let load = [3, 1, 2, 1];
        let mut next = |down: usize| chooser.choose(4, &mut turn, client(1), |i| load[i], |i| i != down);
        assert_eq!((next(9), next(9), next(9)), (Some(1), Some(1), Some(3)));
        assert_eq!((next(1), next(3)), (Some(3), Some(1)));
        let mut turn = 0;
        let mut chosen = [0; 4];
        for _ in 0..8 {
            chosen[chooser.choose(4, &mut turn, client(1), |_| 0, |_| true).unwrap()] += 1;
        }
        assert_eq!(chosen, [2; 4]);
    }

    #[test]
    fn nobody_takes_it() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::Maglev] {
            let mut asked = [0; 4];
            let chosen = chooser(balance).choose(
                4,
                &mut 7,
                client(5),
                |_| 0,
                |i| {
                    asked[i] += 1;
                    false
                },
            );
            assert_eq!((chosen, asked), (None, [1; 4]), "{balance:?}");
        }
    }

    #[test]
    fn a_client_comes_back_to_its_backend_and_only_those_of_one_that_is_down_move() {
        let (chooser, mut turn) = (chooser(Balance::Maglev), 0);
        let mut moved = [0; 4];
        for n in 0..1000 {
            let mut choose = |down: usize| chooser.choose(4, &mut turn, client(n), |_| 0, |i| i != down).unwrap();
            let first = choose(9);
            assert_eq!(choose(9), first);
            let second = choose(2);
            if first == 2 {
                moved[second] += 1;
            } else {
                assert_eq!(second, first);
            }
        }
        // Those of the one that is down go to all others.
        assert!(moved[2] == 0 && [0, 1, 3].iter().all(|i| moved[*i] > 40), "{moved:?}");
    }
}
