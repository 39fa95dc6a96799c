//! The proxy on a shard, between clients and servers, in virtual time.

mod support;

use proxy::Config;
use sim::Fate;
use sim::stack::{ConnId, Error};
use support::{Lab, file, stream};

const SERVING: [u16; 3] = [8001, 8002, 8003];

fn is_syn_to(frame: &[u8], port: u16) -> bool {
    // Ethernet 14, IPv4 20, then ports, and flags at 13 of TCP.
    frame.len() >= 54 && frame[36..38] == port.to_be_bytes() && frame[47] & 0x12 == 0x02
}

/// RFC 9293 section 3.6: each direction ends by itself.
#[test]
fn bytes_and_ends_of_file_go_both_ways() {
    let mut lab = Lab::new(&file("", "", &SERVING[..1]), &SERVING);
    let (question, answer) = (stream(700_000), stream(900_000));
    let client = lab.client(&question);
    lab.end(client);
    lab.run(2000);
    let server = lab.at(8001);
    assert!(lab.seen(server).got == question && lab.seen(server).ended);
    // The other direction is open still.
    assert_eq!((lab.seen(client).ended, lab.seen(client).closed), (false, None));
    lab.send(server, &answer);
    lab.end(server);
    lab.run(2000);
    assert!(lab.seen(client).got == answer && lab.seen(client).ended);
    lab.assert_over();
    assert_eq!([lab.seen(client).closed, lab.seen(server).closed], [Some(None); 2]);
    assert_eq!(lab.ends(), []);
    assert_eq!((lab.counter("bytes_to_backends"), lab.counter("bytes_to_clients")), (700_000, 900_000));
}

#[test]
fn the_server_may_end_first() {
    let mut lab = Lab::new(&file("", "", &SERVING[..1]), &SERVING);
    let client = lab.client(b"hello");
    lab.run(10);
    let server = lab.at(8001);
    lab.send(server, &stream(300_000));
    lab.end(server);
    lab.run(1000);
    assert_eq!((lab.seen(client).got.len(), lab.seen(client).ended), (300_000, true));
    lab.send(client, b", and good bye");
    lab.end(client);
    lab.assert_over();
    assert_eq!(lab.seen(server).got, b"hello, and good bye");
    assert_eq!([lab.seen(client).closed, lab.seen(server).closed], [Some(None); 2]);
}

#[test]
fn resets_are_passed_on_as_resets() {
    for by_client in [true, false] {
        let mut lab = Lab::new(&file("", "", &SERVING[..1]), &SERVING);
        let client = lab.client(&stream(100_000));
        lab.run(100);
        let server = lab.at(8001);
        let (from, to) = if by_client { (client, server) } else { (server, client) };
        lab.far(|io, _| io.abort(from)).unwrap();
        lab.run(10);
        assert_eq!(lab.seen(to).closed, Some(Some(Error::Reset)));
        lab.assert_over();
        let name = if by_client { "client_resets" } else { "backend_resets" };
        assert_eq!(lab.ends(), [(name.to_owned(), 1)]);
    }
}

/// What the backend does not take stays with the client: no more than both buffers of the proxy are full, however much
/// there is to send.
#[test]
fn who_does_not_read_holds_up_who_sends() {
    let buffer = 65_536;
    let text = format!("buffer = {buffer}\n{}", file("", "", &SERVING[..1]));
    let mut lab = Lab::new(&text, &SERVING);
    let total = 5_000_000;
    lab.far(|_, peers| peers.deaf = true);
    let client = lab.client(&stream(total));
    lab.run(20_000);
    let unread = lab.far(|io, peers| io.unread(peers.accepted[0].1)).unwrap();
    let to_backend = usize::try_from(lab.counter("bytes_to_backends")).unwrap();
    assert_eq!(to_backend, 0, "counted at the end");
    // 2 KiB chunks of both connections, with those that are begun: the pool has no room for more.
    let held = lab.world.a.shard.chunks_in_use() * 2048;
    assert!(held <= 2 * buffer + 4 * 2048, "{held}");
    // Everything that has left the client is with the server, or held.
    let left = lab.seen(client).to_send.len() + lab.far(|io, _| io.info(client)).unwrap().send_queue_bytes as usize;
    assert!(total - left <= unread + 2 * buffer as usize, "{} of {unread}", total - left);
    lab.far(|_, peers| peers.deaf = false);
    let server = lab.at(8001);
    lab.far(|io, peers| {
        let mut rest = vec![0; unread];
        assert_eq!(io.read(server, &mut rest), Ok(unread));
        peers.seen.get_mut(&server.to_bits()).unwrap().got = rest;
    });
    lab.end(client);
    lab.run(60_000);
    lab.end(server);
    assert!(lab.seen(server).got == stream(total));
    lab.assert_over();
    assert_eq!(lab.ends(), []);
}

