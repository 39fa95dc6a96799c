//! The small servers on fourwave, and clients on the kernel's TCP.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::common::{self, Background};
use crate::support::{Server, bulk, fourwave, good, lab, need, peer, text, within};

/// Text with every byte but NUL and 255, which telnet gives a meaning.
fn message() -> Vec<u8> {
    (0..100_000u32).map(|i| u8::try_from(i % 127 + 1).unwrap()).collect()
}

/// Feeds `input` to a program and closes its stdin; what it printed.
fn feed(mut command: Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}: {}", common::stderr(&output));
    output.stdout
}

/// RFC9293-3.6-a.
#[test]
fn python_half_closes_after_ten_mebibytes() {
    let _lab = lab();
    let server = Server::echo();
    bulk("10.77.0.1", "7", "10");
    server.assert_empty();
    server.stop();
}

#[test]
fn two_hundred_connections_at_once() {
    let _lab = lab();
    let server = Server::echo();
    for _ in 0..2 {
        good(peer("fw-b", "many", &["10.77.0.1", "7", "200"]));
    }
    server.assert_empty();
    server.stop();
}

#[test]
fn bulk_each_way_with_equal_sha_256() {
    let _lab = lab();
    let server = Server::echo();
    bulk("10.77.0.1", "7", "256");
    server.assert_empty();
    server.stop();
}

#[test]
fn both_xdp_modes_and_ipv6() {
    let _lab = lab();
    for (listen, address, mode) in [
        ("10.77.0.1:7", "10.77.0.1", "native"),
        ("10.77.0.1:7", "10.77.0.1", "generic"),
        ("[fd77::1]:7", "fd77::1", "auto"),
    ] {
        let server = Server::start(&format!("echo --listen {listen} --xdp-mode {mode}"));
        bulk(address, "7", "10");
        server.assert_empty();
        server.stop();
    }
}

#[test]
fn netcat_gets_back_what_it_sends() {
    need("nc", "netcat-openbsd");
    let _lab = lab();
    let server = Server::echo();
    for size in [1, 1000, 100_000] {
        let sent = &message()[..size];
        assert!(feed(within("fw-b", 20, &["nc", "-N", "10.77.0.1", "7"]), sent) == sent, "{size}");
    }
    server.assert_empty();
    server.stop();
}

/// curl's telnet never half-closes: it waits for the server to close, also behind the end of its input. So it is ended here
/// when all has come back.
#[test]
fn curl_telnet_gets_back_what_it_sends() {
    need("curl", "curl");
    let _lab = lab();
    let server = Server::echo();
    let mut curl = within("fw-b", 30, &["curl", "--silent", "--no-buffer", "telnet://10.77.0.1:7"]);
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (curl.stdin.take().unwrap(), curl.stdout.take().unwrap());
    let curl = Background::of(curl);
    let writer = std::thread::spawn(move || stdin.write_all(&message()));
    let mut came = vec![0; message().len()];
    stdout.read_exact(&mut came).unwrap();
    writer.join().unwrap().unwrap();
    assert!(came == message());
    drop(curl);
    server.assert_empty();
    server.stop();
}

/// sockperf's client drops what a plain echo sends back (it is still marked as a client's): there is a service for it.
#[test]
fn sockperf_ping_pong() {
    need("sockperf", "sockperf");
    let _lab = lab();
    let server = Server::start("sockperf --listen 10.77.0.1:11111");
    let args = ["sockperf", "ping-pong", "--tcp", "-i", "10.77.0.1", "-p", "11111", "-t", "2"];
    let said = good(within("fw-b", 30, &args));
    let valid = said.lines().find(|line| line.contains("[Valid Duration]")).unwrap_or_else(|| panic!("{said}"));
    let received = valid.split("ReceivedMessages=").nth(1).and_then(|rest| rest.split_whitespace().next());
    assert!(received.unwrap().parse::<u64>().unwrap() > 100, "{said}");
    assert!(said.contains("# dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0"), "{said}");
    server.stop();
}

