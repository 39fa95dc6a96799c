//! `fourwave serve http`, and the clients people have: curl, wrk, and sockets that say what no client would.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::common::Background;
use crate::support::{SOON, Server, eventually, good, lab, need, text, within};

/// Both stacks, each as a server's flags and how its address is reached.
const STACKS: [&str; 2] = ["", " --stack kernel"];

fn curl(args: &[&str]) -> String {
    need("curl", "curl");
    good(within("fw-b", 20, &[&["curl", "-sS"], args].concat()))
}

/// Sends bytes, in pieces if there are several, and reads to the end: what a client without a mind of its own hears.
fn says(pieces: &[&str]) -> String {
    let script = "import socket, sys, time\n\
        s = socket.create_connection(('10.77.0.1', 80), 10)\n\
        for piece in sys.argv[1:]:\n    s.sendall(piece.encode()); time.sleep(0.05)\n\
        b = b''\n\
        while True:\n    d = s.recv(65536)\n    if not d: break\n    b += d\n\
        sys.stdout.write(b.decode())\n";
    good(within("fw-b", 20, &[&["python3", "-c", script], pieces].concat()))
}

/// RFC 9112 section 9.3: a client's requests go over one connection, unless one of the two doesn't want that; of HTTP/1.0 only
/// when both do.
#[test]
fn curl_keeps_its_connection_as_long_as_both_want() {
    let _lab = lab();
    for stack in STACKS {
        let server = Server::start(&format!("http --listen 10.77.0.1:80 --body-bytes 1000{stack}"));
        let connects = |args: &[&str]| {
            let urls = ["http://10.77.0.1/a", "-o", "/dev/null", "http://10.77.0.1/b", "-o", "/dev/null"];
            let format = ["-w", "%{http_code} %{size_download} %{num_connects}\n"];
            curl(&[&format[..], args, &urls].concat())
        };
        assert_eq!(connects(&[]), "200 1000 1\n200 1000 0\n", "{stack}");
        assert_eq!(connects(&["-H", "Connection: close"]), "200 1000 1\n200 1000 1\n", "{stack}");
        assert_eq!(connects(&["-0"]), "200 1000 1\n200 1000 1\n", "{stack}");
        assert_eq!(connects(&["-0", "-H", "Connection: keep-alive"]), "200 1000 1\n200 1000 0\n", "{stack}");
        assert_eq!(connects(&["-I"]), "200 0 1\n200 0 0\n", "HEAD{stack}");
        // Curl waits for `100 Continue` before a mebibyte, or sends chunks.
        for coding in ["Expect: 100-continue", "Transfer-Encoding: chunked"] {
            let upload = ["--data-binary", "@-", "-H", coding, "-w", "%{http_code} %{size_upload} %{time_total}"];
            let script = format!(
                "head -c 1048576 /dev/zero | curl -sS -o /dev/null {} http://10.77.0.1/",
                upload.map(|arg| format!("'{arg}'")).join(" ")
            );
            let said = good(within("fw-b", 20, &["sh", "-c", &script]));
            assert!(said.starts_with("200 "), "{coding}{stack}: {said}");
        }
        server.stop();
    }
}

/// Who closes first is in TIME-WAIT, RFC 9293 section 3.6: with `--close` that is the server.
#[test]
fn a_server_that_closes_is_the_one_in_time_wait() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80 --close");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code} %header{connection}", "http://10.77.0.1/"]), "200 close");
    // The client's FIN may be on its way while curl has ended.
    eventually("it is in TIME-WAIT", || {
        let rows = server.connections();
        rows.len() == 1 && rows[0]["state"] == "TIME-WAIT"
    });
    server.stop();
}