#[test]
fn backends_take_turns() {
    let mut lab = Lab::new(&file("", "", &SERVING), &SERVING);
    for _ in 0..7 {
        lab.client(b"x");
        lab.run(5);
    }
    assert_eq!(SERVING.map(|port| lab.accepted(port)), [3, 2, 2]);
}

#[test]
fn one_that_refuses_is_passed_over_and_nothing_is_lost() {
    // Nobody listens on 8009.
    let mut lab = Lab::new(&file("", "", &[8009, 8002]), &SERVING);
    for n in 0..6 {
        let client = lab.client(format!("question {n}").as_bytes());
        lab.end(client);
        lab.run(20);
        let server = lab.world.b.app.at(8002)[n];
        assert_eq!(lab.seen(server).got, format!("question {n}").as_bytes());
        lab.end(server);
        lab.run(5);
    }
    lab.assert_over();
    assert_eq!(lab.ends(), []);
    // Each connection takes both turns.
    assert_eq!((lab.counter("connects_failed"), lab.counter("retries")), (6, 6));
}

#[test]
fn one_that_resets_before_it_was_told_anything_is_passed_over() {
    let mut lab = Lab::new(&file("", "", &[8001, 8002]), &SERVING);
    lab.far(|_, peers| peers.resets.push(8001));
    let client = lab.client(b"");
    lab.run(20);
    lab.send(client, b"late");
    lab.run(20);
    assert_eq!(lab.seen(lab.at(8002)).got, b"late");
    assert_eq!(lab.ends(), []);
}

/// One on its way out takes a connection and ends it before anybody has said a word.
#[test]
fn one_that_ends_before_it_was_asked_anything_is_passed_over() {
    let mut lab = Lab::new(&file("", "retries = 1\nconnect-timeout = \"700ms\"", &[8001, 8002]), &SERVING);
    let client = lab.client(b"");
    lab.run(10);
    let first = lab.at(8001);
    lab.end(first);
    lab.run(10);
    lab.send(client, b"late");
    lab.run(10);
    let second = lab.at(8002);
    assert_eq!((lab.seen(second).got.as_slice(), lab.seen(client).ended), (&b"late"[..], false));
    assert_eq!((lab.counter("retries"), lab.ends()), (1, vec![]));
    // Who does so again means it, and so does who has waited, or whose client has ended, too.
    for (retries, wait, client_ends) in [(0, 10, false), (9, 710, false), (9, 10, true)] {
        let pool = format!("replay = 1000\nretries = {retries}\nconnect-timeout = \"700ms\"");
        let mut lab = Lab::new(&file("", &pool, &[8001, 8002]), &SERVING);
        let client = lab.client(b"");
        if client_ends {
            lab.end(client);
        }
        lab.run(wait);
        let server = lab.at(8001);
        lab.end(server);
        lab.run(10);
        assert_eq!((lab.seen(client).ended, lab.accepted(8002)), (true, 0), "{retries} {wait} {client_ends}");
        // Then it is that backend's connection.
        if !client_ends {
            lab.send(client, b"late");
            lab.run(10);
            lab.far(|io, _| io.abort(server)).unwrap();
            lab.run(10);
            assert_eq!((lab.accepted(8002), lab.seen(client).closed), (0, Some(Some(Error::Reset))));
        }
    }
}

