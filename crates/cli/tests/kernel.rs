//! Servers and ping over the kernel's sockets, in the lab and on loopback. The lab needs root.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use common::{Background, LabTurn, SOON, in_namespace, json, ok, stderr};
use rustix::process::Signal;

const PING_KEYS: [&str; 9] =
    ["stack", "mode", "connections", "message_bytes", "count", "errors", "duration_s", "latency_ns", "rate_per_s"];
const LATENCY_KEYS: [&str; 8] = ["min", "p50", "p90", "p99", "p999", "p9999", "max", "mean"];

fn fourwave(args: &[&str]) -> Command {
    let mut command = Command::new(common::FOURWAVE);
    command.args(args);
    command
}

/// A free port of loopback, as an address.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn server(service: &str, wait: &str) -> (Background, SocketAddr) {
    let address = free();
    let listen = address.to_string();
    let args = ["serve", service, "--stack", "kernel", "--kernel-wait", wait, "--listen", &listen];
    (Background::server(fourwave(&args)), address)
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
    let report =
        json(&ok(&["bench", "--points", points, "--rounds", "2", "--seconds", "0.2", "--pause-s", "0", "--json"]));
    assert_eq!(report["rounds"], 2);
    assert!(report["machine"].is_object());
    for point in points.split(',') {
        for key in ["p50_ns", "p99_ns", "p999_ns"] {
            assert!(report["rtt"][point][key].as_u64().unwrap() > 0, "{point} {key}");
        }
    }
    assert_eq!(json(&ok(&["lab", "status", "--json"]))["up"], false, "it was not there before");
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