/// Under load it asks for one message in many back, in a throughput test for none: what it did not ask for it would count as a
/// duplicate, or wait for ever to get rid of.
#[test]
fn sockperf_under_load_and_throughput() {
    need("sockperf", "sockperf");
    let _lab = lab();
    let server = Server::start("sockperf --listen 10.77.0.1:11111");
    let at = ["--tcp", "-i", "10.77.0.1", "-p", "11111", "-t", "1", "-m", "64"];
    for mode in [&["under-load", "--mps", "1000", "--reply-every", "10"][..], &["throughput"]] {
        let said = good(within("fw-b", 30, &[&["sockperf"], mode, &at].concat()));
        assert!(mode[0] != "throughput" || said.contains("Summary: Message Rate is"), "{said}");
        assert!(
            mode[0] != "under-load" || said.contains("# duplicated messages = 0; # out-of-order messages = 0"),
            "{said}"
        );
        server.assert_empty();
    }
    server.stop();
}

/// Its sender is faster than the server now and then: what is lost and sent again must not be left in a queue.
#[test]
fn sockperf_throughput_into_discard() {
    need("sockperf", "sockperf");
    let _lab = lab();
    let server = Server::start("discard --listen 10.77.0.1:9");
    let args = ["sockperf", "throughput", "--tcp", "-i", "10.77.0.1", "-p", "9", "-m", "1400", "-t", "1"];
    for _ in 0..2 {
        let said = good(within("fw-b", 30, &args));
        assert!(said.contains("Summary: Message Rate is"), "{said}");
        server.assert_empty();
    }
    server.stop();
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    need("nc", "netcat-openbsd");
    let _lab = lab();
    let server = Server::start("discard --listen 10.77.0.1:9");
    let sent = message().repeat(50);
    assert!(feed(within("fw-b", 30, &["nc", "-N", "10.77.0.1", "9"]), &sent).is_empty());
    server.assert_empty();
    server.stop();
}

#[test]
fn chargen_sends_the_rows_of_rfc_864() {
    let _lab = lab();
    let server = Server::start("chargen --listen 10.77.0.1:19");
    let script = "import socket\nc = socket.create_connection(('10.77.0.1', 19), timeout=60)\nf = c.makefile('rb')\n\
        for n in range(2000):\n    row = bytes(32 + (n + i) % 95 for i in range(72)) + b'\\r\\n'\n    \
        assert f.read(74) == row, n\n";
    // Two at once, so that their places in the text are kept apart.
    let clients = [(); 2].map(|()| std::thread::spawn(move || good(within("fw-b", 20, &["python3", "-c", script]))));
    clients.into_iter().for_each(|client| drop(client.join().unwrap()));
    server.assert_empty();
    server.stop();
}

#[test]
fn a_large_mtu_and_a_small_one() {
    let turn = common::LabTurn::take();
    for mtu in ["1280", "3000"] {
        common::ok(&["lab", "up", "--mtu", mtu]);
        let server = Server::echo();
        bulk("10.77.0.1", "7", "10");
        let ping = ["ping", "10.77.0.1:7", "--bytes", "20000", "--count", "50", "--warmup", "0", "--json"];
        assert_eq!(common::json(&good(fourwave("fw-b", &ping)))["errors"], 0);
        server.assert_empty();
        server.stop();
    }
    drop(turn);
}

#[test]
fn the_peers_of_these_tests_work_on_the_kernel_alone() {
    let _lab = lab();
    let _server = crate::support::kernel_echo("fw-a", "10.77.0.1", "7");
    bulk("10.77.0.1", "7", "10");
    good(peer("fw-b", "many", &["10.77.0.1", "7", "50"]));
    let version = within("fw-b", 5, &["python3", "--version"]).output().unwrap();
    assert!(text(&version.stdout).starts_with("Python 3"));
}