#[test]
fn one_that_is_silent_is_given_up_after_the_connect_timeout() {
    let silent = |_: usize, frame: &mut Vec<u8>| if is_syn_to(frame, 8001) { Fate::Drop } else { Fate::Pass };
    let text = file("", "connect-timeout = \"700ms\"", &SERVING[..2]);
    let mut lab = Lab::with_tamper(&text, &SERVING, silent);
    let client = lab.client(b"question");
    lab.run(690);
    assert_eq!(lab.accepted(8002), 0);
    lab.run(20);
    assert_eq!(lab.seen(lab.at(8002)).got, b"question");
    assert_eq!(lab.seen(client).closed, None);
    assert_eq!(lab.ends(), [("connects_timed_out".to_owned(), 1)]);
}

#[test]
fn when_there_is_no_backend_the_client_is_reset() {
    let mut lab = Lab::new(&file("", "retries = 3", &[8008, 8009]), &SERVING);
    let client = lab.client(b"question");
    lab.run(100);
    // Both were tried; there is a pause before they are tried again.
    assert_eq!((lab.counter("connects"), lab.seen(client).closed), (2, None));
    lab.run(1000);
    assert_eq!(lab.seen(client).closed, Some(Some(Error::Reset)));
    lab.assert_over();
    assert_eq!((lab.counter("connects"), lab.ends()), (4, vec![("no_backend".to_owned(), 1)]));
}

/// A backend that comes back within the pause is not missed.
#[test]
fn a_backend_that_is_restarted_meanwhile_is_found() {
    let mut lab = Lab::new(&file("", "", &[8009]), &SERVING);
    let client = lab.client(b"question");
    lab.run(100);
    lab.far(|io, _| io.listen("10.0.0.2:8009".parse().unwrap(), 16)).unwrap();
    lab.run(1000);
    assert_eq!(lab.seen(lab.at(8009)).got, b"question");
    assert_eq!((lab.seen(client).closed, lab.ends()), (None, vec![]));
}

#[test]
fn a_client_that_goes_before_its_backend_answers_ends_the_attempt() {
    let silent = |_: usize, frame: &mut Vec<u8>| if is_syn_to(frame, 8001) { Fate::Drop } else { Fate::Pass };
    let mut lab = Lab::with_tamper(&file("", "", &SERVING[..1]), &SERVING, silent);
    let client = lab.client(b"question");
    lab.run(10);
    lab.far(|io, _| io.abort(client)).unwrap();
    lab.assert_over();
    assert_eq!((lab.counter("connects"), lab.ends()), (1, vec![("client_resets".to_owned(), 1)]));
}

/// Two at the backend, two that wait, and the fifth is refused. Who waits comes in its turn.
#[test]
fn a_backends_limit_makes_a_queue() {
    let text = file("", "queue = 2", &SERVING[..1]).replace(":8001\"", ":8001\"\nmax-connections = 2");
    let mut lab = Lab::new(&text, &SERVING);
    let clients: Vec<_> = (0..5).map(|n| (lab.client(&[b'0' + n]), lab.run(5)).0).collect();
    assert_eq!(lab.accepted(8001), 2);
    assert_eq!(lab.seen(clients[4]).closed, Some(Some(Error::Reset)));
    assert_eq!(lab.control.status().pools[0].waiting, 2);
    let server = lab.world.b.app.at(8001)[0];
    lab.end(server);
    lab.end(clients[0]);
    lab.run(5);
    let third = lab.world.b.app.at(8001)[2];
    assert_eq!(lab.seen(third).got, b"2");
    // One that waits goes: the next is served in its stead.
    lab.far(|io, _| io.abort(clients[3])).unwrap();
    lab.run(5);
    assert_eq!(lab.control.status().pools[0].waiting, 0);
    for conn in [clients[1], clients[2], lab.world.b.app.at(8001)[1], third] {
        lab.end(conn);
    }
    lab.assert_over();
    assert_eq!(lab.ends(), [("client_resets".to_owned(), 1), ("queue_full".to_owned(), 1)]);
    assert_eq!(lab.counter("queued"), 2);
}

