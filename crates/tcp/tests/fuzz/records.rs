//! The records before and after a connection: their answer to any segment, by the letter of the RFCs.

use crate::{rules, segment};
use fuzz::Input;
use std::sync::OnceLock;
use tcp::{Answer, Config, Connection, DropReason, Env, HalfOpen, HalfOpenAnswer, Pool, Start, State, TimeWait};
use wheel::{Duration, Instant};
use wire::{
    SeqNum,
    tcp::{Flags, Segment, Timestamps},
};

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(Config::default)
}

/// `a` < `b`, RFC 7323 section 4.1.
fn older(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn near(input: &mut Input<'_>) -> SeqNum {
    SeqNum::new([7, 0u32.wrapping_sub(3), 1 << 31, 0xffff_0000][usize::from(input.below(4))])
}

/// RFC 9293 section 3.10.7.4 for TIME-WAIT, RFC 1337 fix F1, RFC 6191 section 2, RFC 7323 section 5.3.
pub(crate) fn time_wait(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let recent = input.bool().then(|| input.u32());
    let record = TimeWait { snd_nxt: near(&mut input), rcv_nxt: near(&mut input), timestamps: recent };
    let stamps: Vec<_> =
        [0, 1, u32::MAX, 1 << 31].map(|off| Timestamps { val: recent.unwrap_or(0).wrapping_add(off), ecr: 0 }).to_vec();
    let segment = segment(&mut input, &[record.rcv_nxt, record.rcv_nxt - 1], &[record.snd_nxt], &stamps);
    let (header, stamp) = (&segment.header, segment.header.options.timestamps);
    let is = |flag| header.flags.contains(flag);
    let ahead = header.seq.value().wrapping_sub(record.rcv_nxt.value()) as i32;
    let len = segment.payload.len() + usize::from(is(Flags::SYN)) + usize::from(is(Flags::FIN));
    let expected = if is(Flags::RST) {
        Answer::Ignore
    } else if is(Flags::SYN) && !is(Flags::ACK) {
        // RCV.NXT is one above the last number of the old incarnation.
        let new = match (recent, stamp) {
            (Some(old), Some(t)) if t.val != old => older(old, t.val),
            (None, Some(_)) => true,
            _ => ahead >= 0,
        };
        if new { Answer::Reopen { after: record.snd_nxt } } else { Answer::Ignore }
    } else if recent.zip(stamp).is_some_and(|(old, t)| older(t.val, old)) {
        Answer::Ack
    } else if is(Flags::FIN) && i64::from(ahead) + len as i64 == 0 {
        Answer::AckAndRestart
    } else if ahead == 0 && len == 0 {
        Answer::Ignore
    } else {
        Answer::Ack
    };
    assert_eq!(record.on_segment(&segment), expected, "{record:?} {segment:?}");
    let ack = record.ack(Instant::ZERO, 0, 1, 2);
    assert_eq!((ack.seq, ack.ack, ack.flags), (record.snd_nxt, record.rcv_nxt, Flags::ACK));
    assert_eq!(ack.options.timestamps.map(|t| t.ecr), recent);
}

/// RFC 9293 section 3.10.7.4 for SYN-RECEIVED after a passive OPEN, with RFC 5961 sections 3.2, 4.2 and 7.
pub(crate) fn half_open(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (iss, irs) = (near(&mut input), near(&mut input));
    let mut now = Instant::ZERO + Duration::from_secs(9);
    let mut pool = Pool::new(1 << 20);
    let start = Start { iss, mss: 1460, default_peer_mss: 536, timestamp_offset: 0 };
    let mut syn = segment(&mut input, &[irs], &[iss], &[Timestamps { val: 100, ecr: 0 }]);
    (syn.header.seq, syn.header.flags) = (irs, Flags::SYN);
    let env = Env { now, config: config(), pool: &mut pool };
    let mut record = HalfOpen::new(&env, start, &syn);
    let mut recent = syn.header.options.timestamps.map(|t| t.val);
    let mut answers = (now, 0);
    for _ in 0..12 {
        if input.is_empty() {
            break;
        }
        now += Duration::from_millis(u64::from(input.u8()));
        let env = Env { now, config: config(), pool: &mut pool };
        let stamps: Vec<_> = [0, 1, u32::MAX, 1 << 31]
            .map(|off| Timestamps { val: recent.unwrap_or(0).wrapping_add(off), ecr: 0 })
            .to_vec();
        let segment = segment(&mut input, &[irs + 1, irs, irs + 0x1_0000], &[iss + 1], &stamps);
        let answer = record.on_segment(&env, &segment);
        check(&segment, answer, iss, irs, recent);
        match answer {
            HalfOpenAnswer::Complete => return complete(env, start, &record, &segment),
            HalfOpenAnswer::Forget => return,
            HalfOpenAnswer::Ack(_) | HalfOpenAnswer::SynAckAgain => {
                if answer == HalfOpenAnswer::SynAckAgain && segment.header.options.timestamps.is_none() {
                    // The SYN came again without them.
                    recent = None;
                }
                // No more than the limit in any second that begins at a multiple of it.
                let second = (now - record.began()).as_millis() / 1000;
                let begins = record.began() + Duration::from_secs(second);
                answers = if answers.0 == begins { (begins, answers.1 + 1) } else { (begins, 1) };
                assert!(answers.1 <= 10, "{answers:?}");
            }
            _ => {}
        }
        let syn_ack = record.syn_ack(&env, 0);
        assert_eq!((syn_ack.seq, syn_ack.ack), (iss, irs + 1));
        assert_eq!((record.ack(&env, 0).seq, record.ack(&env, 0).ack), (iss + 1, irs + 1));
        assert!(record.deadline(config()) >= record.began());
    }
}

fn check(segment: &Segment<'_>, answer: HalfOpenAnswer, iss: SeqNum, irs: SeqNum, recent: Option<u32>) {
    let is = |flag| segment.header.flags.contains(flag);
    let stamp = segment.header.options.timestamps;
    let challenged = |reason| move |a| a == HalfOpenAnswer::Ack(reason) || a == HalfOpenAnswer::Ignore(reason);
    let right = if !is(Flags::RST) && recent.is_some() && stamp.is_none() && !is(Flags::SYN) {
        answer == HalfOpenAnswer::Ignore(DropReason::NoTimestamp)
    } else if !is(Flags::RST) && recent.zip(stamp).is_some_and(|(old, t)| older(t.val, old)) {
        challenged(DropReason::OldTimestamp)(answer)
    } else if !rules::acceptable(irs + 1, 0xffff, segment) {
        if is(Flags::RST) {
            answer == HalfOpenAnswer::Ignore(DropReason::ResetNotExact)
        } else if is(Flags::SYN) && !is(Flags::ACK) && segment.header.seq == irs {
            answer == HalfOpenAnswer::SynAckAgain || answer == HalfOpenAnswer::Ignore(DropReason::OutOfWindow)
        } else {
            challenged(DropReason::OutOfWindow)(answer)
        }
    } else if is(Flags::RST) {
        let exact = segment.header.seq == irs + 1;
        if exact { answer == HalfOpenAnswer::Forget } else { challenged(DropReason::ResetNotExact)(answer) }
    } else if is(Flags::SYN) {
        challenged(DropReason::UnexpectedSyn)(answer)
    } else if !is(Flags::ACK) {
        answer == HalfOpenAnswer::Ignore(DropReason::NoAck)
    } else if segment.header.ack == iss + 1 {
        answer == HalfOpenAnswer::Complete
    } else {
        matches!(answer, HalfOpenAnswer::Reset(r) if r.seq == segment.header.ack && r.ack.is_none())
    };
    assert!(right, "{answer:?} to {segment:?}");
}

/// The connection takes what completed its handshake.
fn complete(mut env: Env<'_>, start: Start, record: &HalfOpen, segment: &Segment<'_>) {
    let mut connection = Connection::from_half_open(&env, start, record);
    let outcome = connection.on_segment(&mut env, segment);
    assert_eq!(outcome.reset, None);
    assert!(matches!(connection.state(), State::Established | State::CloseWait), "{:?}", connection.state());
    assert_eq!(connection.numbers().snd_una, record.iss() + 1);
    connection.release(&mut env);
    assert_eq!(env.pool.chunks_in_use(), 0);
}
