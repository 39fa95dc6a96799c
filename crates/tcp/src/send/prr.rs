//! Proportional rate reduction: how much each acknowledgment lets out while the window comes down to ssthresh
//! (draft-ietf-tcpm-prr-rfc6937bis, RFC 6937; the slow-start reduction bound with its `SafeACK`, as Linux).

/// One reduction of the window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prr {
    /// `RecoverFS`: the window before the reduction, bytes.
    before: u32,
    ssthresh: u32,
    /// Bytes delivered to the peer, and bytes sent, since it began.
    delivered: u32,
    out: u32,
}

/// What an acknowledgment tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Bytes newly delivered, cumulatively or by SACK.
    pub(crate) delivered: u32,
    /// Bytes in flight behind it.
    pub(crate) in_flight: u32,
    /// SND.UNA advanced and nothing more was found lost: the losses are being repaired.
    pub(crate) safe: bool,
    pub(crate) mss: u32,
}

impl Prr {
    pub(crate) const fn new(before: u32, ssthresh: u32) -> Self {
        Self { before, ssthresh, delivered: 0, out: 0 }
    }

    pub(crate) fn sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// The window behind an acknowledgment, bytes; `None` if nothing was delivered: it stays.
    pub(crate) fn window(&mut self, p: Progress) -> Option<u32> {
        if p.delivered == 0 {
            return None;
        }
        self.delivered = self.delivered.saturating_add(p.delivered);
        let mut send = if p.in_flight > self.ssthresh {
            let share = (u64::from(self.delivered) * u64::from(self.ssthresh)).div_ceil(u64::from(self.before.max(1)));
            u32::try_from(share).unwrap_or(u32::MAX).saturating_sub(self.out)
        } else {
            let bound = self.delivered.saturating_sub(self.out).max(p.delivered);
            let bound = if p.safe { bound.saturating_add(p.mss) } else { bound };
            bound.min(self.ssthresh - p.in_flight)
        };
        if self.out == 0 {
            // The fast retransmission goes out whatever the sums say.
            send = send.max(p.mss);
        }
        Some(p.in_flight.saturating_add(send).max(p.mss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    fn ack(in_flight: u32) -> Progress {
        Progress { delivered: MSS, in_flight: in_flight * MSS, safe: false, mss: MSS }
    }

    /// RFC 6937 section 5, first example: 20 segments in flight, the first lost, ssthresh 10: one goes out for every two
    /// delivered, and at the end 10 are in flight.
    #[test]
    fn the_window_comes_down_in_proportion() {
        let mut prr = Prr::new(20 * MSS, 10 * MSS);
        let (mut in_flight, mut sent) = (19, 0);
        for n in 1..=19u32 {
            in_flight -= 1;
            let room = prr.window(ack(in_flight)).expect("delivered") - in_flight * MSS;
            if room >= MSS {
                prr.sent(MSS);
                in_flight += 1;
                sent += 1;
            }
            assert!(in_flight <= 10 || (n / 2..=n.div_ceil(2)).contains(&sent), "{sent} sent for {n} delivered");
        }
        assert_eq!(in_flight, 10);
    }

    /// RFC 6937 section 5, second example: 20 in flight, 15 lost: slow start from what is left, up to ssthresh.
    #[test]
    fn heavy_loss_is_slow_start_up_to_ssthresh() {
        let mut prr = Prr::new(20 * MSS, 10 * MSS);
        // The first acknowledgment lets out one segment, however few are in flight.
        assert_eq!(prr.window(ack(4)), Some(5 * MSS));
        prr.sent(MSS);
        // Packet conservation: as much as was delivered.
        assert_eq!(prr.window(ack(4)), Some(5 * MSS));
        prr.sent(MSS);
        // The losses are being repaired: one more.
        assert_eq!(prr.window(Progress { safe: true, ..ack(4) }), Some(6 * MSS));
        prr.sent(2 * MSS);
        // Never beyond ssthresh.
        assert_eq!(prr.window(Progress { delivered: 6 * MSS, safe: true, ..ack(9) }), Some(10 * MSS));
        assert_eq!(prr.window(Progress { delivered: 0, ..ack(9) }), None);
    }
}