#[test]
fn a_listeners_limit_makes_a_queue_of_its_own() {
    let text = file("max-connections = 1\nqueue = 1\nqueue-timeout = \"2s\"", "", &SERVING[..1]);
    let mut lab = Lab::new(&text, &SERVING);
    let clients: Vec<_> = (0..3).map(|n| (lab.client(&[b'0' + n]), lab.run(5)).0).collect();
    assert_eq!((lab.accepted(8001), lab.seen(clients[2]).closed), (1, Some(Some(Error::Reset))));
    let status = &lab.control.status().listeners[0];
    assert_eq!((status.active, status.waiting), (1, 1));
    // The first ends just in time for the second.
    lab.run(1900);
    lab.far(|io, _| io.abort(clients[0])).unwrap();
    lab.run(5);
    assert_eq!(lab.seen(lab.world.b.app.at(8001)[1]).got, b"1");
    let fourth = lab.client(b"3");
    lab.run(2010);
    assert_eq!(lab.seen(fourth).closed, Some(Some(Error::Reset)));
    lab.far(|io, _| io.abort(clients[1])).unwrap();
    lab.assert_over();
    let ends = [("client_resets", 2), ("queue_full", 1), ("queue_timed_out", 1)];
    assert_eq!(lab.ends(), ends.map(|(name, n)| (name.to_owned(), n)));
}

#[test]
fn silence_is_ended_on_both_sides_and_a_byte_now_and_then_is_none() {
    let mut lab = Lab::new(&file("", "idle-timeout = \"10s\"", &SERVING[..1]), &SERVING);
    let client = lab.client(b"question");
    lab.run(10);
    let server = lab.at(8001);
    for n in 0..4 {
        lab.run(8000);
        lab.send(if n % 2 == 0 { server } else { client }, b"x");
    }
    lab.run(9990);
    assert_eq!([lab.seen(client).closed, lab.seen(server).closed], [None; 2]);
    lab.run(100);
    assert_eq!([lab.seen(client).closed, lab.seen(server).closed], [Some(Some(Error::Reset)); 2]);
    lab.assert_over();
    assert_eq!(lab.ends(), [("idle_timed_out".to_owned(), 1)]);
}