/// Answers come in the order of the requests, however those are cut, and the last one whole: what comes behind it is not
/// answered with a reset that would destroy it (RFC 9112 section 9.6).
#[test]
fn pipelined_requests_are_answered_in_order_and_the_last_word_arrives() {
    let _lab = lab();
    for stack in STACKS {
        let server = Server::start(&format!("http --listen 10.77.0.1:80 --body-bytes 3{stack}"));
        let kept = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let last = "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let said = says(&[&kept.repeat(50), "GE", "T / HTTP/1.1\r\nHo", "st: a\r\n\r", "\n", last, kept, kept]);
        assert_eq!((said.matches("200 OK").count(), said.matches("\r\n\r\n012").count()), (52, 51), "{stack}");
        assert!(said.ends_with("Connection: close\r\n\r\n"), "{said}");
        let said = says(&[kept, "nonsense\r\n\r\n", "and", "more", "of", "it"]);
        assert!(said.contains("200 OK") && said.contains("400 Bad Request") && said.ends_with("HTTP/1.1\n"), "{said}");
        let flood = "x".repeat(100_000);
        assert!(says(&["GET / HTTP/1.1\r\nX: ", &flood]).starts_with("HTTP/1.1 431 "), "{stack}");
        server.stop();
    }
}

/// Of a body larger than every buffer, for one who reads slowly, in order.
#[test]
fn a_large_body_arrives_whole() {
    let _lab = lab();
    for stack in STACKS {
        let server = Server::start(&format!("http --listen 10.77.0.1:80 --body-bytes 30000000{stack}"));
        let script = "curl -sS --limit-rate 30M http://10.77.0.1/ | sha256sum";
        let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-";
        let expected = good(within("fw-b", 20, &["sh", "-c", &format!("yes {line} | head -c 30000000 | sha256sum")]));
        assert_eq!(good(within("fw-b", 20, &["sh", "-c", script])), expected, "{stack}");
        server.stop();
    }
}

/// Seven seconds for one answer: longer than the idle time and than a server lingers behind its last word.
#[test]
fn who_reads_slowly_is_not_cut_off() {
    let _lab = lab();
    for stack in STACKS {
        let server =
            Server::start(&format!("http --listen 10.77.0.1:80 --body-bytes 1400000 --close --idle-time 4{stack}"));
        let said = curl(&["--limit-rate", "200k", "-o", "/dev/null", "-w", "%{size_download}", "http://10.77.0.1/"]);
        assert_eq!(said, "1400000", "{stack}");
        server.stop();
    }
}

/// wrk counts what is no answer, and what fails.
#[test]
fn wrk_has_no_complaint() {
    need("wrk", "wrk");
    let _lab = lab();
    for stack in STACKS {
        let server = Server::start(&format!("http --listen 10.77.0.1:80{stack}"));
        let said = good(within("fw-b", 20, &["wrk", "-t1", "-c32", "-d2", "http://10.77.0.1/"]));
        assert!(said.contains("requests in") && !said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        server.stop();
    }
}

/// SIGTERM with a drain time: who is between two requests is closed at once, and the server ends before the time is over.
#[test]
fn a_drain_closes_who_has_nothing_under_way() {
    let _lab = lab();
    for stack in STACKS {
        let mut server = Server::start(&format!("http --listen 10.77.0.1:80 --drain-time 60{stack}"));
        let script = "import socket, sys\n\
            s = socket.create_connection(('10.77.0.1', 80), 10)\n\
            s.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'); s.recv(4096)\n\
            print('kept', file=sys.stderr, flush=True)\n\
            sys.exit(len(s.recv(1)))\n";
        let mut command = within("fw-b", 40, &["python3", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "kept\n");
        server.signal(Signal::TERM);
        let (code, _, why) = Background::of(child).end(SOON);
        assert_eq!(code, Some(0), "{why}");
        assert_eq!(server.end().0, Some(0));
    }
}

/// Nothing comes for the idle time: closed in order.
#[test]
fn an_idle_connection_is_closed() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80 --idle-time 0.2");
    assert_eq!(says(&["GET / HT"]), "");
    assert!(says(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n"]).starts_with("HTTP/1.1 200 OK"));
    server.assert_empty();
    server.stop();
}

#[test]
fn flags_of_http_are_refused_elsewhere() {
    for (flags, words) in [
        (&["echo", "--listen", "127.0.0.1:7777", "--close"][..], "--close is for `serve http`"),
        (&["echo", "--listen", "127.0.0.1:7777", "--body-bytes", "1"], "--body-bytes is for `serve http`"),
        (&["http", "--listen", "127.0.0.1:7777", "--body-bytes", "2000000000"], "1073741824"),
        (&["http", "--listen", "127.0.0.1:7777", "--stack", "raw"], "serve echo"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_fourwave")).arg("serve").args(flags).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{said}");
    }
}
