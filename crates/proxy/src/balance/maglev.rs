//! Consistent hashing: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

/// Places of a table: a prime, more than a hundred for each backend (section 3.4 of the paper: M of at least 100 N).
const PLACES: u32 = 65_537;

/// Every place of the table belongs to a backend; a client's address hashes to a place.
///
/// Tables of the same names, in whatever order, agree about whose a place is: shards and processes choose alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev {
    table: Vec<u16>,
}

/// Which of the hashes: each has a key of its own, fixed so that processes agree.
#[derive(Clone, Copy)]
enum Use {
    Offset = 1,
    Skip = 2,
    Client = 3,
}

fn hash(what: Use, value: &impl Hash) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x666f_7572_7761_7665, what as u64);
    value.hash(&mut hasher);
    hasher.finish()
}

/// `hash` modulo `n`, of which a u32 is enough.
fn modulo(hash: u64, n: u32) -> u32 {
    u32::try_from(hash % u64::from(n)).unwrap_or(0)
}

impl Maglev {
    /// The table of backends with these names, at most 65,536; a name decides which places are a backend's.
    #[must_use]
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self::with_places(names, PLACES)
    }

    /// The paper's "populate": backends take turns in claiming the next place of their own permutation that is free.
    fn with_places<'a>(names: impl Iterator<Item = &'a str>, places: u32) -> Self {
        // Turns are taken in the order of names, so that the order in the file is no matter.
        let mut backends: Vec<_> = names
            .zip(0u16..)
            .map(|(name, index)| {
                let bytes = name.as_bytes();
                let offset = modulo(hash(Use::Offset, &bytes), places);
                let skip = modulo(hash(Use::Skip, &bytes), places - 1) + 1;
                (name, index, offset, skip)
            })
            .collect();
        backends.sort_unstable();
        let mut table = vec![None; places as usize];
        let mut left = if backends.is_empty() { 0 } else { places };
        while left > 0 {
            for (_, index, next, skip) in &mut backends {
                while table[*next as usize].is_some() {
                    *next = (*next + *skip) % places;
                }
                table[*next as usize] = Some(*index);
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Self { table: table.into_iter().map_while(|index| index).collect() }
    }

    /// The backends of a client in the order of preference, with repetitions: its own place, then the places behind it.
    /// While one backend is down, its clients alone go elsewhere, and spread over all others.
    pub fn places(&self, client: IpAddr) -> impl Iterator<Item = usize> + '_ {
        let octets: &[u8] = match &client {
            IpAddr::V4(ip) => &ip.octets(),
            IpAddr::V6(ip) => &ip.octets(),
        };
        let first = match self.table.len() {
            0 => 0,
            _ => modulo(hash(Use::Client, &octets), PLACES) as usize,
        };
        self.table.iter().skip(first).chain(self.table.iter().take(first)).map(|index| usize::from(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}:80")).collect()
    }

    fn table(names: &[String]) -> Maglev {
        Maglev::new(names.iter().map(String::as_str))
    }

    #[test]
    fn the_table_is_of_a_prime_size() {
        assert!(!(2..=256).any(|n| PLACES.is_multiple_of(n)), "256 squared is less than 65537: it is prime");
    }

    /// The example of the paper's table 1: permutations of three backends over seven places, by offset and skip (3, 4), (0, 2)
    /// and (3, 1), and the table they make. Hashes give other numbers, so the claims are made here as the paper makes them.
    #[test]
    fn turns_are_taken_as_in_table_1_of_the_paper() {
        let permutation = |offset: u32, skip: u32| (0..7).map(move |j| (offset + j * skip) % 7).collect::<Vec<_>>();
        assert_eq!(permutation(3, 4), [3, 0, 4, 1, 5, 2, 6]);
        assert_eq!(permutation(0, 2), [0, 2, 4, 6, 1, 3, 5]);
        assert_eq!(permutation(3, 1), [3, 4, 5, 6, 0, 1, 2]);
    }

    /// Turns give everybody the same number of places, but for the last round.
    #[test]
    fn places_are_shared_out_evenly() {
        for count in [1, 2, 3, 10, 512] {
            let table = table(&names(count));
            let mut places = vec![0u32; count];
            table.table.iter().for_each(|index| places[usize::from(*index)] += 1);
            let fair = PLACES / u32::try_from(count).unwrap();
            assert!(places.iter().all(|n| *n == fair || *n == fair + 1), "{count}: {places:?}");
        }
    }

    #[test]
    fn the_order_of_the_names_is_no_matter() {
        let forward = names(20);
        let mut backward = forward.clone();
        backward.reverse();
        let (a, b) = (table(&forward), table(&backward));
        assert!(a.table.iter().zip(&b.table).all(|(a, b)| forward[usize::from(*a)] == backward[usize::from(*b)]));
    }

    /// Section 3.4: with N backends, 1/N of the places are a backend's that goes, and must change. Of the others "the vast
    /// majority" keeps its backend: with M = 65537 the paper's figure 12 has a few percent of changes.
    #[test]
    fn few_places_change_when_a_backend_goes() {
        for count in [3, 10, 50] {
            let all = names(count);
            let (before, after) = (table(&all), table(&all[1..]));
            let pairs = || before.table.iter().zip(&after.table).map(|(b, a)| (usize::from(*b), usize::from(*a) + 1));
            let must = pairs().filter(|(before, _)| *before == 0).count();
            let changed = pairs().filter(|(before, after)| before != after).count();
            let share = PLACES as usize / count;
            assert!(must == share || must == share + 1);
            assert!(changed - must < PLACES as usize / 20, "{count}: {changed} of which {must} must");
        }
    }

    #[test]
    fn clients_of_both_families_have_a_place() {
        let table = table(&names(3));
        for client in ["10.0.0.1", "::1", "255.255.255.255", "fd00::ffff"] {
            assert_eq!(table.places(client.parse().unwrap()).count(), PLACES as usize);
        }
        assert_eq!(Maglev::new(std::iter::empty()).places("::1".parse().unwrap()).next(), None);
    }
}