#[test]
fn half_of_a_connection_has_less_time() {
    let text = file("", "idle-timeout = \"1h\"\nhalf-closed-timeout = \"5s\"", &SERVING[..1]);
    let mut lab = Lab::new(&text, &SERVING);
    let client = lab.client(b"question");
    lab.run(60_000);
    lab.end(client);
    lab.run(4000);
    let server = lab.at(8001);
    lab.send(server, b"wait");
    lab.run(4900);
    assert_eq!((lab.seen(client).got.as_slice(), lab.seen(client).closed), (&b"wait"[..], None));
    lab.run(200);
    assert_eq!([lab.seen(client).closed, lab.seen(server).closed], [Some(Some(Error::Reset)); 2]);
    lab.assert_over();
    assert_eq!(lab.ends(), [("half_closed_timed_out".to_owned(), 1)]);
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x07\xc0\0\x02\x08\x12\x67\x01\xbb\x04\0\0";

/// In either version, in one piece or byte by byte, with what follows it or alone; and out again in the other.
#[test]
fn proxy_protocol_in_and_out() {
    for (header, sends, expected) in [(V1, "v2", [&V2[..15], b"\x0c", &V2[16..28]].concat()), (V2, "v1", V1.to_vec())] {
        for slow in [false, true] {
            let pool = format!("send-proxy = \"{sends}\"");
            let mut lab = Lab::new(&file("proxy-protocol = \"any\"", &pool, &SERVING[..1]), &SERVING);
            let sent = [header, b"question"].concat();
            let client = lab.client(if slow { b"" } else { &sent });
            for byte in sent.iter().filter(|_| slow) {
                lab.send(client, &[*byte]);
                lab.run(1);
            }
            lab.run(10);
            assert_eq!(lab.seen(lab.at(8001)).got, [&expected[..], b"question"].concat(), "{sends}, {slow}");
            assert_eq!(lab.ends(), []);
        }
    }
}

/// Without a header the addresses are those of the connection: the client's, and the one it has connected to.
#[test]
fn the_backend_is_told_the_clients_address() {
    let mut lab = Lab::new(&file("", "send-proxy = \"v1\"", &SERVING[..1]), &SERVING);
    let client = lab.client(b"question");
    lab.run(10);
    let port = lab.far(|io, _| io.addresses(client)).unwrap().0.port();
    let expected = format!("PROXY TCP4 10.0.0.2 10.0.0.1 {port} 80\r\nquestion");
    assert_eq!(lab.seen(lab.at(8001)).got, expected.as_bytes());
}

#[test]
fn what_is_no_header_is_reset_and_one_that_does_not_come_as_well() {
    let text = file("proxy-protocol = \"v2\"\nheader-timeout = \"1s\"", "", &SERVING[..1]);
    let mut lab = Lab::new(&text, &SERVING);
    let wrong = lab.client(V1);
    let ended = lab.client(&V2[..10]);
    lab.end(ended);
    lab.run(10);
    let slow = lab.client(&V2[..20]);
    let reset = Some(Some(Error::Reset));
    lab.run(900);
    assert_eq!([wrong, ended, slow].map(|c| lab.seen(c).closed), [reset, reset, None]);
    lab.run(200);
    assert_eq!(lab.seen(slow).closed, reset);
    lab.assert_over();
    assert_eq!(lab.accepted(8001), 0);
    assert_eq!(lab.ends(), [("header_malformed".to_owned(), 2), ("header_timed_out".to_owned(), 1)]);
}

fn up(lab: &Lab) -> Vec<bool> {
    lab.control.status().pools[0].backends.iter().map(|backend| backend.up).collect()
}

/// A backend is taken out by its first check or by three that fail in a row, and comes back by two that are good.
#[test]
fn health_checks_take_backends_out_and_in() {
    let health = "health = { check = \"connect\", interval = \"1s\", rise = 2, fall = 3 }";
    let mut lab = Lab::new(&file("", health, &[8001, 8009]), &SERVING);
    lab.run(100);
    assert_eq!(up(&lab), [true, false]);
    for _ in 0..4 {
        lab.client(b"x");
        lab.run(5);
    }
    // (Checks come to the server as well.)
    assert_eq!(lab.counter("connects_failed"), 0);
    lab.far(|io, _| io.listen("10.0.0.2:8009".parse().unwrap(), 16)).unwrap();
    lab.run(1000);
    assert_eq!(up(&lab), [true, false], "one good check of two");
    lab.run(1000);
    assert_eq!(up(&lab), [true, true]);
    let listener = lab.far(|io, _| io.listener_on("10.0.0.2:8001".parse().unwrap())).unwrap();
    lab.far(|io, _| io.close_listener(listener)).unwrap();
    lab.run(2000);
    assert_eq!(up(&lab), [true, true], "two checks of three");
    lab.run(1000);
    assert_eq!(up(&lab), [false, true]);
}

#[test]
fn a_check_asks_over_http_and_takes_the_statuses_expected() {
    let health = "send-proxy = \"v1\"\nhealth = { check = \"http\", path = \"/up\", host = \"h\", interval = \"1s\", \
                  timeout = \"500ms\" }";
    let mut lab = Lab::new(&file("", health, &SERVING), &SERVING);
    lab.far(|_, peers| {
        peers.answers.insert(8001, b"HTTP/1.0 200 OK\r\n\r\n");
        peers.answers.insert(8002, b"HTTP/1.0 503 Go Away\r\n\r\n");
    });
    lab.run(450);
    assert_eq!(up(&lab), [true, false, true], "8003 has time to answer");
    lab.run(100);
    assert_eq!(up(&lab), [true, false, false]);
    let asked =
        "PROXY UNKNOWN\r\nGET /up HTTP/1.0\r\nHost: h\r\nUser-Agent: fourwave-proxy\r\nConnection: close\r\n\r\n";
    assert_eq!(lab.seen(lab.at(8001)).got, asked.as_bytes());
    assert_eq!((lab.counter("checks"), lab.counter("checks_failed")), (3, 2));
}

fn reload(lab: &mut Lab, text: &str) {
    let mut told = Vec::new();
    let missed = lab
        .control
        .reload(
            Config::parse(text).unwrap(),
            |_, message| {
                told.push(message);
                true
            },
            1,
        )
        .unwrap();
    assert_eq!(missed, 0);
    tell(lab, told);
    lab.run(1);
}

fn tell(lab: &mut Lab, told: Vec<sim::stack::Message>) {
    let (now, near) = (lab.world.now(), &mut lab.world.a);
    for message in told {
        let app = &mut near.app;
        near.shard.call(now, |io| sim::stack::App::on_message(app, io, message));
    }
}

#[test]
fn a_reload_is_for_new_connections_and_drops_none() {
    let mut lab = Lab::new(&file("", "", &[8001]), &SERVING);
    let old = lab.client(b"one");
    lab.run(10);
    let second = "[[listener]]\nname = \"second\"\naddress = \"10.0.0.1:81\"\npool = \"web\"\n";
    reload(&mut lab, &format!("{second}{}", file("", "", &[8002])));
    let new = lab.client(b"two");
    let other = lab.client_of("10.0.0.1:81", b"three");
    lab.run(10);
    assert_eq!((lab.accepted(8001), lab.accepted(8002)), (1, 2));
    lab.send(old, b" and a half");
    lab.run(10);
    assert_eq!(lab.seen(lab.at(8001)).got, b"one and a half");
    // The first listener goes: nobody is let in there any more, who is in stays.
    reload(&mut lab, &file("", "", &[8003]).replace("10.0.0.1:80", "10.0.0.1:81"));
    let refused = lab.client(b"x");
    lab.send(old, b"!");
    lab.run(10);
    assert_eq!(lab.seen(refused).closed, Some(Some(Error::Refused)));
    assert_eq!(lab.seen(lab.at(8001)).got, b"one and a half!");
    lab.client_of("10.0.0.1:81", b"four");
    lab.run(10);
    assert_eq!(lab.seen(lab.at(8003)).got, b"four");
    assert_eq!([old, new, other].map(|conn: ConnId| lab.seen(conn).closed), [None; 3]);
    assert_eq!(lab.ends(), []);
}

/// Of a shard that could not be told it is not said that all goes on as before: the new configuration is in place.
#[test]
fn a_reload_that_not_all_shards_heard_of_is_in_place() {
    let lab = Lab::new(&file("", "", &[8001]), &SERVING);
    let second = Config::parse(&file("", "", &[8002])).unwrap();
    assert_eq!(lab.control.reload(second.clone(), |shard, _| shard == 1, 3).unwrap(), 2);
    assert_eq!(lab.control.config(), second);
    assert_eq!((lab.counter("reloads"), lab.counter("reloads_refused")), (1, 0));
}

/// A limit that a reload raises lets those in that wait.
#[test]
fn a_reload_serves_who_waits() {
    let limited = |n: u32| file(&format!("max-connections = {n}"), "", &[8001]);
    let mut lab = Lab::new(&limited(1), &SERVING);
    lab.client(b"one");
    lab.run(5);
    lab.client(b"two");
    lab.run(5);
    assert_eq!(lab.accepted(8001), 1);
    reload(&mut lab, &limited(2));
    lab.run(10);
    assert_eq!(lab.accepted(8001), 2);
}

#[test]
fn what_takes_a_restart_is_refused_by_name() {
    let lab = Lab::new(&file("", "", &[8001]), &SERVING);
    for (line, field) in
        [("buffer = 8192", "`buffer`"), ("drain-time = 1", "`drain-time`"), ("[stack]\nidle = \"busy\"", "`[stack]`")]
    {
        let text = format!("{line}\n{}", file("", "", &[8001]));
        let error = lab.control.reload(Config::parse(&text).unwrap(), |_, _| true, 1).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("restart"), "{error}");
    }
    assert_eq!(lab.ends(), [("reloads_refused".to_owned(), 3)]);
}

