//! A cell of the tables: a path, so many flows, and what came of it.

use stack::{Duration, Instant};

pub const RATES_GBIT: [u64; 2] = [1, 10];
pub const RTTS_US: [u64; 4] = [50, 1000, 20_000, 100_000];
/// Parts per million.
pub const LOSSES_PPM: [u64; 6] = [0, 100, 1000, 10_000, 30_000, 100_000];
pub const FLOWS: [u64; 2] = [1, 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    pub gbit: u64,
    pub flows: u64,
    pub rtt_us: u64,
    pub loss_ppm: u64,
}

impl Cell {
    /// All 96.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for gbit in RATES_GBIT {
            for flows in FLOWS {
                for rtt_us in RTTS_US {
                    cells.extend(LOSSES_PPM.map(|loss_ppm| Self { gbit, flows, rtt_us, loss_ppm }));
                }
            }
        }
        cells
    }

    pub fn bits_per_s(&self) -> u64 {
        self.gbit * 1_000_000_000
    }

    /// Bandwidth-delay product, bytes.
    pub fn bdp_bytes(&self) -> u64 {
        self.bits_per_s() / 8 * self.rtt_us / 1_000_000
    }

    /// One bandwidth-delay product, at least 100 frames and at most 16 MB.
    pub fn queue_bytes(&self) -> u64 {
        self.bdp_bytes().clamp(100 * 1514, 16_000_000)
    }

    /// Twice what the path and its queue hold, and of eight flows each half of that: the largest window of a flow.
    pub fn buffer_bytes(&self) -> u32 {
        let all = 2 * (self.bdp_bytes() + self.queue_bytes());
        let bytes = if self.flows > 1 { all / 2 } else { all };
        u32::try_from(bytes.max(1 << 20)).expect("less than 4 GiB")
    }

    /// What the path and its queue hold, divided by the flows: no more than that can be in flight, and nothing overflows.
    pub fn fitted_bytes(&self) -> u32 {
        u32::try_from((self.bdp_bytes() + self.queue_bytes() * 3 / 4) / self.flows).expect("less than 4 GiB")
    }

    pub fn rtt(&self) -> Duration {
        Duration::from_micros(self.rtt_us)
    }

    /// Every cell has random numbers of its own.
    pub fn seed(&self) -> u64 {
        ((self.gbit * 100 + self.flows) * 1_000_000 + self.rtt_us) * 1_000_000 + self.loss_ppm
    }

    /// When the flows start: within 20 ms or a round trip.
    pub fn starts(&self) -> Vec<Instant> {
        let span = self.rtt_us.max(20_000);
        let mut random = self.seed();
        let mut starts: Vec<_> = (0..self.flows)
            .map(|n| {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                if n == 0 { Instant::ZERO } else { Instant::ZERO + Duration::from_micros((random >> 33) % span) }
            })
            .collect();
        starts.sort();
        starts
    }

    /// Virtual time a cell lasts at most: where losses are rare events on a long path, the longer.
    pub fn most_time(&self) -> Duration {
        Duration::from_secs(40).max(self.rtt() * 3000)
    }

    /// Frames the sender puts on the link at most: what the link takes in 100 round trips, within bounds.
    pub fn most_frames(&self) -> u64 {
        (100 * self.bdp_bytes() / 1514).clamp(600_000, 4_000_000)
    }
}

/// Jain's fairness index: 1 if all have the same, 1/n if one has everything.
#[allow(clippy::cast_precision_loss)] // far below 2^53
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|x| *x as f64).sum();
    let squares: f64 = shares.iter().map(|x| (*x as f64).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
}
