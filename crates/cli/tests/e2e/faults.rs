//! Faults, real ones: docs/OPERATIONS.md has them in a table, with what each looks like. In every one of them somebody is served
//! afterwards, nothing is left behind, and the metric that the table names has counted it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{self, Background, json, ok};
use crate::metrics::{AT, Told};
use crate::proxy::{Folder, LISTENER, Proxy, curl_command, pool};
use crate::ss::holding;
use crate::support::{
    SOON, Server, assert_no_program, assert_whole, bulk, eventually, good, kernel_echo, lab, long_transfer, need, peer,
    sentence, within,
};

/// Files of processes in the directory of the control sockets, but for what outlives them on purpose.
fn files() -> Vec<String> {
    let entries = std::fs::read_dir("/run/fourwave").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = names.filter(|name| name != "secret" && !name.ends_with(".lock")).collect();
    files.sort();
    files
}

/// 20 clients of the kernel's, each with a connection for every request, for as long as they are let.
fn load_of(url: &str) -> Command {
    let load =
        ["load", "http", url, "--stack", "kernel", "--connections", "20", "--close", "server", "--seconds", "600"];
    // What happens early counts as well.
    common::in_namespace("fw-b", &[&load[..], &["--warmup", "0", "--json"]].concat())
}

/// The bytes of each connection's answer to `GET /`.
fn downloads(port: &str, connections: usize) -> Vec<Background> {
    let url = format!("http://10.77.0.1:{port}/");
    (0..connections)
        .map(|_| Background::start(curl_command(&["-w", "%{size_download}", "-o", "/dev/null", &url])))
        .collect()
}

fn assert_downloaded(downloads: Vec<Background>, bytes: usize) {
    for mut one in downloads {
        let (code, said, why) = one.end(SOON);
        assert_eq!((code, said), (Some(0), bytes.to_string()), "{why}");
    }
}

fn drops(reason: &str) -> f64 {
    Told::now().sum("fourwave_drops_total", &[("reason", reason)])
}

/// Ctrl-C, and an orderly end of a server with metrics.
fn ended(mut server: Server) {
    server.signal(Signal::INT);
    let (code, said) = server.end();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.iter().all(|line| line.starts_with("metrics at ")), "{said:?}");
    assert_no_program();
    assert_eq!(files(), [""; 0]);
}

