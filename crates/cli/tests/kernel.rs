//! Servers and ping over the kernel's sockets, in the lab and on loopback. The lab needs root.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use common::{Background, LabTurn, SOON, in_namespace, json, ok, stderr};
use rustix::process::Signal;
use serde_json::Value;

const PING_KEYS: [&str; 9] =
    ["stack", "mode", "connections", "message_bytes", "count", "errors", "duration_s", "latency_ns", "rate_per_s"];
const LATENCY_KEYS: [&str; 8] = ["min", "p50", "p90", "p99", "p999", "p9999", "max", "mean"];

fn fourwave(args: &[&str]) -> Command {
    let mut command = Command::new(common::FOURWAVE);
    command.args(args);
    command
}

/// On a port of loopback that was free.
fn server(service: &str, wait: &str) -> (Background, SocketAddr) {
    let args = ["serve", service, "--stack", "kernel", "--kernel-wait", wait, "--listen", "127.0.0.1:0"];
    let (server, place) = Background::listening(fourwave(&args));
    (server, place.split(' ').next().unwrap().parse().unwrap())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn ping_in_the_lab_has_its_keys() {
    let _turn = LabTurn::take();
    ok(&["lab", "up"]);
    for (port, wait) in [("7001", "epoll"), ("7002", "spin")] {
        let address = format!("10.77.0.1:{port}");
        let serve = ["serve", "echo", "--stack", "kernel", "--kernel-wait", wait, "--listen", &address];
        let _server = Background::server(in_namespace("fw-a", &serve));
        let ping = ["ping", &address, "--stack", "kernel", "--kernel-wait", wait, "--count", "500", "--json"];
        let output = in_namespace("fw-b", &ping).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let report = json(&String::from_utf8(output.stdout).unwrap());
        for key in PING_KEYS {
            assert!(report.get(key).is_some(), "{key} in {report}");
        }
        for key in LATENCY_KEYS {
            assert!(report["latency_ns"][key].as_f64().unwrap() > 0.0, "{key} in {report}");
        }
        assert_eq!((&report["stack"], &report["mode"]), (&"kernel".into(), &"closed".into()));
        assert_eq!((report["count"].as_u64(), report["errors"].as_u64()), (Some(500), Some(0)));
    }
}

#[test]
fn bench_of_the_kernel_has_its_keys() {
    let _turn = LabTurn::take();
    let points = "kernel_epoll,kernel_spin";
    let report = json(&ok(&[
        "bench",
        "--only",
        "rtt",
        "--points",
        points,
        "--rounds",
        "2",
        "--seconds",
        "1",
        "--pause-s",
        "0",
        "--json",
    ]));
    assert_eq!(report["rounds"], 2);
    assert!(report["machine"].is_object());
    for point in points.split(',') {
        for key in ["p50_ns", "p99_ns", "p999_ns"] {
            assert!(report["rtt"][point][key].as_u64().unwrap() > 0, "{point} {key}");
        }
    }
    common::lab_not_up(); // it was not there before
}

/// An echo server in this process, for one connection: its address, and where it tells of each message.
fn counting_echo() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (echoed, messages) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, mut buffer) = (listener.accept().unwrap().0, [0; 1024]);
        while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..bytes]).is_err() || echoed.send(()).is_err() {
                break;
            }
        }
    });
    (address, messages)
}

#[test]
fn ctrl_c_of_ping_prints_the_report() {
    let (address, echoed) = counting_echo();
    let target = address.to_string();
    let args =
        ["ping", &target, "--stack", "kernel", "--seconds", "600", "--interval-ms", "5", "--warmup", "0", "--json"];
    let mut ping = Background::start(fourwave(&args));
    for _ in 0..10 {
        echoed.recv_timeout(SOON).expect("ten messages, one after another");
    }
    ping.signal(Signal::INT);
    let (code, stdout, said) = ping.end(SOON);
    assert_eq!(code, Some(0), "{said}");
    assert!(json(&stdout)["count"].as_u64().unwrap() > 3, "{stdout}");
}

