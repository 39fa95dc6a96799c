//! `fourwave load http` against servers people have, and against some nobody should.

use std::process::Command;

use serde_json::Value;

use crate::common::{Background, stderr};
use crate::support::{Server, fourwave, good, lab, need, refused, text, within};

/// Loads the server in fw-a; the report.
fn load(flags: &str) -> Value {
    let output = command(flags).output().unwrap();
    assert!(output.status.success(), "{flags}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// As [`load`], of which nothing comes; and what it says of that.
fn load_in_vain(flags: &str) -> (Value, String) {
    let output = command(flags).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{flags}: {}", stderr(&output));
    (serde_json::from_slice(&output.stdout).unwrap(), stderr(&output))
}

fn command(flags: &str) -> Command {
    let args: Vec<_> = flags.split(' ').collect();
    let args =
        [&["load", "http", "http://10.77.0.1/", "--interface", "fw-b0", "--json", "--warmup", "0"], &args[..]].concat();
    fourwave("fw-b", &args)
}

/// So many of each.
pub(crate) fn assert_counts(report: &Value, counts: &[(&str, u64)]) {
    for (key, count) in counts {
        assert_eq!(report[key], *count, "{key} of {report:#}");
    }
}

pub(crate) const NO_ERRORS: [(&str, u64); 6] =
    [("connect_errors", 0), ("timeouts", 0), ("resets", 0), ("cut_off", 0), ("malformed", 0), ("unexpected", 0)];

/// Both stacks on both sides: as many responses as were asked for, over as many connections, and as many bytes.
#[test]
fn what_is_asked_for_is_answered() {
    let _lab = lab();
    for server in ["", " --stack kernel"] {
        let server = Server::start(&format!("http --listen 10.77.0.1:80 --body-bytes 100{server}"));
        for stack in ["fourwave", "kernel"] {
            let report = load(&format!("--stack {stack} --connections 8 --requests 1000 --expect-bytes 100"));
            assert_counts(&report, &NO_ERRORS);
            assert_counts(&report, &[("responses", 1000), ("connects", 8), ("connections", 8)]);
            assert_eq!(report["stack"], stack);
            assert!(
                report["requests"].as_u64() >= Some(1000) && report["latency_ns"]["p50"].as_u64() > Some(0),
                "{report:#}"
            );
            assert!(report["bytes_received"].as_u64() > Some(100_000), "{report:#}");
            let report = load(&format!(
                "--stack {stack} --connections 4 --pipeline 16 --requests 1000 --method HEAD --expect-bytes 0"
            ));
            assert_counts(&report, &NO_ERRORS);
            assert_counts(&report, &[("responses", 1000), ("connects", 4), ("pipeline", 16)]);
        }
        server.stop();
    }
}

/// Who closes first has the TIME-WAIT records (RFC 9293 section 3.6); after a reset nobody has.
#[test]
fn a_connection_for_each_request_is_closed_by_who_is_to() {
    let _lab = lab();
    for (close, waiting) in [("server", 200), ("client", 0), ("reset", 0)] {
        let server = Server::start("http --listen 10.77.0.1:80");
        let report = load(&format!("--close {close} --connections 4 --requests 200"));
        assert_counts(&report, &NO_ERRORS);
        assert_counts(&report, &[("responses", 200)]);
        let connects = report["connects"].as_u64().unwrap();
        assert!((200..=204).contains(&connects), "{connects}");
        server.assert_empty();
        let states: Vec<_> = server.connections().iter().map(|one| one["state"].clone()).collect();
        // Those under way at the end are closed by the client.
        let here = states.iter().filter(|state| *state == "TIME-WAIT").count();
        assert!((waiting..=waiting + 4).contains(&here), "{close}: {here}");
        server.stop();
    }
}

/// nginx ends a connection behind so many requests, and says so: no request is lost by that.
#[test]
fn nginx_closes_when_it_likes() {
    need("nginx", "nginx-light");
    let _lab = lab();
    let directory = std::env::temp_dir().join(format!("fw-load-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 1; pid {0}/pid; error_log /dev/null;\nevents {{ }}\nhttp {{ access_log off; \
         client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
         server {{ listen 10.77.0.1:80; keepalive_requests 10; location / {{ return 200 \"hello\\n\"; }} }} }}\n",
        directory.display()
    );
    std::fs::write(&file, text).unwrap();
    let _nginx = Background::start(within("fw-a", 60, &["nginx", "-c", file.to_str().unwrap()]));
    crate::support::eventually("nginx listens", || {
        good(within("fw-a", 5, &["ss", "-Hltn", "sport = :80"])).contains("10.77.0.1:80")
    });
    let report = load("--connections 4 --requests 400 --expect-status 200 --expect-bytes 6");
    assert_counts(&report, &NO_ERRORS);
    assert_counts(&report, &[("responses", 400)]);
    // Ten each; those that are opened at the end may not come to be.
    assert!((40..=44).contains(&report["connects"].as_u64().unwrap()), "{report:#}");
    // By a schedule no arrival is lost by it either.
    let report = load("--rate 400 --seconds 1 --connections 64 --expect-status 200 --expect-bytes 6");
    assert_counts(&report, &NO_ERRORS);
    assert_counts(&report, &[("responses", 400), ("requests", 400)]);
    std::fs::remove_dir_all(directory).unwrap();
}

/// A client that is started anew finds its ports in TIME-WAIT at the server, all of them; its SYNs are later than what was
/// there before, by sequence number and timestamp, and open the connections anew at once (RFC 9293 section 3.6.1, RFC 6191).
/// One that is not would be heard with its SYN's retransmission, behind a second at the earliest (RFC 6298 section 2.1).
#[test]
fn a_client_that_is_started_anew_is_not_kept_out_by_time_wait() {
    let _lab = lab();
    for stack in ["", " --stack kernel"] {
        let server = Server::start(&format!("http --listen 10.77.0.1:80{stack}"));
        // Ports 61000 to 65535.
        for requests in [4600, 600] {
            let report = load(&format!("--close server --connections 16 --timeout-s 0.95 --requests {requests}"));
            let others: Vec<_> = NO_ERRORS.into_iter().filter(|(key, _)| *key != "timeouts").collect();
            assert_counts(&report, &others);
            let [responses, timeouts] = ["responses", "timeouts"].map(|key| report[key].as_u64().unwrap());
            // Of a machine that stands still for so long those that are under way time out; of SYNs that are not heard all do.
            assert!(timeouts <= 2 * 16 && responses + timeouts >= requests, "{report:#}");
        }
        server.stop();
    }
}

/// More requests than a shared address has ports, each with a connection that the client closes: none waits for one to leave
/// TIME-WAIT.
#[test]
fn an_address_of_its_own_has_all_ports() {
    let _lab = lab();
    let server = Server::start("http --listen 10.77.0.1:80");
    let report = load("--address 10.77.0.8/24 --close client --connections 16 --requests 6000");
    assert_counts(&report, &NO_ERRORS);
    assert_counts(&report, &[("responses", 6000), ("no_port", 0)]);
    server.stop();
}

/// Each is asked for in turn, by its method; whose body has another sum than it was to have is counted.
#[test]
fn a_list_of_urls_is_taken_in_turn() {
    let _lab = lab();
    let directory = std::env::temp_dir().join(format!("fw-urls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (name, text) in [("a", "abc"), ("b", "longer than abc"), ("c", "")] {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let root = directory.to_str().unwrap();
    let handler = "import http.server, sys\n\
        class H(http.server.SimpleHTTPRequestHandler):\n    protocol_version = 'HTTP/1.1'\n\
        h = http.server.ThreadingHTTPServer(('10.77.0.1', 80), H)\n\
        print('listening on port 80', file=sys.stderr, flush=True)\nh.serve_forever()";
    let mut server = within("fw-a", 60, &["python3", "-c", handler]);
    server.current_dir(root);
    let _server = Background::server(server);
    // FIPS 180-2, appendix B.1: of "abc"; and of nothing.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let list = directory.join("list");
    let file = |text: &str| std::fs::write(&list, text.replace("/X", "http://10.77.0.1/")).unwrap();
    let load = |flags: &str| {
        let args = format!("load http --interface fw-b0 --json --warmup 0 --connections 1 {flags}");
        serde_json::from_str::<Value>(&good(fourwave("fw-b", &args.split(' ').collect::<Vec<_>>()))).unwrap()
    };
    let urls = format!("--urls {}", list.display());
    file(&format!("# the list\n/Xa {abc}\nHEAD /Xb\n\n/Xc {nothing} # empty\n/Xb\n"));
    for stack in ["fourwave", "kernel"] {
        let report = load(&format!("{urls} --requests 40 --expect-status 200 --stack {stack}"));
        assert_counts(&report, &NO_ERRORS);
        assert_counts(&report, &[("responses", 40)]);
    }
    let report = load(&format!("http://10.77.0.1/a http://10.77.0.1/b {urls} --requests 60"));
    assert_counts(&report, &[("responses", 60), ("unexpected", 0)]);
    // Three of four have another sum.
    file("/Xa\n/Xb\n/Xc\nHEAD /Xa\n");
    let report = load(&format!("{urls} --requests 40 --expect-sha256 {abc}"));
    assert_counts(&report, &[("responses", 40), ("unexpected", 30)]);
    std::fs::remove_dir_all(directory).unwrap();
}

/// Each of them does one thing to every connection, and only that is counted.
#[test]
fn what_goes_wrong_is_counted_by_its_name() {
    let _lab = lab();
    let server = |does: &str| {
        let script = format!(
            "import socket, struct, sys, time\n\
             l = socket.create_server(('10.77.0.1', 80), backlog=1000)\n\
             print('listening on port 80', file=sys.stderr, flush=True)\n\
             kept = []\n\
             while True:\n    c = l.accept()[0]\n    c.recv(4096)\n    {does}\n"
        );
        Background::server(within("fw-a", 30, &["python3", "-c", &script]))
    };
    let reset = "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()";
    for (does, counted) in [
        ("c.close()", "cut_off"),
        (reset, "resets"),
        ("c.sendall(b'SSH-2.0-nobody\\r\\n\\r\\n'); c.close()", "malformed"),
        ("c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\nx'); c.close()", "cut_off"),
        ("kept.append(c)", "timeouts"),
    ] {
        let _server = server(does);
        // Soon only where it is waited for: any other answer may take as long as the machine stands still.
        let timeout = if counted == "timeouts" { "0.2" } else { "20" };
        let (report, said) = load_in_vain(&format!("--connections 2 --seconds 1 --timeout-s {timeout}"));
        assert!(said.contains("10.77.0.1:80 has answered nothing that could be read"), "{said}");
        let others: Vec<_> = NO_ERRORS.into_iter().filter(|(key, _)| *key != counted).collect();
        assert_counts(&report, &others);
        assert_counts(&report, &[("responses", 0)]);
        assert!(report[counted].as_u64() > Some(0), "{does}: {report:#}");
    }
    let _server = server("c.sendall(b'HTTP/1.0 503 Busy\\r\\n\\r\\nlater'); c.close()");
    let (report, said) = load_in_vain("--connections 1 --requests 20");
    assert!(said.contains("none of the 20 responses"), "{said}");
    assert_counts(&report, &[("unexpected", 20), ("responses", 20), ("cut_off", 0)]);
    let report = load("--connections 1 --requests 20 --expect-status 503 --expect-bytes 5");
    assert_counts(&report, &[("unexpected", 0), ("responses", 20)]);
}

#[test]
fn what_cannot_be_loaded_is_said_in_one_sentence() {
    let _lab = lab();
    let load = |flags: &[&str]| fourwave("fw-b", &[&["load", "http"], flags].concat());
    let said = refused(load(&["http://10.77.0.1:81/", "--interface", "fw-b0"]));
    assert!(said.contains("10.77.0.1:81 refused the connection: start a server there"), "{said}");
    let said = refused(load(&["http://10.77.0.1:81/", "--stack", "kernel"]));
    assert!(said.contains("10.77.0.1:81 refused the connection: start a server there"), "{said}");
    for (flags, words) in [
        (&["https://10.77.0.1/"][..], "no TLS"),
        (&["10.77.0.1:80"], "a URL of HTTP is needed"),
        (&["http://10.77.0.1/", "http://10.77.0.2/"], "10.77.0.2 is another host than 10.77.0.1"),
        (&[], "<URL>"),
        (&["http://10.77.0.1/", "--close", "client", "--pipeline", "2"], "--pipeline is for connections that are kept"),
        (&["http://10.77.0.1/", "--stack", "raw"], "--stack raw has no connections"),
        (&["http://10.77.0.1/", "--method", "G T"], "--method"),
        (&["http://10.77.0.1/", "--header", "nonsense"], "--header"),
        (&["http://10.77.0.1/", "--connections", "0"], "1..=10000000"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_fourwave")).args(["load", "http"]).args(flags).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(words), "{flags:?}: {said}");
    }
}