/// A python script as a client in fw-b; it goes on when it is told to, by a line.
fn script(text: &str) -> Child {
    let mut command = within("fw-b", 180, &["python3", "-c", text]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn says(child: &mut Child, word: &str) {
    let mut said = vec![0; word.len()];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(String::from_utf8(said).unwrap(), word);
}

fn go_on(child: &mut Child) {
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

fn ends_well(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", common::stderr(&output));
}

/// Clients that never stop are refused for the moment, by the kernel, and are served again by the next process, which answers
/// Prometheus at the same address. Between the two the port is the kernel's, for whoever wants it. What was killed has left its
/// socket, and `ss` does not stumble over it.
#[test]
fn kill_9_under_load_and_a_restart() {
    let _lab = lab();
    let serve = format!("http --listen 10.77.0.1:80 --metrics {AT}");
    let mut load = None;
    for _ in 0..3 {
        let mut server = Server::start(&serve);
        load.get_or_insert_with(|| Background::start(load_of("http://10.77.0.1/")));
        eventually("it is under load", || Told::now().count("fourwave_connections_accepted_total") > 200.0);
        server.signal(Signal::KILL);
        server.end();
        let kernel = kernel_echo("fw-a", "10.77.0.1", "80");
        assert_no_program();
        // It sweeps what was left; the clients' own process is one that it lists.
        let rows = json(&ok(&["ss", "--json", "sport", "=", ":80"]));
        assert_eq!((rows.as_array().unwrap().len(), files().len()), (0, 1), "{rows}");
        drop(kernel);
        let listeners = ["ss", "-Hltn", "sport", "=", ":80"];
        eventually("its port is free again", || good(within("fw-a", 60, &listeners)).is_empty());
    }
    let server = Server::start(&serve);
    eventually("clients are served again", || Told::now().count("fourwave_connections_accepted_total") > 200.0);
    let mut load = load.unwrap();
    load.signal(Signal::INT);
    let (_, report, _) = load.end(SOON);
    let report = json(&report);
    let of = |key: &str| report[key].as_u64().unwrap();
    assert!(of("resets") + of("connect_errors") > 0, "some were cut off, and others refused: {report}");
    server.assert_empty();
    ended(server);
    assert_no_program();
}

/// RFC 9293 section 3.5.1: the far ends of a dead proxy learn of it when they speak, or are spoken to. Its two source ports are
/// those of the next one as well, whose SYNs meet backends that take them for segments of the old connections.
#[test]
fn a_proxy_that_is_killed_and_started_again() {
    let (_lab, folder) = (lab(), Folder::new("kill-9"));
    let _echo = kernel_echo("fw-b", "10.77.0.2", "7");
    let text = format!("source-ports = \"61000-61001\"\n{LISTENER}{}", pool("", &[7]));
    let mut proxy = Proxy::start(&folder, &text);
    let mut held = holding(&["10.77.0.1", "80", "2"]);
    let old = || good(within("fw-b", 60, &["ss", "-Htn", "state", "established", "sport = :7"]));
    let count = |ports: &str| ports.lines().count();
    // What is not acknowledged would be sent again, to the kernel, which knows nothing of it.
    eventually("the backend has nothing to send again", || {
        let (old, queued) = (old(), |line: &str| line.split_whitespace().nth(1).unwrap() != "0");
        count(&old) == 2 && !old.lines().any(queued)
    });
    proxy.server.signal(Signal::KILL);
    proxy.server.end();
    assert_eq!(count(&old()), 2, "nobody has told the backend");
    // A client that speaks is reset by the kernel.
    go_on(&mut held);
    let output = held.wait_with_output().unwrap();
    assert!(common::stderr(&output).contains("ConnectionResetError"), "{}", common::stderr(&output));
    let proxy = Proxy::start(&folder, &text);
    assert_eq!(files(), [format!("{}.sock", proxy.server.pid())]);
    let mut again = holding(&["10.77.0.1", "80", "2"]);
    go_on(&mut again);
    drop(again.stdin.take());
    ends_well(again);
    eventually("no connection is left", || count(&old()) == 0);
    let counted = proxy.stop();
    assert_eq!(counted["counters"]["no_backend"], 0, "{counted}");
    assert_no_program();
    assert_eq!(files(), [""; 0]);
}

/// SIGSTOP and SIGCONT: the clock goes on, the loop does not. The transfer goes on where it was; the turn that took so long is
/// counted; what waited is not sent again and again (once for each second that was missed it would be three times the loss).
#[test]
fn a_process_that_was_stopped_goes_on() {
    let _lab = lab();
    let mut server = Server::start(&format!("echo --listen 10.77.0.1:7 --keepalive 1 --idle busy --metrics {AT}"));
    let idle = holding(&["10.77.0.1", "7", "5"]);
    let transfer = long_transfer();
    let before = Told::now();
    for _ in 0..2 {
        server.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(3));
        server.signal(Signal::CONT);
        let sent = || Told::now().count("fourwave_tcp_sent_segments_total");
        let enough = sent() + 5000.0;
        eventually("the transfer goes on", || sent() > enough);
    }
    let after = Told::now();
    let grown = |name| after.count(name) - before.count(name);
    // It never sleeps: each stop is in the midst of a turn.
    assert!(grown("fourwave_loop_stalls_total") >= 2.0);
    let (timeouts, again) =
        (grown("fourwave_tcp_retransmission_timeouts_total"), grown("fourwave_tcp_retransmitted_segments_total"));
    assert!(timeouts <= 6.0 && again <= grown("fourwave_tcp_sent_segments_total") / 10.0, "{timeouts}, {again}");
    assert_whole(transfer);
    assert!(server.running());
    assert_eq!(server.connections().iter().filter(|row| row["state"] == "ESTABLISHED").count(), 5);
    ends_well(idle);
    server.assert_empty();
    ended(server);
}

/// Stopped, it gives the kernel no buffers: what comes beyond those that the kernel has is dropped, and sent again by the peers.
#[test]
fn a_fill_ring_that_is_starved_loses_nothing() {
    let _lab = lab();
    let server = Server::start(&format!("discard --listen 10.77.0.1:9 --frames 256 --ring 128 --metrics {AT}"));
    assert_eq!(Told::now().sum("fourwave_ring_size_descriptors", &[("ring", "fill")]), 128.0);
    let mut client = script(
        "import socket\n\
         open_ = [socket.create_connection(('10.77.0.1', 9), timeout=120) for _ in range(50)]\n\
         print('open', flush=True); input()\n\
         for s in open_: s.sendall(bytes(50000)); s.shutdown(socket.SHUT_WR)\n\
         print('sent', flush=True)\n\
         for s in open_: assert s.recv(1) == b''\n",
    );
    says(&mut client, "open\n");
    let before = Told::now().count("fourwave_device_received_bytes_total");
    server.signal(Signal::STOP);
    go_on(&mut client);
    says(&mut client, "sent\n");
    std::thread::sleep(Duration::from_millis(300));
    server.signal(Signal::CONT);
    ends_well(client);
    server.assert_empty();
    let told = Told::now();
    // 50 initial windows of ten segments are more than 128.
    let lost = told.sum("fourwave_drops_total", &[("reason", "device_fill_ring_empty")]);
    assert!(lost > 0.0, "{lost}");
    assert!(told.count("fourwave_device_received_bytes_total") - before >= 50.0 * 50_000.0);
    assert_eq!(told.count("fourwave_connections_closed_total"), 50.0);
    assert_eq!(told.count("fourwave_connections_failed_total"), 0.0);
    ended(server);
}

/// More leaves in a turn than the ring takes; what has no room waits, and all of it arrives.
#[test]
fn a_tx_ring_that_is_full_loses_nothing() {
    need("curl", "curl");
    let _lab = lab();
    let server = Server::start(&format!("http --listen 10.77.0.1:80 --body-bytes 3000000 --ring 64 --metrics {AT}"));
    assert_downloaded(downloads("80", 12), 3_000_000);
    let told = Told::now();
    assert!(told.count("fourwave_device_tx_ring_full_total") > 0.0);
    assert_eq!(told.count("fourwave_connections_failed_total"), 0.0);
    ended(server);
}

/// 128 buffers for a ring of 2048: those that come and those that go take them from each other.
#[test]
fn a_umem_that_is_exhausted_loses_nothing() {
    need("curl", "curl");
    let _lab = lab();
    let server = Server::start(&format!("http --listen 10.77.0.1:80 --body-bytes 3000000 --frames 128 --metrics {AT}"));
    assert_downloaded(downloads("80", 12), 3_000_000);
    let told = Told::now();
    assert!(told.count("fourwave_device_no_buffer_total") > 0.0);
    assert_eq!(told.count("fourwave_connections_failed_total"), 0.0);
    ended(server);
}

/// 40 clients that send a mebibyte each, and read none of what comes back until they are told to.
fn slow_readers() -> Child {
    let mut slow = script(
        "import os, socket, threading\n\
         message, open_ = os.urandom(1 << 20), []\n\
         for _ in range(40):\n    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)\n    \
         s.settimeout(120); s.connect(('10.77.0.1', 7)); open_.append(s)\n\
         for s in open_: threading.Thread(target=s.sendall, args=(message,)).start()\n\
         print('sends', flush=True); input()\n\
         def read(s):\n    came = b''\n    while len(came) < 1 << 20: came += s.recv(65536)\n    \
         assert came == message\n    right.append(s)\n\
         right, readers = [], [threading.Thread(target=read, args=(s,)) for s in open_]\n\
         for r in readers: r.start()\n\
         for r in readers: r.join()\n\
         assert len(right) == 40\n",
    );
    says(&mut slow, "sends\n");
    slow
}

fn pressure(effect: &str) -> f64 {
    Told::now().sum("fourwave_memory_pressure_total", &[("effect", effect)])
}

/// Each holds 64 KiB at least each way, and there is room for more than that: whoever comes then is served beside them; they
/// themselves have all of theirs back once they read.
#[test]
fn a_pool_that_slow_readers_have_taken() {
    let _lab = lab();
    let server = Server::start(&format!("echo --listen 10.77.0.1:7 --pool-bytes 16777216 --metrics {AT}"));
    let slow = slow_readers();
    let used = || Told::now().count("fourwave_pool_used_bytes");
    eventually("a quarter of the pool is taken", || used() > 4194304.0);
    assert_eq!(good(peer("fw-b", "many", &["10.77.0.1", "7", "3"])), "right\n");
    assert!(used() > 4194304.0 && used() <= 16777216.0, "{}", used());
    assert_eq!(pressure("refused"), 0.0);
    read_all(slow);
    server.assert_empty();
    assert_eq!(used(), 0.0);
    ended(server);
}

fn read_all(mut slow: Child) {
    go_on(&mut slow);
    ends_well(slow);
}

/// An eighth of that: less than the 64 KiB each way that every connection may hold. It is used up, so who comes then waits until
/// somebody reads; nobody is cut off.
#[test]
fn a_pool_that_is_exhausted_has_newcomers_wait() {
    let _lab = lab();
    let server = Server::start(&format!("echo --listen 10.77.0.1:7 --pool-bytes 1048576 --metrics {AT}"));
    let slow = slow_readers();
    eventually("it is used up", || pressure("refused") > 0.0);
    assert!(Told::now().count("fourwave_pool_used_bytes") <= 1048576.0);
    let mut newcomer = Background::start(peer("fw-b", "many", &["10.77.0.1", "7", "3"]));
    eventually("it is connected", || Told::now().count("fourwave_connections_accepted_total") >= 43.0);
    read_all(slow);
    let (code, said, why) = newcomer.end(SOON);
    assert_eq!((code, &*said), (Some(0), "right\n"), "{why}");
    server.assert_empty();
    let told = Told::now();
    assert_eq!([told.count("fourwave_pool_used_bytes"), told.count("fourwave_connections_failed_total")], [0.0; 2]);
    ended(server);
}

/// The eleventh waits, for its kernel repeats the SYN, until one of the ten has gone.
#[test]
fn the_limit_of_connections_refuses_and_counts() {
    let _lab = lab();
    let server = Server::start(&format!("echo --listen 10.77.0.1:7 --max-connections 10 --metrics {AT}"));
    let held = holding(&["10.77.0.1", "7", "10"]);
    let mut more = script(
        "import socket\n\
         s = socket.create_connection(('10.77.0.1', 7), timeout=120)\n\
         s.sendall(b'x'); assert s.recv(1) == b'x'\n",
    );
    eventually("its SYN was refused", || drops("connections_full") >= 1.0);
    assert!(more.try_wait().unwrap().is_none());
    let told = Told::now();
    let connections = |name| told.sum(name, &[("table", "connections")]);
    assert_eq!([connections("fourwave_table_entries"), connections("fourwave_table_limit_entries")], [10.0, 10.0]);
    ends_well(held);
    ends_well(more);
    server.assert_empty();
    ended(server);
}

/// No memory for the frames, or no right to lock it: a start ends with one sentence that says what to do.
#[test]
fn a_start_without_memory_is_told_in_a_sentence() {
    let _lab = lab();
    let serve = |limit: &str, more: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "fw-a", "prlimit", limit, "--", "setpriv", "--bounding-set=-ipc_lock"]);
        command.args(["--inh-caps=-ipc_lock", common::FOURWAVE, "serve", "echo", "--listen", "10.77.0.1:7"]);
        command.args(more.split(' ').filter(|word| !word.is_empty()));
        command
    };
    // 32 MiB of frames are the default; 1,048,576 are 4 GiB.
    let said = sentence(&serve("--memlock=8388608", "").output().unwrap());
    assert!(said.contains("33554432 bytes of frames") && said.contains("LimitMEMLOCK="), "{said}");
    assert_no_program();
    let said = sentence(&serve("--as=1073741824", "--frames 1048576").output().unwrap());
    assert!(said.contains("no memory for 4294967296 bytes of frames") && said.contains("--frames"), "{said}");
    assert_no_program();
    // What fits is served.
    let server = Server::spawn(serve("--memlock=8388608", "--frames 1024"));
    bulk("10.77.0.1", "7", "1");
    ended(server);
}