#[test]
fn many_connections_and_large_messages() {
    for wait in ["epoll", "spin"] {
        let (_server, address) = server("echo", wait);
        let target = address.to_string();
        let args = [
            "ping",
            &target,
            "--stack",
            "kernel",
            "--kernel-wait",
            wait,
            "--connections",
            "20",
            "--bytes",
            "300000",
            "--count",
            "100",
            "--warmup",
            "0",
            "--json",
        ];
        let report = json(&ok(&args));
        assert_eq!((report["count"].as_u64(), report["errors"].as_u64()), (Some(100), Some(0)), "{report}");
    }
}

#[test]
fn a_server_that_goes_away_is_an_error_with_a_report() {
    let (mut server, address) = server("echo", "epoll");
    let target = address.to_string();
    let mut ping = Background::start(fourwave(&["ping", &target, "--stack", "kernel", "--warmup", "0", "--json"]));
    // Its end of the connection in /proc/net/tcp: the port is the server's, and 01 is ESTABLISHED.
    let connected = format!(":{:04X} 01 ", address.port());
    let end = Instant::now() + SOON;
    while !std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&connected) {
        assert!(Instant::now() < end, "the ping is not connected within {SOON:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end(SOON).0, Some(0));
    let (code, stdout, said) = ping.end(SOON);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(json(&stdout)["errors"], 1);
}

#[test]
fn echo_goes_on_after_our_end_of_stream() {
    for wait in ["epoll", "spin"] {
        let (_server, address) = server("echo", wait);
        let data: Vec<u8> = (0..3_000_000u32).map(|index| (index % 251) as u8).collect();
        let mut stream = connect(address);
        let mut writing = stream.try_clone().unwrap();
        let sent = data.clone();
        let writer = std::thread::spawn(move || {
            writing.write_all(&sent).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        // Not reading for a while: the server has to wait for room.
        std::thread::sleep(Duration::from_millis(200));
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).unwrap();
        writer.join().unwrap();
        assert!(echoed == data, "{} of {} bytes", echoed.len(), data.len());
    }
}

#[test]
fn end_of_stream_together_with_the_data_is_seen() {
    for wait in ["epoll", "spin"] {
        let (_server, address) = server("echo", wait);
        for _ in 0..200 {
            let mut stream = connect(address);
            stream.write_all(b"four waves").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut echoed = Vec::new();
            stream.read_to_end(&mut echoed).unwrap();
            assert_eq!(echoed, b"four waves");
        }
    }
}

#[test]
fn discard_answers_nothing_and_closes() {
    let (_server, address) = server("discard", "epoll");
    let mut stream = connect(address);
    stream.write_all(&vec![7; 2_000_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn a_fast_chargen_reader_leaves_room_for_others() {
    let (mut server, address) = server("chargen", "epoll");
    let mut greedy = connect(address);
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while greedy.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {}
    });
    let mut line = [0; 74];
    connect(address).read_exact(&mut line).unwrap();
    assert!(line.starts_with(b" !\"#$%&") && line.ends_with(b"\r\n"));
    server.signal(Signal::TERM);
    assert_eq!(server.end(SOON).0, Some(0));
    reader.join().unwrap();
}

/// A server in this process for so many connections, each on a thread of its own: its address.
fn threads(connections: usize, serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, serve) = (listener.local_addr().unwrap(), Arc::new(serve));
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().take(connections).enumerate() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            std::thread::spawn(move || serve(number, stream));
        }
    });
    address
}

fn ping(target: SocketAddr, flags: &str) -> Output {
    let target = target.to_string();
    let mut args = vec!["ping", &target, "--stack", "kernel", "--warmup", "0", "--json"];
    args.extend(flags.split(' '));
    common::run(&args)
}

/// A connection that fails is counted, and the others go on to a good end.
#[test]
fn the_connections_beside_one_that_fails_go_on() {
    let address = threads(3, |number, mut stream| {
        let mut buffer = [0; 64];
        while stream.read_exact(&mut buffer).is_ok() && number != 1 {
            let _ = stream.write_all(&buffer);
        }
    });
    let output = ping(address, "--connections 3 --count 200 --interval-ms 1");
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((&report["count"], &report["errors"]), (&200.into(), &1.into()), "{report}");
}

/// What comes back is compared, and a message of before is not the one that is waited for.
#[test]
fn a_stale_answer_is_noticed() {
    let address = threads(1, |_, mut stream| {
        let (mut first, mut later) = ([0; 64], [0; 64]);
        stream.read_exact(&mut first).unwrap();
        while stream.write_all(&first).is_ok() && stream.read_exact(&mut later).is_ok() {}
    });
    let output = ping(address, "--count 10");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&String::from_utf8_lossy(&output.stdout))["count"], 1);
    assert!(stderr(&output).contains("is it an echo server"), "{}", stderr(&output));
}

