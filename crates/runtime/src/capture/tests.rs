//! What is asked and answered over the control socket, without a process.

use super::message::{self, Kind, Mark};
use super::record::Header;
use super::*;
use bpf::Program;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A client to whom somebody answers with these bytes, and no more; and that one's end.
fn client(queues: usize, answer: &[u8]) -> (Capture, UnixStream) {
    let (near, mut far) = UnixStream::pair().unwrap();
    let queue = |shard| Queue { interface: "eth0".into(), queue: 0, shard };
    let opened = Opened::Queues((0..queues).map(queue).collect());
    writeln!(far, "{}", serde_json::to_string(&opened).unwrap()).unwrap();
    far.write_all(answer).unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    (Capture::open(near, "{}\n", Duration::from_millis(1)).unwrap(), far)
}

fn record(at: u64, bytes: &[u8], comment: &str) -> Vec<u8> {
    let kept = u32::try_from(bytes.len()).unwrap();
    let comment_len = comment.len().try_into().unwrap();
    let header = Header { at, len: kept + 1, kept, lost: 2, comment: comment_len, sent: at % 2 == 1 };
    [&header.write()[..], bytes, comment.as_bytes()].concat()
}

fn records(shard: u16, records: &[u8]) -> Vec<u8> {
    [&message::header(Kind::Records, shard, u32::try_from(records.len()).unwrap())[..], records].concat()
}

/// What comes of a capture up to its end: times, and marks.
fn all(capture: &mut Capture) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match capture.wait().unwrap() {
            Event::Frame(frame) => {
                assert_eq!((frame.len as usize, frame.lost), (frame.bytes.len() + 1, 2));
                assert_eq!(frame.sent, frame.at.clock_nanos % 2 == 1);
                all.push(format!("{} of {}{}", frame.at.unix_nanos, frame.queue, frame.comment));
            }
            Event::Mark(at) => all.push(format!("mark {}", at.unix_nanos)),
            Event::Nothing => {}
            Event::Over { process } => {
                all.push(format!("over {process}"));
                return all;
            }
        }
    }
}

/// What two shards have captured is merged by its time, up to where both have come; a record may come in pieces.
#[test]
fn frames_of_several_shards_come_in_the_order_of_their_time() {
    let first = [record(1, b"a", ""), record(4, b"bc", "!"), record(9, b"", "")].concat();
    let (here, there) = first.split_at(30);
    let counts = [Counts { seen: 5, matched: 4, dropped: 1 }, Counts::default()];
    let answer = [
        records(0, here),
        records(1, &record(2, b"x", "?")),
        records(0, there),
        message::mark(Kind::Mark, false, Mark { at: 4, offset: 0 }, &counts),
        records(1, &record(3, b"late", "")),
        message::mark(Kind::End, true, Mark { at: 5, offset: 0 }, &counts),
    ]
    .concat();
    let (mut capture, _far) = client(2, &answer);
    assert_eq!(
        all(&mut capture),
        ["1 of 0", "2 of 1?", "4 of 0!", "mark 4", "3 of 1", "9 of 0", "over true"],
        "by time, and what is newer than the last mark is not lost"
    );
    assert_eq!(capture.counts(), counts);
}

/// The machine's clock is set back by a minute and on again: frames come as they did, and have the time that it shows.
#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mark = |at, offset| message::mark(Kind::Mark, false, Mark { at, offset }, &[Counts::default(); 2]);
    let answer = [
        records(0, &[record(1, b"a", ""), record(6, b"b", "")].concat()),
        records(1, &record(2, b"c", "")),
        mark(4, 70_000),
        records(0, &record(8, b"d", "")),
        records(1, &record(7, b"e", "")),
        mark(9, 10_000),
        records(1, &record(10, b"f", "")),
        message::mark(Kind::End, false, Mark { at: 12, offset: 70_000 }, &[Counts::default(); 2]),
    ]
    .concat();
    let (mut capture, _far) = client(2, &answer);
    let expected = [
        "70001 of 0",
        "70002 of 1",
        "mark 70004",
        "10006 of 0",
        "10007 of 1",
        "10008 of 0",
        "mark 10009",
        "70010 of 1",
        "over false",
    ];
    assert_eq!(all(&mut capture), expected);
}

#[test]
fn what_is_no_capture_is_an_error() {
    let mark = message::mark(Kind::Mark, false, Mark { at: 4, offset: 0 }, &[]);
    for (answer, error) in [
        (&b"12345678901234567890"[..], ErrorKind::InvalidData),
        (&records(1, b"for a shard that is not there"), ErrorKind::InvalidData),
        (&mark, ErrorKind::InvalidData),
        (&message::header(Kind::Records, 0, u32::MAX), ErrorKind::InvalidData),
        (&records(0, b"")[..5], ErrorKind::UnexpectedEof),
        (b"", ErrorKind::UnexpectedEof),
    ] {
        let (mut capture, _far) = client(1, answer);
        assert_eq!(capture.wait().unwrap_err().kind(), error, "{answer:?}");
    }
    // A comment that is no text.
    let mut wrong = record(1, b"a", "b");
    *wrong.last_mut().unwrap() = 0xff;
    let answer =
        [records(0, &wrong), message::mark(Kind::Mark, false, Mark { at: 4, offset: 0 }, &[Counts::default()])]
            .concat();
    let (mut capture, _far) = client(1, &answer);
    assert_eq!(capture.wait().unwrap_err().kind(), ErrorKind::InvalidData);
}

/// Whatever comes behind the first line.
#[test]
fn no_bytes_make_a_client_panic() {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    for _ in 0..500 {
        let mut answer = Vec::new();
        for _ in 0..random() % 8 {
            let len = random() % 64;
            answer.extend([random() % 4, 0, random() % 3, 0, len, 0, 0, 0]);
            answer.extend((0..len).map(|_| if random() < 128 { 0 } else { random() }));
        }
        let (mut capture, _far) = client(2, &answer);
        while !matches!(capture.wait(), Err(_) | Ok(Event::Over { .. })) {}
    }
}

#[test]
fn a_refusal_is_told_in_its_words() {
    let (near, mut far) = UnixStream::pair().unwrap();
    writeln!(far, "{}", serde_json::to_string(&Opened::Refused("not today".into())).unwrap()).unwrap();
    let error = Capture::open(near, "{}\n", Duration::ZERO).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Other, "not today"));
}

/// A program of none is no program: it is the request that says so.
#[test]
fn a_request_goes_through_json() {
    let request = Request { filter: vec![(6, 0, 0, 1)], snaplen: 96, comments: true, buffer_bytes: 65536 };
    let line = serde_json::to_string(&request).unwrap();
    assert_eq!(line, r#"{"filter":[[6,0,0,1]],"snaplen":96,"comments":true,"buffer_bytes":65536}"#);
    assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
    assert!(Program::check(&[]).is_err());
}