/// 60 clients that say nothing, ask for nothing that there is, or do not read their answers, of which there may be 16: `ss` is
/// answered at once beside them (each could have it wait for two seconds), and the data path sees nothing of it.
#[test]
fn a_control_socket_that_is_abused_serves_on() {
    let _lab = lab();
    let server = Server::start(&format!("echo --listen 10.77.0.1:7 --metrics {AT}"));
    let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("/run/fourwave"), mode(&server.socket())), (0o700, 0o600));
    let mut client = holding(&["10.77.0.1", "7", "1"]);
    let connect = || UnixStream::connect(server.socket()).unwrap();
    let mut all = Vec::new();
    for number in 0..60 {
        let mut one = connect();
        one.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        // Who is sent away meanwhile can't write any more.
        let _ = match number % 6 {
            0 => Ok(()),
            1 => one.write_all(b"{\"list\":"),
            2 => one.write_all(b"nonsense\n"),
            3 => one.write_all(&[b'['; 200_000]),
            4 => one.write_all(&[0xff, 0, b'\n']),
            _ => one.write_all(b"\"counters\"\n"),
        };
        all.push(one);
        if number % 10 == 9 {
            assert_eq!(server.connections().len(), 1);
        }
    }
    go_on(&mut client);
    says(&mut client, "echoed\n");
    let outcome = |name: &str| Told::now().sum("fourwave_control_clients_total", &[("outcome", name)]);
    eventually("each is accounted for", || {
        outcome("malformed") >= 20.0 && outcome("slow") + outcome("crowded") >= 10.0 && outcome("answered") >= 6.0
    });
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    assert!(threads < 40, "{threads} threads");
    drop(all);
    drop(client.stdin.take());
    ends_well(client);
    server.assert_empty();
    ended(server);
}