#[test]
fn a_silent_server_is_given_up() {
    let address = threads(2, |_, mut stream| while stream.read(&mut [0; 64]).is_ok_and(|n| n > 0) {});
    for wait in ["epoll", "spin"] {
        let output = ping(address, &format!("--timeout-s 0.5 --kernel-wait {wait}"));
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        let said = stderr(&output);
        assert!(said.contains(&format!("no answer from {address} within 0.5 s")), "{said}");
    }
}

#[test]
fn what_cannot_be_listened_on_is_one_sentence() {
    let (server, address) = server("echo", "epoll");
    let pid = server.pid().to_string();
    for (listen, words) in [
        (address.to_string(), [address.to_string(), format!("fourwave (process {pid})")]),
        ("192.0.2.1:7777".into(), ["192.0.2.1:7777 is no address".into(), "ip address".into()]),
    ] {
        let output = common::run(&["serve", "echo", "--stack", "kernel", "--listen", &listen]);
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}

/// On a port that is left open; `fourwave ss` shows what there is.
#[test]
fn its_connections_are_listed() {
    let mut command = fourwave(&["serve", "echo", "--stack", "kernel", "--listen", "127.0.0.1:0"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut line).unwrap();
    let server = Background::of(child);
    let address = line.strip_prefix("listening on ").and_then(|line| line.strip_suffix(" (kernel, epoll)\n"));
    let address: SocketAddr = address.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    let mut stream = connect(address);
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    let rows = json(&ok(&["ss", "--json", "--pid", &server.pid().to_string()]));
    let row = |row: &Value| (row["local"].clone(), row["remote"].clone(), row["state"].clone());
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
    let remote = stream.local_addr().unwrap().to_string();
    assert_eq!(rows, [(address.to_string().into(), remote.into(), "ESTABLISHED".into())]);
}

/// As the kernel's own `ss` has them, and in bytes what was sent.
#[test]
fn what_its_connections_carried_is_listed_and_who_listens() {
    let (server, address) = server("echo", "epoll");
    let (mut stream, pid) = (connect(address), server.pid().to_string());
    stream.write_all(&[7; 5000]).unwrap();
    stream.read_exact(&mut [0; 5000]).unwrap();
    let end = Instant::now() + SOON;
    let row = loop {
        let row = json(&ok(&["ss", "--json", "--pid", &pid]))[0].clone();
        if row["bytes_acked"] == 5000 {
            break row;
        }
        assert!(Instant::now() < end, "{row}");
    };
    assert_eq!((&row["bytes_sent"], &row["bytes_received"]), (&5000.into(), &5000.into()), "{row}");
    let kernels = |flags: &str| {
        let output = Command::new("ss").args([flags, &format!("sport = :{}", address.port())]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mss = format!(" mss:{} ", row["mss_bytes"]);
    assert!(kernels("-Htin").contains(&mss), "{mss} of {row}");
    let top = json(&ok(&["top", "--json", "--interval", "0.1", "--pid", &pid]));
    assert_eq!(top["frames"][0]["connections"][0]["bytes_received"], 5000, "{top}");

    let listeners = json(&ok(&["ss", "-l", "--json", "--pid", &pid]));
    let [listener] = &listeners.as_array().unwrap()[..] else { panic!("{listeners}") };
    let is = (&listener["local"], &listener["state"], &listener["via"]);
    assert_eq!(is, (&address.to_string().into(), &"LISTEN".into(), &"kernel".into()));
    let (kernels, backlog) = (kernels("-Hltn"), &listener["listener"]["backlog_connections"]);
    let queues: Vec<_> = kernels.split_whitespace().skip(1).take(2).collect();
    assert_eq!(queues, ["0", &backlog.to_string()], "{listener}");
    assert_eq!(json(&ok(&["ss", "-a", "--json", "--pid", &pid])).as_array().unwrap().len(), 2);
}

/// A process that is stopped answers nothing. Who asks it is ended as ever, and is not held up by it.
#[test]
fn ctrl_c_ends_who_waits_for_a_process_that_does_not_answer() {
    let (server, _) = server("echo", "epoll");
    let (pid, file) = (server.pid().to_string(), common::temporary("silent.pcapng"));
    let file = file.to_str().unwrap();
    server.signal(Signal::STOP);
    let asking = |args: &[&str]| fourwave(&[&args[..1], &["--pid", &pid], &args[1..]].concat());
    let asks: [(&[&str], i32); 8] = [
        (&["ss"], 1),
        (&["ss", "--counters"], 1),
        (&["ss", "--steering"], 1),
        (&["ss", "--trace"], 1),
        (&["ss", "--kill", "dst", "127.0.0.1"], 1),
        (&["ss", "--follow"], 0),
        (&["top"], 0),
        (&["pcap", "-w", file], 1),
    ];
    for (args, code) in asks {
        let mut asks = Background::start(asking(args));
        asks.hears_ctrl_c();
        // So that it has asked.
        std::thread::sleep(Duration::from_millis(200));
        asks.signal(Signal::INT);
        let (ended, _, said) = asks.end(SOON);
        let interrupted = said.contains("interrupted before it was done");
        assert_eq!(
            (ended, interrupted, said.contains("nothing within")),
            (Some(code), code == 1, false),
            "{args:?}: {said}"
        );
    }
    // A capture for a time waits as long for its beginning, and five seconds at least.
    let output = asking(&["pcap", "-w", file, "--duration", "6"]).output().unwrap();
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.contains("does not answer: nothing within 6 s")), (Some(1), true), "{said}");
}

/// A shard without a connection has no part in anything: not in the seconds, and nobody waits for it.
#[test]
fn a_sweep_over_fewer_connections_than_shards_has_the_seconds_it_took() {
    let (_server, echo) = server("echo", "epoll");
    let target = echo.to_string();
    let mut ping = fourwave(&["ping", &target, "--stack", "kernel", "--cores", "0,1", "--count", "50", "--json"]);
    let output = ping.args(["--sweep", "size=64,128", "--timeout-s", "20"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&String::from_utf8(output.stdout).unwrap());
    for step in report["sweep"].as_array().unwrap() {
        let seconds = step["seconds"].as_array().unwrap();
        let length: f64 = seconds.iter().map(|second| second["length_s"].as_f64().unwrap()).sum();
        assert_eq!(step["count"], 50);
        // A tenth of the time-out at the most, of which half was waited for.
        assert!(length < step["duration_s"].as_f64().unwrap() + 2.0, "{step:#}");
    }
}

/// One that takes `bytes` of each connection, and resets it.
fn resetting(bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut taken = vec![0; bytes];
            let _ = stream.read_exact(&mut taken);
            // What is left unread makes its end a reset (RFC 2525 section 2.17).
            let _ = stream.peek(&mut [0]);
        }
    });
    address
}