/// A backend that takes a question and resets, or ends, without a word: another one is asked, if that is allowed.
#[test]
fn a_question_is_asked_again_where_that_is_allowed() {
    for (replay, ends, asked_again) in [(0, false, false), (8, false, true), (8, true, true), (7, false, false)] {
        let pool = format!("replay = {replay}\nsend-proxy = \"v1\"");
        let mut lab = Lab::new(&file("", &pool, &[8001, 8002]), &SERVING);
        let client = lab.client(b"ques");
        lab.run(10);
        lab.send(client, b"tion");
        lab.end(client);
        lab.run(10);
        let first = lab.at(8001);
        if ends {
            lab.end(first);
        } else {
            lab.far(|io, _| io.abort(first)).unwrap();
        }
        lab.run(10);
        if !asked_again {
            assert_eq!((lab.accepted(8002), lab.seen(client).closed), (0, Some(Some(Error::Reset))));
            continue;
        }
        let second = lab.at(8002);
        let text = String::from_utf8(lab.seen(second).got.clone()).unwrap();
        assert!(text.starts_with("PROXY TCP4 ") && text.ends_with(" 80\r\nquestion"), "{text}");
        assert!(lab.seen(second).ended);
        lab.send(second, b"answer");
        lab.end(second);
        lab.assert_over();
        assert_eq!((lab.seen(client).got.as_slice(), lab.seen(client).closed), (&b"answer"[..], Some(None)));
        assert_eq!((lab.counter("bytes_to_backends"), lab.ends()), (8, vec![]));
    }
}

