//! What the field's formulas let one expect under random loss.

use super::cell::Cell;

/// Bytes of a full frame, and of data in it: 1500 less the headers and the timestamps option.
pub const FRAME: f64 = 1514.0;
pub const MSS: f64 = 1448.0;

/// Average window, segments, at a loss probability of `p` and a round-trip time of `rtt` seconds: the larger of Reno's
/// (Mathis and others 1997, every segment acknowledged for its bytes: sqrt(3 / 2p)) and CUBIC's (RFC 9438 section 5.1, C = 0.4,
/// beta = 0.7: (C (3 + beta) / 4 (1 - beta))^(1/4) * (rtt / p)^(3/4)).
pub fn window_segments(p: f64, rtt: f64) -> f64 {
    let reno = (1.5 / p).sqrt();
    let cubic = (0.4 * 3.7 / (4.0 * 0.3f64)).powf(0.25) * (rtt / p).powf(0.75);
    reno.max(cubic)
}

/// Goodput of all flows of a cell, Mbit/s: the response function, or the link's rate if that is less. Timeouts and whatever
/// waits in the queue are not in it.
#[allow(clippy::cast_precision_loss)] // small numbers
pub fn expected_mbit(cell: &Cell) -> f64 {
    let rate = cell.bits_per_s() as f64;
    let link = rate * MSS / FRAME;
    let p = cell.loss_ppm as f64 / 1e6;
    if cell.loss_ppm == 0 {
        return link / 1e6;
    }
    // A segment takes its time on the wire, and its acknowledgment waits for the next one.
    let rtt = cell.rtt_us as f64 / 1e6 + 2.0 * FRAME * 8.0 / rate;
    let flow = window_segments(p, rtt) * MSS * 8.0 / rtt * (1.0 - p);
    (flow * cell.flows as f64).min(link * (1.0 - p)) / 1e6
}