/// Exit code 0 is "done": not of bytes that did not go, of a measurement that did not begin, or of connections that went away.
#[test]
fn a_load_that_came_to_nothing_is_a_failure_behind_its_report() {
    let load = |target: SocketAddr, flags: &str| {
        let target = target.to_string();
        let mut command = fourwave(&["load", "tcp", &target, "--stack", "kernel", "--json"]);
        let output = command.args(flags.split(' ')).output().unwrap();
        (output.status.code(), stderr(&output), json(&String::from_utf8(output.stdout).unwrap()))
    };
    let (code, said, report) = load(resetting(300_000), "--mode bulk --bytes 10000000");
    assert_eq!((code, &report["resets"]), (Some(1), &1.into()), "{said}");
    assert!(said.contains(" of 10000000 bytes went to"), "{said}");

    let (code, said, report) = load(resetting(300_000), "--mode bulk --seconds 5");
    let measured = (&report["bytes_sent"], &report["gbit_per_s"]);
    assert_eq!((code, measured), (Some(1), (&0.into(), &0.0.into())), "{said}");
    assert!(said.contains("lasted until measuring began"), "{said}");

    let (_server, discard) = server("discard", "epoll");
    let (code, said, _) = load(discard, "--mode bulk --direction both --seconds 0.3 --warmup 0 --timeout-s 1");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(load(discard, "--mode bulk --bytes 1000000").0, Some(0));

    let flags = "--mode idle --connections 5 --seconds 2 --think-ms 100 --request-bytes 10";
    let (code, said, report) = load(resetting(5), flags);
    assert_eq!((code, &report["lasted"]), (Some(1), &0.into()), "{said}");
    assert!(said.contains("none of the 5 connections"), "{said}");
}

