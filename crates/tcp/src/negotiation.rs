//! What the options of both SYNs settle: MSS (RFC 9293 section 3.7.1), window scale and timestamps (RFC 7323), SACK
//! (RFC 2018).

use crate::config::Config;
use wire::tcp::Options;

/// The least MSS a peer is believed, as Linux: with less, a window costs more headers than anybody has memory for.
const MIN_MSS: u16 = 48;
/// The largest shift RFC 7323 section 2.3 allows.
const MAX_SHIFT: u8 = 14;
/// What the timestamps option takes of every segment, padded (RFC 7323 appendix A).
pub(crate) const TIMESTAMPS_BYTES: u16 = 12;

/// What a connection's two SYNs have settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The most bytes of options and data behind the fixed TCP header of a segment we send: the lesser of both MSS.
    pub mss: u16,
    /// Both offered window scaling: the shift of the windows the peer advertises, 0 to 14.
    pub window_scale: Option<u8>,
    /// Both permit SACK.
    pub sack: bool,
    /// Both use timestamps: the peer's latest, TS.Recent.
    pub timestamps: Option<u32>,
}

impl Negotiated {
    /// From the options of the peer's SYN. `mss` is ours, `default_peer_mss` what it is taken to accept if it says nothing
    /// (RFC 9293 MUST-15).
    #[must_use]
    pub fn new(config: &Config, mss: u16, default_peer_mss: u16, syn: &Options) -> Self {
        Self {
            mss: syn.mss.unwrap_or(default_peer_mss).max(MIN_MSS).min(mss),
            // RFC 7323 section 2.3: a larger shift counts as 14.
            window_scale: syn.window_scale.filter(|_| config.window_scaling).map(|shift| shift.min(MAX_SHIFT)),
            sack: syn.sack_permitted && config.sack,
            timestamps: syn.timestamps.filter(|_| config.timestamps).map(|t| t.val),
        }
    }

    /// The most data a segment without further options carries (RFC 9293 MUST-16: the options count).
    #[must_use]
    pub const fn data_mss(&self) -> u16 {
        if self.timestamps.is_some() { self.mss.saturating_sub(TIMESTAMPS_BYTES) } else { self.mss }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use wire::tcp::Timestamps;

    fn all() -> Options {
        Options {
            mss: Some(1400),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { val: 9, ecr: 0 }),
            ..Options::default()
        }
    }

    /// MUST-15, MUST-16: the lesser MSS counts, less the options of every segment.
    #[test]
    fn timestamps_take_twelve_bytes_of_the_mss() {
        let negotiated = Negotiated::new(&Config::default(), 1460, 536, &all());
        assert_eq!((negotiated.mss, negotiated.data_mss()), (1400, 1388));
        let none = Negotiated::new(&Config::default(), 1460, 536, &Options::default());
        assert_eq!((none.mss, none.data_mss()), (536, 536));
        let jumbo = Options { mss: Some(9000), ..all() };
        assert_eq!(Negotiated::new(&Config::default(), 1460, 536, &jumbo).data_mss(), 1448);
    }

    /// RFC7323-2.2-a, RFC7323-3.2-d: what one side doesn't offer is not used.
    #[test]
    fn only_what_both_offer_is_used() {
        let settings = Settings { window_scaling: false, sack: false, timestamps: false, ..Settings::default() };
        let config = Config::new(settings).expect("valid");
        let off = Negotiated::new(&config, 1460, 536, &all());
        assert_eq!((off.window_scale, off.sack, off.timestamps), (None, false, None));
        let on = Negotiated::new(&Config::default(), 1460, 536, &all());
        assert_eq!((on.window_scale, on.sack, on.timestamps), (Some(7), true, Some(9)));
    }

    /// RFC7323-2.3-b.
    #[test]
    fn a_shift_above_14_counts_as_14() {
        let options = Options { window_scale: Some(15), ..all() };
        assert_eq!(Negotiated::new(&Config::default(), 1460, 536, &options).window_scale, Some(14));
    }
}
