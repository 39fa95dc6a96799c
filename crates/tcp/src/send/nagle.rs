//! When a segment smaller than the MSS may go: Nagle's algorithm and the sender's side of silly-window avoidance
//! (RFC 9293 sections 3.7.4 and 3.8.6.2.1), in Minshall's form (RFC 9293 appendix A.3), as Linux has it: what is held back is a
//! small segment behind a small one, not the last piece of a large write.

/// What is known when the next segment is about to be cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision {
    /// Bytes not yet sent.
    pub(crate) queued: u32,
    /// min(peer's usable window, congestion window's), bytes.
    pub(crate) usable: u32,
    /// Effective MSS.
    pub(crate) mss: u32,
    /// The largest window the peer has ever offered.
    pub(crate) max_window: u32,
    /// A segment smaller than the MSS is sent and not acknowledged.
    pub(crate) small_in_flight: bool,
    pub(crate) nodelay: bool,
    /// The application has closed: nothing will be added to this segment.
    pub(crate) closing: bool,
    /// The application has said that more follows.
    pub(crate) corked: bool,
}

/// What a segment is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is not.
    Nothing,
    /// One of the windows, which would only let out a silly one.
    Window,
    /// The acknowledgment of the small one before.
    Nagle,
    /// What follows.
    Cork,
}

/// Why [`may_send`] says no.
pub(crate) fn holds(d: Decision) -> Hold {
    let whole = d.queued > 0 && d.queued <= d.usable && d.queued < d.mss;
    match d {
        _ if may_send(d) => Hold::Nothing,
        _ if !whole => Hold::Window,
        Decision { corked: true, .. } => Hold::Cork,
        _ => Hold::Nagle,
    }
}

/// Whether to send now `min(queued, usable, mss)` bytes.
pub(crate) fn may_send(d: Decision) -> bool {
    let len = d.queued.min(d.usable).min(d.mss);
    if len == 0 {
        return false;
    }
    // (1) a full-sized segment.
    if len == d.mss {
        return true;
    }
    // (2) everything there is, and Nagle allows it.
    if len == d.queued {
        return d.closing || (!d.corked && (d.nodelay || !d.small_in_flight));
    }
    // (3) at least Fs = 1/2 of the largest window ever seen.
    len >= d.max_window / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Decision {
        Decision {
            queued: 64,
            usable: 10_000,
            mss: 1460,
            max_window: 10_000,
            small_in_flight: true,
            nodelay: false,
            closing: false,
            corked: false,
        }
    }

    /// MUST-17, SHLD-7.
    #[test]
    fn a_small_segment_waits_only_while_something_is_in_flight() {
        assert!(!may_send(small()));
        assert!(may_send(Decision { small_in_flight: false, ..small() }));
        assert!(may_send(Decision { nodelay: true, ..small() }));
        assert!(may_send(Decision { closing: true, ..small() }));
        let corked = Decision { small_in_flight: false, nodelay: true, corked: true, ..small() };
        assert!(!may_send(corked));
        assert!(may_send(Decision { closing: true, ..corked }));
    }

    #[test]
    fn who_only_looks_is_told_what_holds_it() {
        assert_eq!(holds(small()), Hold::Nagle);
        assert_eq!(holds(Decision { nodelay: true, ..small() }), Hold::Nothing);
        assert_eq!(holds(Decision { corked: true, nodelay: true, ..small() }), Hold::Cork);
        assert_eq!(holds(Decision { usable: 63, ..small() }), Hold::Window);
        assert_eq!(holds(Decision { usable: 0, corked: true, ..small() }), Hold::Window);
    }

    /// SHLD-28.
    #[test]
    fn a_full_segment_goes() {
        assert!(may_send(Decision { queued: 1460, ..small() }));
    }

    /// MUST-38.
    #[test]
    fn a_silly_window_is_not_filled() {
        let d = Decision { queued: 5000, usable: 100, nodelay: true, ..small() };
        assert!(!may_send(d));
        // Half of the largest window ever offered.
        assert!(may_send(Decision { max_window: 200, ..d }));
        assert!(!may_send(Decision { usable: 0, ..d }));
    }
}