/// Whatever is wrong with the file, and whoever has the port that it asks for: all goes on as before, with a sentence and a count
/// of it; and the next good file is taken. A client is connected all the while.
#[test]
fn reloads_with_errors_change_nothing() {
    let (_lab, folder) = (lab(), Folder::new("bad-reload"));
    let _echo = kernel_echo("fw-b", "10.77.0.2", "7");
    let _taken = kernel_echo("fw-a", "10.77.0.1", "8000");
    let good_file = format!("{LISTENER}{}", pool("", &[7]));
    let second = LISTENER.replace("web\"\na", "more\"\na");
    let mut proxy = Proxy::start_with(&folder, &good_file, &["--metrics", AT]);
    let mut client = holding(&["10.77.0.1", "80", "1"]);
    let bad = [
        ("nonsense".to_owned(), "line 1"),
        (good_file.replace("pool = ", "pond = "), "pond"),
        (format!("drain-time = \"77s\"\n{good_file}"), "`drain-time` can't be changed"),
        (format!("{good_file}{}", second.replace(":80\"", ":8000\"")), "10.77.0.1:8000 is in use"),
        (format!("access-log = \"/nowhere/at/all\"\n{good_file}"), "/nowhere/at/all"),
    ];
    for (number, (text, words)) in bad.iter().enumerate() {
        folder.write("proxy.toml", text);
        proxy.server.signal(Signal::HUP);
        let said = proxy.server.line_with("not reloaded, all goes on as before");
        assert!(said.contains(words), "{said}");
        eventually("it is counted", || {
            Told::now().count("fourwave_proxy_reloads_refused_total") == number as f64 + 1.0
        });
        go_on(&mut client);
        says(&mut client, "echoed\n");
        bulk("10.77.0.1", "80", "1");
    }
    std::fs::remove_file(folder.path("proxy.toml")).unwrap();
    proxy.server.signal(Signal::HUP);
    let said = proxy.server.line_with("not reloaded, all goes on as before");
    assert!(said.contains("cannot read"), "{said}");
    proxy.reload(&folder, &format!("{good_file}{}", second.replace(":80\"", ":8001\"")));
    bulk("10.77.0.1", "8001", "1");
    go_on(&mut client);
    says(&mut client, "echoed\n");
    drop(client.stdin.take());
    ends_well(client);
    let counted = proxy.stop();
    let counters = &counted["counters"];
    assert_eq!((&counters["reloads"], &counters["reloads_refused"]), (&1.into(), &6.into()), "{counted}");
    assert_eq!((&counters["client_resets"], &counters["backend_resets"]), (&0.into(), &0.into()));
}
