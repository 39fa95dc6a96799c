//! Whoever does not see the client's connection, and knows its addresses and ports: RFC 5961, RFC 5927.

use crate::{
    field::{Field, Rng, Strike, assert_served, nobody},
    support::{header, ip_frame, segment_of, tcp_frame, v4},
};
use stack::Duration;
use wire::{
    icmpv4,
    tcp::{Flags, Timestamps},
};

const ALL: usize = 65_536;
const STRIDE: u32 = 65_536;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A transfer of a second without an attack, begun 50 ms before.
fn unharmed() -> usize {
    let mut quiet = Field::v4();
    quiet.run(ms(50), nobody);
    quiet.run(ms(1000), nobody)
}

/// RFC 5961 sections 3.2, 4.2 and 5.2: all sequence numbers, 64 KiB apart, while the client streams: RSTs, SYNs, data with and
/// without timestamps, FINs. Its bytes are right, and it has its goodput.
#[test]
fn blind_sweeps_through_all_sequence_numbers() {
    let unharmed = unharmed();
    let cases: [(Flags, usize, bool, &[&str]); 5] = [
        (Flags::RST, 0, false, &["tcp_reset_not_exact"]),
        (Flags::SYN, 0, true, &["tcp_unexpected_syn", "tcp_old_timestamp"]),
        (Flags::ACK | Flags::PSH, 8, false, &["tcp_no_timestamp"]),
        (Flags::ACK | Flags::PSH, 8, true, &["tcp_old_timestamp", "tcp_out_of_window", "tcp_ack_unacceptable"]),
        (Flags::ACK | Flags::FIN, 0, true, &["tcp_old_timestamp", "tcp_out_of_window", "tcp_ack_unacceptable"]),
    ];
    for (flags, len, stamped, counters) in cases {
        let (mut attacked, mut rng, mut sent) = (Field::v4(), Rng(5), 0);
        attacked.run(ms(50), nobody);
        let start = rng.word();
        let under = attacked.run(ms(1000), |strike| {
            let Some((port, ..)) = strike.numbers() else { return };
            for _ in 0..4.min(ALL - sent) {
                let mut forged = header(flags, (port, 7000), start.wrapping_add(sent as u32 * STRIDE), rng.word());
                forged.options.timestamps = stamped.then(|| Timestamps { val: rng.word(), ecr: rng.word() });
                strike.frames.push(tcp_frame(v4(9), v4(1), forged, &b"evil bytes"[..len], None));
                sent += 1;
            }
        });
        assert_served(under, unharmed);
        assert_eq!(sent, ALL);
        // Of as many acknowledgments one in 2^32 / (MAX.SND.WND + flight) is plausible, less than one in a thousand.
        let refused: u64 = counters.iter().map(|name| attacked.count(name)).sum();
        assert!(refused >= ALL as u64 * 999 / 1000, "{flags:?}: {refused}");
        assert_eq!((attacked.server.connections(), attacked.count("failed"), attacked.count("resets_out")), (1, 0, 0));
    }
}