const YES: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
const NONSENSE: &[u8] = b"SSH-2.0-nobody\r\n\r\n";

/// Requests on a connection that come one behind the other.
fn requests(mut stream: &TcpStream) -> impl Iterator<Item = ()> + '_ {
    let mut request = [0; 4096];
    std::iter::from_fn(move || stream.read(&mut request).is_ok_and(|bytes| bytes > 0).then_some(()))
}

/// Of HTTP, in a closed loop unless a rate is given.
fn load_http(target: SocketAddr, flags: &str) -> Command {
    let url = format!("http://{target}/");
    let mut command = fourwave(&["load", "http", &url, "--stack", "kernel", "--warmup", "0", "--json"]);
    command.args(flags.split(' '));
    command
}

/// Runs it to an end that must come soon: exit code, report, and what it said.
fn ended(command: Command) -> (Option<i32>, Value, String) {
    let (code, stdout, said) = Background::start(command).end(SOON);
    (code, json(&stdout), said)
}

fn warns(report: &Value, words: &str) -> bool {
    report["warnings"].as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains(words))
}

/// A server stalls for so long.
const STALL: Duration = Duration::from_secs(4);
/// Until it is interrupted: longer than anything takes before it stalls, for else the stall would not be told of.
const WHILE: Duration = Duration::from_secs(2);

/// Five requests of each of two connections are answered, and then one of each, two seconds behind the end.
#[test]
fn a_stall_that_outlasts_a_closed_loop_is_a_sample_of_each_connection() {
    let kept = || {
        threads(2, |_, mut stream| {
            for (number, ()) in requests(&stream.try_clone().unwrap()).enumerate() {
                std::thread::sleep(if number == 5 { STALL } else { Duration::ZERO });
                stream.write_all(YES).unwrap();
            }
        })
    };
    let closed = || {
        threads(12, |number, mut stream| {
            requests(&stream).next();
            std::thread::sleep(if number >= 10 { STALL } else { Duration::ZERO });
            stream.write_all(YES).unwrap();
        })
    };
    for (target, flags) in [(kept(), ""), (closed(), " --close client"), (closed(), " --close server")] {
        let flags = format!("--connections 2 --seconds 2 --timeout-s 60{flags}");
        let (code, report, said) = ended(load_http(target, &flags));
        assert_eq!(code, Some(0), "{said}");
        let counts = ["responses", "responses_behind_end", "timeouts"].map(|key| report[key].as_u64());
        assert_eq!(counts, [Some(12), Some(2), Some(0)], "{flags}: {report:#}");
        // To three figures.
        assert!(report["latency_ns"]["max"].as_u64().unwrap() >= 3_990_000_000, "{flags}: {report:#}");
        // Rates are of the two seconds: what came behind them raises none, and their time lowers none.
        let [time, rate] = ["duration_s", "requests_per_s"].map(|key| report[key].as_f64().unwrap());
        assert!(time >= 2.0 && (rate * time - 10.0).abs() < 1e-6, "{flags}: {report:#}");
    }
}

#[test]
fn who_is_never_answered_behind_the_end_has_timed_out() {
    let target = threads(2, |_, mut stream| {
        for (number, ()) in requests(&stream.try_clone().unwrap()).enumerate() {
            if number < 5 {
                stream.write_all(&[b'x'; 64]).unwrap();
            }
        }
    });
    let flags = "--stack kernel --json --warmup 0 --response-bytes 64 --connections 2 --seconds 2 --timeout-s 3";
    let line = format!("load tcp {target} {flags}");
    let (code, report, said) = ended(fourwave(&line.split(' ').collect::<Vec<_>>()));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((&report["responses"], &report["timeouts"]), (&10.into(), &2.into()), "{report:#}");
}