/// One word, and it is that backend's connection.
#[test]
fn a_question_that_is_being_answered_is_not_asked_again() {
    let mut lab = Lab::new(&file("", "replay = 1000", &[8001, 8002]), &SERVING);
    let client = lab.client(b"question");
    lab.run(10);
    let server = lab.at(8001);
    lab.send(server, b"a");
    lab.run(10);
    lab.far(|io, _| io.abort(server)).unwrap();
    lab.run(10);
    assert_eq!((lab.accepted(8002), lab.seen(client).closed), (0, Some(Some(Error::Reset))));
    assert_eq!(lab.ends(), [("backend_resets".to_owned(), 1)]);
}

/// Everything has come from the backend, and nothing more goes from one side to the other: but the client takes what is in the
/// proxy's send buffer, slowly, and that is no silence.
#[test]
fn a_slow_reader_is_not_silent() {
    let mut lab = Lab::new(&file("", "half-closed-timeout = \"5s\"", &SERVING[..1]), &SERVING);
    lab.far(|_, peers| peers.deaf = true);
    let client = lab.client(b"question");
    lab.run(10);
    let server = lab.at(8001);
    let answer = stream(600_000);
    lab.send(server, &answer);
    lab.end(server);
    lab.run(1000);
    let (mut got, mut rounds) = (Vec::new(), 0);
    while lab.world.a.shard.chunks_in_use() > 0 {
        lab.run(4000);
        lab.far(|io, _| {
            let mut piece = vec![0; 40_000];
            let n = io.read(client, &mut piece).unwrap();
            got.extend_from_slice(&piece[..n]);
        });
        rounds += 1;
    }
    assert!(rounds > 4 && answer.starts_with(&got), "{rounds} rounds");
    assert_eq!((lab.seen(client).ended, lab.seen(client).closed), (true, None));
    // Now it is.
    lab.run(11_000);
    assert_eq!(lab.seen(client).closed, Some(Some(Error::Reset)));
    assert_eq!(lab.ends(), [("half_closed_timed_out".to_owned(), 1)]);
}

