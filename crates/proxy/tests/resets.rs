//! What becomes of bytes that are on their way when a side resets.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use sim::Fate;
use sim::stack::Error;
use support::{Lab, file, stream};

const SERVING: [u16; 1] = [8001];

/// Behind Ethernet 14, IPv4 20 and TCP with timestamps 32; a SYN has more options.
fn is_data(frame: &[u8]) -> bool {
    frame.len() > 66 && frame[47] & 0x02 == 0
}

fn is_data_from(frame: &[u8], port: u16) -> bool {
    is_data(frame) && frame[34..36] == port.to_be_bytes()
}

/// A server that refuses what it was sent says so and goes: what it has not read makes its end a reset (RFC 2525 section 2.17).
/// Without a proxy its client is told before that, and so it is here, however late the answer comes through. So is a server what
/// its client has sent ahead of a reset.
#[test]
fn what_was_said_ahead_of_a_reset_is_passed_on() {
    for (by_client, bytes) in [(false, 20), (false, 120_000), (true, 3000)] {
        let lossy = Rc::new(Cell::new(false));
        let lost = Rc::clone(&lossy);
        let tamper = move |_: usize, frame: &mut Vec<u8>| {
            let passed_on = if by_client {
                is_data(frame) && frame[36..38] == 8001u16.to_be_bytes()
            } else {
                is_data_from(frame, 80)
            };
            if lost.get() && passed_on { Fate::Drop } else { Fate::Pass }
        };
        let mut lab = Lab::with_tamper(&file("", "", &SERVING), &SERVING, tamper);
        let client = lab.client(b"hello");
        lab.run(100);
        let server = lab.at(8001);
        let (from, to) = if by_client { (client, server) } else { (server, client) };
        lossy.set(true);
        let said = stream(bytes);
        lab.send(from, &said);
        lab.run(100);
        lab.far(|io, _| io.abort(from)).unwrap();
        lab.run(100);
        assert_eq!(lab.seen(to).closed, None);
        lossy.set(false);
        lab.run(5000);
        let before = if by_client { 5 } else { 0 };
        assert!(lab.seen(to).got[before..] == said, "{} of {bytes}", lab.seen(to).got.len() - before);
        assert_eq!((lab.seen(to).ended, lab.seen(to).closed), (false, Some(Some(Error::Reset))));
        lab.assert_over();
        let name = if by_client { "client_resets" } else { "backend_resets" };
        assert_eq!(lab.ends(), [(name.to_owned(), 1)]);
    }
}

/// Nobody waits for ever for one that does not take what was said before.
#[test]
fn who_does_not_take_what_was_said_ahead_of_a_reset_is_reset_in_time() {
    let never = |_: usize, frame: &mut Vec<u8>| if is_data_from(frame, 80) { Fate::Drop } else { Fate::Pass };
    let text = file("", "half-closed-timeout = \"3s\"", &SERVING);
    let mut lab = Lab::with_tamper(&text, &SERVING, never);
    let client = lab.client(b"hello");
    lab.run(100);
    let server = lab.at(8001);
    lab.send(server, &stream(50_000));
    lab.run(100);
    lab.far(|io, _| io.abort(server)).unwrap();
    lab.run(2900);
    assert_eq!((lab.seen(client).closed, lab.control.status().pools[0].backends[0].active), (None, 0));
    lab.run(400);
    assert_eq!(lab.seen(client).closed, Some(Some(Error::Reset)));
    lab.assert_over();
    assert_eq!(lab.ends(), [("backend_resets".to_owned(), 1)]);
}