/// RFC 5961 sections 3.2, 4.2, 5.2 and 7: somebody knows even the numbers, but not the one that counts. A thousand of each are
/// counted, ten of them answered; and nothing is taken.
#[test]
fn what_is_nearly_right_is_answered_ten_times_a_second() {
    let mut field = Field::v4();
    field.run(ms(50), nobody);
    field.user.pauses = true;
    field.run(ms(300), nobody);
    let (ack, psh) = (Flags::ACK, Flags::ACK | Flags::PSH);
    let cases = [
        ("a reset in the window", Flags::RST, 1, 0, 0, "tcp_reset_not_exact", 10),
        ("a reset before the window", Flags::RST, u32::MAX, 0, 0, "tcp_reset_not_exact", 0),
        ("a reset behind the window", Flags::RST, 1 << 30, 0, 0, "tcp_reset_not_exact", 0),
        ("a SYN in the window", Flags::SYN, 0, 0, 0, "tcp_unexpected_syn", 10),
        ("a SYN anywhere", Flags::SYN, 1 << 31, 0, 0, "tcp_unexpected_syn", 10),
        ("data that acknowledges the future", psh, 0, 1, 8, "tcp_ack_unacceptable", 10),
        ("data that acknowledges the distant past", psh, 0, 3 << 30, 8, "tcp_ack_unacceptable", 10),
        ("an ACK behind the window", ack, 1 << 30, 0, 0, "tcp_out_of_window", 10),
        ("data without ACK", Flags::PSH, 0, 0, 8, "tcp_no_ack", 0),
    ];
    for (what, flags, beyond_rcv_nxt, beyond_snd_nxt, len, counter, most) in cases {
        // The interval of the answers before is over.
        field.run(ms(1100), nobody);
        let (before, answers) = (field.count(counter), field.to_client);
        field.run(ms(800), |strike: &mut Strike<'_>| {
            let (port, snd_nxt, rcv_nxt) = strike.numbers().expect("a connection");
            let stamps = segment_of(strike.downward).expect("a segment").0.options.timestamps.expect("agreed");
            if strike.tick.is_multiple_of(16) {
                let (seq, ack) = (rcv_nxt.wrapping_add(beyond_rcv_nxt), snd_nxt.wrapping_add(beyond_snd_nxt));
                let mut forged = header(flags, (port, 7000), seq, ack);
                forged.options.timestamps = Some(Timestamps { val: stamps.ecr, ecr: stamps.val });
                strike.frames.push(tcp_frame(v4(9), v4(1), forged, &b"evil bytes"[..len], None));
            }
        });
        assert_eq!((field.count(counter) - before, field.to_client - answers), (1000, most), "{what}");
    }
    field.resume();
    assert!(field.run(ms(500), nobody) > 1_000_000, "and the stream goes on where it was");
}

/// An ICMP error of a router about a packet of ours.
fn error(kind: u8, code: u8, rest: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 36];
    icmpv4::emit(kind, code, rest, &quoted[14..42], &mut message);
    ip_frame([192, 0, 2, 77].into(), v4(1), 1, &message, None)
}

/// RFC 5927 sections 4.1 and 5.2: 80,000 errors of all kinds that quote the client's connection, with guessed numbers; and
/// as many that quote connections which are not there.
#[test]
fn forged_errors_by_the_thousand() {
    let (mut attacked, mut rng, mut sent) = (Field::v4(), Rng(3), 0);
    attacked.run(ms(50), nobody);
    let kinds = [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)];
    let under = attacked.run(ms(1000), |strike| {
        for n in 0..4 {
            let (kind, code) = kinds[rng.below(8)];
            let mut quoted = strike.downward.to_vec();
            quoted[38..42].copy_from_slice(&rng.word().to_be_bytes());
            strike.frames.push(error(kind, code, [0, 0, 2, 40], &quoted));
            quoted[36] ^= 1 + n;
            strike.frames.push(error(kind, code, [0, 0, 2, 40], &quoted));
            sent += 1;
        }
    });
    assert_served(under, unharmed());
    // One guess in 2^32 / flight hits: of 80,000 and a flight of 300 KB some six.
    let (stale, taken) = (attacked.count("icmp_stale"), attacked.count("icmp_in"));
    assert_eq!((stale + taken, attacked.count("icmp_quote")), (sent, sent));
    assert!(taken <= 30, "{taken}");
    assert_eq!(attacked.server.connections(), 1);
}

/// RFC 5927 sections 5.2 and 7.2: somebody sees what is sent. Hard errors about what is in flight end nothing; a router that
/// claims a small MTU is not believed while larger packets arrive. 20,000 of each.
#[test]
fn forged_errors_about_what_is_in_flight() {
    let unharmed = unharmed();
    for (kind, code, rest) in [(3, 3, [0; 4]), (3, 2, [0; 4]), (3, 4, [0, 0, 2, 40]), (3, 4, [0, 0, 0, 68])] {
        let mut attacked = Field::v4();
        attacked.run(ms(50), nobody);
        let under = attacked.run(ms(1000), |strike| strike.frames.push(error(kind, code, rest, strike.downward)));
        assert_served(under, unharmed);
        // What quotes a bare ACK is stale: it is never in flight.
        let taken = attacked.count("icmp_in");
        assert_eq!(taken + attacked.count("icmp_stale"), 20_000, "{kind} {code}");
        assert!(taken > 10_000, "{kind} {code}: {taken}");
    }
}