/// One frame in twenty is lost, on either side: what comes out of order goes through the receive buffers.
#[test]
fn bytes_come_through_a_network_that_loses() {
    let mut n = 0u32;
    let lossy = move |_: usize, frame: &mut Vec<u8>| {
        n += u32::from(frame.len() > 500);
        if frame.len() > 500 && n % 20 == 7 { Fate::Drop } else { Fate::Pass }
    };
    let mut lab = Lab::with_tamper(&file("", "", &SERVING[..1]), &SERVING, lossy);
    let (question, answer) = (stream(400_000), stream(500_000));
    let client = lab.client(&question);
    lab.end(client);
    lab.run(30_000);
    let server = lab.at(8001);
    lab.send(server, &answer);
    lab.end(server);
    lab.run(30_000);
    assert!(lab.seen(server).got == question && lab.seen(client).got == answer);
    lab.assert_over();
    assert_eq!(([lab.seen(client).closed, lab.seen(server).closed], lab.ends()), ([Some(None); 2], vec![]));
}

/// Two ports, four clients: that we have no port says nothing of the backend, and who has none waits, with the others in the
/// pool's queue and not longer than they.
#[test]
fn who_has_no_port_waits_for_one() {
    let text = format!("source-ports = \"61000-61001\"\n{}", file("", "queue-timeout = \"3s\"\nretries = 0", &[8001]));
    let mut lab = Lab::new(&text, &SERVING);
    let clients: Vec<_> = (0..4).map(|n| (lab.client(&[b'0' + n]), lab.run(5)).0).collect();
    lab.run(1000);
    assert_eq!((lab.accepted(8001), lab.control.status().pools[0].waiting), (2, 2));
    // The server ends first: its side keeps the flow in TIME-WAIT, and the port is free.
    let first = lab.world.b.app.at(8001)[0];
    lab.end(first);
    lab.run(5);
    lab.end(clients[0]);
    lab.run(1000);
    assert_eq!((lab.accepted(8001), lab.control.status().pools[0].waiting), (3, 1));
    lab.run(1500);
    assert_eq!((lab.counter("connects"), lab.counter("connects_failed"), lab.counter("queued")), (3, 0, 2));
    assert_eq!(lab.control.status().pools[0].backends[0].failed, 0);
    assert_eq!(lab.ends(), [("queue_timed_out".to_owned(), 1)]);
    let served = lab.world.b.app.at(8001)[2];
    for conn in [clients[1], clients[2], clients[3], lab.world.b.app.at(8001)[1], served] {
        lab.end(conn);
    }
    lab.assert_over();
}

/// All ports to a backend are its connections'. A check that can't be begun finds out nothing.
#[test]
fn a_check_without_a_port_says_nothing_of_the_backend() {
    let health = "health = { check = \"connect\", interval = \"1s\", timeout = \"500ms\" }";
    let text = format!("source-ports = \"61000-61001\"\n{}", file("", health, &[8001]));
    let mut lab = Lab::new(&text, &SERVING);
    lab.run(500);
    let clients: Vec<_> = (0..2).map(|_| lab.client(b"hello")).collect();
    lab.run(100);
    let checks = lab.counter("checks");
    lab.run(5000);
    assert!(clients.iter().all(|client| lab.seen(*client).closed.is_none()));
    assert_eq!((up(&lab), lab.counter("checks"), lab.counter("checks_failed")), (vec![true], checks, 0));
}

/// A reload takes the checks out, while one is under way that fails before the shard has heard of it.
#[test]
fn who_is_not_checked_any_more_is_up() {
    let health = "health = { check = \"connect\", interval = \"1s\", timeout = \"500ms\", fall = 1 }";
    let mut lab = Lab::new(&file("", health, &[8001, 8009]), &SERVING);
    lab.world.run(sim::stack::Duration::from_micros(20));
    let mut told = Vec::new();
    let without = Config::parse(&file("", "", &[8001, 8009])).unwrap();
    let mut tells = |_, message| {
        told.push(message);
        true
    };
    lab.control.reload(without, &mut tells, 1).unwrap();
    lab.run(50);
    assert_eq!(up(&lab), [true, false]);
    tell(&mut lab, told);
    lab.run(5000);
    assert_eq!(up(&lab), [true, true]);
}