/// Stalls on each connection behind so many messages, and tells of it; `answer`s the others.
fn stalling(after: usize, answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> (SocketAddr, Receiver<()>) {
    let (stalled, stalls) = mpsc::channel();
    let address = threads(usize::MAX, move |_, mut stream| {
        let mut message = [0; 4096];
        let mut number = 0;
        while let Ok(bytes @ 1..) = stream.read(&mut message) {
            number += 1;
            if number > after {
                let _ = stalled.send(());
            } else if stream.write_all(&answer(&message[..bytes])).is_err() {
                break;
            }
        }
    });
    (address, stalls)
}

/// Interrupted when so many have stalled for a while.
fn interrupted(command: Command, stalls: &Receiver<()>, count: usize) -> (Value, String) {
    let mut measured = Background::start(command);
    (0..count).for_each(|_| stalls.recv_timeout(SOON).expect("it stalls"));
    std::thread::sleep(WHILE);
    measured.signal(Signal::INT);
    let (code, stdout, said) = measured.end(SOON);
    assert_eq!(code, Some(0), "{said}");
    (json(&stdout), said)
}

/// Also while it waits for what is under way at the end of its time.
#[test]
fn ctrl_c_within_a_stall_says_what_waits_and_for_how_long() {
    for flags in ["--seconds 600", "--seconds 1 --timeout-s 600"] {
        let (target, stalls) = stalling(5, |_| YES.to_vec());
        let (report, said) = interrupted(load_http(target, &format!("--connections 2 {flags}")), &stalls, 2);
        assert_eq!((&report["responses"], &report["under_way"]["count"]), (&10.into(), &2.into()), "{report:#}");
        assert!(report["under_way"]["longest_ns"].as_u64().unwrap() >= 2_000_000_000, "{report:#}");
        assert!(warns(&report, "2 without an answer") && said.contains("2 without an answer"), "{said}");
    }
}

#[test]
fn a_ping_that_is_interrupted_within_a_stall_says_for_how_long_it_has_waited() {
    let (target, stalls) = stalling(5, <[u8]>::to_vec);
    let target = target.to_string();
    let args = ["ping", &target, "--stack", "kernel", "--seconds", "600", "--warmup", "0", "--json"];
    let (report, said) = interrupted(fourwave(&args), &stalls, 1);
    assert_eq!((&report["count"], &report["under_way"]["count"]), (&5.into(), &1.into()), "{report:#}");
    assert!(report["under_way"]["longest_ns"].as_u64().unwrap() >= 2_000_000_000, "{report:#}");
    assert!(report["duration_s"].as_f64().unwrap() >= 2.0, "{report:#}");
    assert!(warns(&report, "1 without an answer") && said.contains("1 without an answer"), "{said}");
}

#[test]
fn an_open_loop_that_is_not_answered_says_so() {
    let (target, stalls) = stalling(5, <[u8]>::to_vec);
    let target = target.to_string();
    let args = ["ping", &target, "--stack", "kernel", "--rate", "50", "--seconds", "600", "--warmup", "0", "--json"];
    let (report, said) = interrupted(fourwave(&args), &stalls, 1);
    let [sent, unanswered] = ["sent", "unanswered"].map(|key| report["sending"][key].as_u64().unwrap());
    assert!(unanswered * 100 > sent && sent == 5 + unanswered, "{report:#}");
    let words = format!("{unanswered} of {sent} messages were not answered");
    assert!(warns(&report, &words) && said.contains(&words), "{said}");
}

/// Ten messages stand for ten intervals of a tenth of a second: they take a second, whenever the last of them is answered.
#[test]
fn an_open_loop_is_never_faster_than_its_schedule() {
    let (_server, address) = server("echo", "epoll");
    let output = ping(address, "--rate 10 --seconds 1");
    let report = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(report["count"], 10, "{report}");
    assert!(
        report["duration_s"].as_f64().unwrap() >= 1.0 && report["rate_per_s"].as_f64().unwrap() <= 10.0,
        "{report}"
    );
}

#[test]
fn a_ping_that_ends_within_its_warm_up_has_no_times() {
    for json_flag in [&["--json"][..], &[]] {
        let (address, echoed) = counting_echo();
        let target = address.to_string();
        let args = ["ping", &target, "--stack", "kernel", "--seconds", "600", "--warmup", "1000000000"];
        let mut ping = Background::start(fourwave(&[&args, json_flag].concat()));
        for _ in 0..10 {
            echoed.recv_timeout(SOON).expect("ten messages, one after another");
        }
        ping.signal(Signal::INT);
        let (code, stdout, said) = ping.end(SOON);
        assert_eq!(code, Some(0), "{said}");
        let words = "it ended before measuring began: nothing was measured";
        assert!(said.contains(words), "{said}");
        match json_flag {
            [] => assert!(stdout.contains("0 round trips") && !stdout.contains("p50"), "{stdout}"),
            _ => assert!(warns(&json(&stdout), words), "{stdout}"),
        }
    }
}

/// Whatever the server does, each of so many requests comes to an end, and so does the run.
#[test]
fn requests_that_fail_count_towards_how_many_there_are_to_be() {
    let malformed = threads(usize::MAX, |_, mut stream| {
        requests(&stream).next();
        let _ = stream.write_all(NONSENSE);
    });
    let cut_off = threads(usize::MAX, |_, stream| {
        requests(&stream).next();
    });
    let silent = threads(usize::MAX, |_, stream| requests(&stream).for_each(drop));
    // Once it is there nobody listens any more.
    let absent = || {
        threads(1, |_, mut stream| {
            requests(&stream).next();
            let _ = stream.write_all(YES);
        })
    };
    for (target, flags, counted, responses) in [
        (malformed, "--timeout-s 60", "malformed", 0),
        (cut_off, "--timeout-s 60", "cut_off", 0),
        (silent, "--timeout-s 0.2", "timeouts", 0),
        (absent(), "--timeout-s 60", "connect_errors", 1),
        (absent(), "--timeout-s 60 --rate 100", "connect_errors", 1),
    ] {
        let (code, report, said) = ended(load_http(target, &format!("--connections 1 --requests 20 {flags}")));
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(report["responses"], responses, "{report:#}");
        assert!(report[counted].as_u64().unwrap() >= 18, "{counted}: {report:#}");
        assert!(said.contains(if responses == 0 { "has answered nothing" } else { "failed, and 1 " }), "{said}");
    }
}

/// Each connection is lost behind one response: that is no quiet success. What there are more of than responses is none at all.
#[test]
fn many_failures_are_a_warning_and_more_than_responses_a_failure() {
    let every_other = threads(usize::MAX, |_, mut stream| {
        for (number, ()) in requests(&stream.try_clone().unwrap()).enumerate() {
            let _ = stream.write_all(if number == 0 { YES } else { NONSENSE });
        }
    });
    let (code, report, said) = ended(load_http(every_other, "--connections 1 --requests 40"));
    assert_eq!((code, &report["responses"], &report["malformed"]), (Some(0), &20.into(), &20.into()), "{said}");
    assert!(warns(&report, "20 malformed") && said.contains("20 malformed"), "{said}");

    let first_alone = threads(usize::MAX, |number, mut stream| {
        requests(&stream).next();
        let _ = stream.write_all(if number == 0 { YES } else { NONSENSE });
    });
    let (code, report, said) = ended(load_http(first_alone, "--close client --connections 1 --requests 40"));
    assert_eq!((code, &report["responses"], &report["malformed"]), (Some(1), &1.into(), &39.into()), "{said}");
    assert!(said.contains("39 requests") && said.contains("failed, and 1 "), "{said}");
}

/// Four files on a disk that is full.
#[test]
fn each_file_that_cannot_be_written_is_named() {
    let (_server, address) = server("echo", "epoll");
    let folder = common::temporary("full");
    std::fs::create_dir_all(&folder).unwrap();
    let flags = ["--hgrm", "--hlog", "--csv", "--report"];
    let target = address.to_string();
    let files: Vec<_> = flags.iter().map(|flag| folder.join(&flag[2..]).to_str().unwrap().to_owned()).collect();
    files.iter().for_each(|file| std::os::unix::fs::symlink("/dev/full", file).unwrap());
    for command in [&["ping", &target, "--count", "10"][..], &["load", "tcp", &target, "--requests", "10"]] {
        let mut command = fourwave(command);
        let files = flags.iter().zip(&files).flat_map(|(flag, file)| [*flag, file]);
        let output = command.args(files).args(["--stack", "kernel", "--warmup", "0", "--json"]).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for flag in flags {
            assert!(said.contains(&format!("{flag}: can't be written")), "{flag}: {said}");
        }
        json(&String::from_utf8(output.stdout).unwrap());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Help and the version are results as all others.
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for flag in ["--help", "--version"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = fourwave(&[flag]).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{flag}");
        assert!(stderr(&output).contains("can't be written to stdout"), "{flag}: {}", stderr(&output));
    }
}
