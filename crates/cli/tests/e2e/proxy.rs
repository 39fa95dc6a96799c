//! `fourwave proxy` between curl, wrk and nginx, which all use the kernel's TCP. The proxy is in fw-a, the others in fw-b.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{self, Background, json};
use crate::support::{Server, bulk, eventually, good, kernel_echo, lab, need, text, within};

/// Far longer than anything here takes on a machine with nothing else to do.
const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const LISTENER: &str = "[[listener]]\nname = \"web\"\naddress = \"10.77.0.1:80\"\npool = \"web\"\n";
const URL: &str = "http://10.77.0.1";

/// A folder for one test's files, removed on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = common::temporary(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A pool with backends on these ports of 10.77.0.2; `more` are other lines of its.
pub(crate) fn pool(more: &str, ports: &[u16]) -> String {
    let backend = |port: &u16| format!("[[pool.backend]]\naddress = \"10.77.0.2:{port}\"\n");
    let backends: String = ports.iter().map(backend).collect();
    format!("[[pool]]\nname = \"web\"\n{more}\n{backends}")
}

/// The same, over the kernel's sockets.
fn over_kernel(pool: &str) -> String {
    pool.replace("address = ", "via = \"kernel\"\naddress = ")
}

/// The proxy of one test.
pub(crate) struct Proxy {
    pub(crate) server: Server,
    out: PathBuf,
}

impl Proxy {
    pub(crate) fn start(folder: &Folder, text: &str) -> Self {
        Self::start_with(folder, text, &[])
    }

    pub(crate) fn start_with(folder: &Folder, text: &str, flags: &[&str]) -> Self {
        let (file, out) = (folder.write("proxy.toml", text), folder.0.join("out.json"));
        let mut command = common::in_namespace("fw-a", &["proxy", "-c", &file, "--json"]);
        command.args(flags).stdout(std::fs::File::create(&out).unwrap());
        Self { server: Server::spawn(command), out }
    }

    /// What SIGUSR1 shows.
    pub(crate) fn status(&mut self) -> Value {
        self.server.signal(Signal::USR1);
        json(&self.server.line_with("\"counters\""))
    }

    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        self.status()["counters"][name].as_u64().unwrap_or_else(|| panic!("a counter {name}"))
    }

    pub(crate) fn reload(&mut self, folder: &Folder, text: &str) {
        folder.write("proxy.toml", text);
        self.server.signal(Signal::HUP);
        self.server.says("reloaded ");
    }

    /// SIGTERM, a good end, and what was counted.
    pub(crate) fn stop(mut self) -> Value {
        self.server.signal(Signal::TERM);
        self.ended()
    }

    fn ended(&mut self) -> Value {
        let (code, said) = self.server.end();
        assert_eq!(code, Some(0), "{said:?}");
        json(&std::fs::read_to_string(&self.out).unwrap())
    }
}

/// A program that is its own process in fw-b: a signal is for it, and it ends with the test.
fn alone(args: &[&str]) -> Background {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "fw-b", "setpriv", "--pdeathsig", "KILL", "--"]).args(args);
    Background::start(command)
}

/// nginx on a port of fw-b, in one process; `listen` and `locations` are its server's.
fn nginx(folder: &Folder, port: u16, listen: &str, locations: &str) -> Background {
    let settings = format!(
        "daemon off; master_process off; pid {0}/pid-{port}; error_log {0}/error-{port}; worker_rlimit_nofile 4096;\n\
         events {{ worker_connections 2048; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {0}; proxy_temp_path {0};\n\
         fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0}; reset_timedout_connection on;\n\
         server {{ listen 10.77.0.2:{port} backlog=1024 {listen}; root {0}; {locations} }} }}\n",
        folder.0.display()
    );
    let file = folder.write(&format!("nginx-{port}.conf"), &settings);
    let server = alone(&["nginx", "-p", &folder.path(""), "-c", &file]);
    let port = port.to_string();
    let connects = || within("fw-b", 5, &["nc", "-z", "10.77.0.2", &port]).status().unwrap().success();
    eventually("nginx listens", connects);
    server
}

fn answer(body: &str) -> String {
    format!("location / {{ return 200 \"{body}\"; }}")
}

fn curl(args: &[&str]) -> String {
    good(curl_command(args))
}

pub(crate) fn curl_command(args: &[&str]) -> Command {
    let mut all = vec!["curl", "--silent", "--show-error", "--fail", "--max-time", "600"];
    all.extend(args);
    within("fw-b", 700, &all)
}

/// curl's code for a connection that is refused.
fn is_refused(url: &str) -> bool {
    curl_command(&[url]).stderr(Stdio::null()).status().unwrap().code() == Some(7)
}

fn sha256(path: &str) -> String {
    let said = good(within("fw-b", 120, &["sha256sum", path]));
    said.split_whitespace().next().unwrap().to_owned()
}

fn wrk(header: &str, seconds: u32) -> Background {
    let (duration, url) = (format!("-d{seconds}"), format!("{URL}/"));
    Background::start(within("fw-b", 60, &["wrk", "-t1", "-c16", &duration, "--timeout", "20", "-H", header, &url]))
}

/// Requests were answered, each of them well.
fn assert_served(mut wrk: Background) {
    let (code, said, why) = wrk.end(LIMIT);
    assert_eq!(code, Some(0), "{said}{why}");
    let requests = said.lines().find_map(|line| line.split_once(" requests in")).map(|(count, _)| count.trim());
    assert!(requests.is_some_and(|count| count.parse::<u64>().unwrap() > 100), "{said}");
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
}

fn need_all() {
    for (program, package) in [("nginx", "nginx"), ("wrk", "wrk"), ("curl", "curl"), ("nc", "netcat-openbsd")] {
        need(program, package);
    }
}

/// Bytes that no compression or repetition hides mistakes in.
fn random_file(folder: &Folder, name: &str, bytes: u64) -> String {
    let path = folder.path(name);
    let script = format!("head -c {bytes} /dev/urandom > {path}");
    assert!(common::sh(&script).status.success());
    path
}

/// Files of 1 byte to 64 MiB, or as many bytes as `FOURWAVE_PROXY_BYTES` says, whole and in part.
#[test]
fn files_of_all_sizes_come_through_whole_and_in_part() {
    need_all();
    let (_lab, folder) = (lab(), Folder::new("files"));
    let _nginx = nginx(&folder, 8081, "", "");
    let log = folder.path("access.log");
    let proxy = Proxy::start(&folder, &format!("access-log = \"{log}\"\n{LISTENER}{}", pool("", &[8081])));
    let most = std::env::var("FOURWAVE_PROXY_BYTES").map_or(64 << 20, |n| n.parse().expect("a number"));
    let sizes = [1, 1000, (64 << 10) + 1, (1 << 20) - 7, most];
    for bytes in sizes {
        let file = random_file(&folder, "file", bytes);
        let (got, url) = (folder.path("got"), format!("{URL}/file"));
        curl(&["-o", &got, &url]);
        assert_eq!(sha256(&got), sha256(&file), "{bytes} bytes");
    }
    let file = std::fs::read(folder.path("file")).unwrap();
    let url = format!("{URL}/file");
    for (range, part) in
        [("0-0", 0..1), ("1000000-1999999", 1_000_000..2_000_000), ("-500", file.len() - 500..file.len())]
    {
        let got = folder.path("part");
        curl(&["-r", range, "-o", &got, &url]);
        assert!(std::fs::read(&got).unwrap() == file[part], "{range}");
    }
    // Three requests over one connection.
    let said = curl(&["-r", "0-9", "-o", "/dev/null", &url, "-o", "/dev/null", &url, "-w", "%{num_connects}\n"]);
    assert_eq!(said, "1\n0\n");
    let counted = proxy.stop();
    assert_eq!(counted["counters"]["accepted"], counted["counters"]["finished"]);
    let lines = std::fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count() as u64, counted["counters"]["accepted"].as_u64().unwrap());
    let whole = lines.lines().nth(4).unwrap();
    let bytes = whole.split(" bytes_to_client=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!((most..most + 1000).contains(&bytes.parse().unwrap()), "{whole}");
    assert!(
        lines.lines().all(|line| line.contains(" backend=web/10.77.0.2:8081 ") && line.ends_with(" end=done")),
        "{lines}"
    );
}

/// Both directions at once, and half-close, with each kind of upstream, and on the kernel alone: what comes back is compared by
/// SHA-256.
#[test]
fn bulk_both_ways_over_the_stack_and_the_kernel() {
    let (_lab, folder) = (lab(), Folder::new("bulk"));
    let (_far, _near) = (kernel_echo("fw-b", "10.77.0.2", "7"), kernel_echo("fw-a", "127.0.0.1", "7"));
    let kernel = pool("", &[7]).replace("10.77.0.2:7\"", "127.0.0.1:7\"\nvia = \"kernel\"");
    for (pool, flags) in [
        (pool("", &[7]), &[][..]),
        (kernel.clone(), &[]),
        (pool("", &[7]), &["--stack", "kernel"]),
        (kernel, &["--stack", "kernel", "--cores", "0,1"]),
    ] {
        let v6 = LISTENER.replace("web\"\na", "v6\"\na").replace("10.77.0.1:80", "[fd77::1]:80");
        let proxy = Proxy::start_with(&folder, &format!("{LISTENER}{v6}{pool}"), flags);
        bulk("10.77.0.1", "80", "56");
        bulk("fd77::1", "80", "8");
        let counted = proxy.stop();
        assert_eq!(counted["counters"]["bytes_to_backends"], 64 << 20);
        assert_eq!(counted["counters"]["bytes_to_clients"], 64 << 20);
        assert_eq!(counted["counters"]["accepted"], counted["counters"]["finished"]);
    }
}

/// One loop, one pool, a backend by each way: both answer, and each is met from the ports of its way. Those of the stack begin
/// where the kernel's end.
#[test]
fn one_backend_over_the_stack_and_one_over_the_kernel() {
    need_all();
    let (_lab, folder) = (lab(), Folder::new("ways"));
    let _servers = [(8081, "stack"), (8082, "kernel")]
        .map(|(port, way)| nginx(&folder, port, "", &answer(&format!("{way} $remote_addr $remote_port"))));
    let mixed = pool("", &[8081, 8082]).replace(":8082\"", ":8082\"\nvia = \"kernel\"");
    let proxy = Proxy::start(&folder, &format!("{LISTENER}{mixed}"));
    let answers: Vec<String> = (0..8).map(|_| curl(&["http://10.77.0.1"])).collect();
    for way in ["stack", "kernel"] {
        let ports = answers.iter().filter_map(|text| text.strip_prefix(&format!("{way} 10.77.0.1 ")));
        let ports: Vec<u16> = ports.map(|port| port.trim().parse().unwrap()).collect();
        assert_eq!(ports.len(), 4, "{answers:?}");
        assert!(ports.iter().all(|port| (*port >= 61_000) == (way == "stack")), "{way}: {ports:?}");
    }
    let counted = proxy.stop();
    assert_eq!((&counted["counters"]["accepted"], &counted["counters"]["finished"]), (&8.into(), &8.into()));
}

/// A laptop's proxy: without privileges, without an interface of its own; reloads and drains like the other.
#[test]
fn without_privileges_over_the_kernel() {
    need_all();
    let (_lab, folder, program) = (lab(), Folder::new("nobody"), common::for_nobody());
    let _servers = [(8081, "one"), (8082, "two")].map(|(port, body)| nginx(&folder, port, "", &answer(body)));
    let listener = LISTENER.replace(":80\"", ":8000\"");
    let first = format!("{listener}{}", pool("", &[8081]));
    let file = folder.write("proxy.toml", &first);
    let mut command = Command::new("ip");
    let program = program.path();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    command.args(["netns", "exec", "fw-a"]).args(nobody).arg(program).args(["proxy", "-c", &file, "--stack", "kernel"]);
    let mut proxy = Server::spawn(command);
    assert_eq!(curl(&["http://10.77.0.1:8000"]), "one");
    let more = listener.replace("web\"\na", "more\"\na").replace(":8000\"", ":8001\"");
    folder.write("proxy.toml", &format!("{more}{}", pool("", &[8082])));
    proxy.signal(Signal::HUP);
    proxy.says("reloaded ");
    eventually("the old listener is gone", || is_refused("http://10.77.0.1:8000"));
    assert_eq!(curl(&["http://10.77.0.1:8001"]), "two");
    proxy.signal(Signal::TERM);
    let (code, said) = proxy.end();
    assert_eq!(code, Some(0), "{said:?}");
}

#[test]
fn wrk_with_connections_that_are_kept_and_that_are_not() {
    need_all();
    let (_lab, folder) = (lab(), Folder::new("wrk"));
    let _servers = [8081, 8082].map(|port| nginx(&folder, port, "", &answer(&"x".repeat(1000))));
    let pool = pool("balance = \"least-connections\"", &[8081, 8082]);
    for pool in [over_kernel(&pool), pool] {
        let proxy = Proxy::start(&folder, &format!("{LISTENER}{pool}"));
        for header in ["Connection: keep-alive", "Connection: close"] {
            assert_served(wrk(header, 2));
        }
        let counted = proxy.stop();
        for backend in counted["pools"][0]["backends"].as_array().unwrap() {
            assert!(backend["connects"].as_u64().unwrap() > 10 && backend["failed"] == 0, "{counted}");
        }
        let trouble = ["backend_resets", "no_backend", "connects_failed", "queued", "peers_lost", "not_drained"];
        assert!(trouble.iter().all(|name| counted["counters"][name] == 0), "{counted}");
    }
}

/// A client that goes in the middle takes its backend's connection with it, and a backend that dies its client's.
fn abort_in_the_middle(name: &str, pool: &str) {
    need_all();
    let (_lab, folder) = (lab(), Folder::new(name));
    let server = nginx(&folder, 8081, "", "");
    random_file(&folder, "file", 64 << 20);
    let mut proxy = Proxy::start(&folder, &format!("{LISTENER}{pool}"));
    let url = format!("{URL}/file");
    let slow = || Background::start(curl_command(&["--limit-rate", "1M", "-o", "/dev/null", &url]));
    let until_active = |proxy: &mut Proxy, count: u32| {
        while proxy.status()["pools"][0]["backends"][0]["active"] != count {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut client = slow();
    until_active(&mut proxy, 1);
    // Who goes with bytes unread goes with a reset (RFC 2525 section 2.17), and else with a FIN.
    let unread = ["ss", "-Htn", "state", "established", "dport = :80"];
    eventually("the client has bytes to read", || {
        good(within("fw-b", 5, &unread)).split_whitespace().next().is_some_and(|bytes| bytes != "0")
    });
    client.signal(Signal::TERM);
    client.end(LIMIT);
    until_active(&mut proxy, 0);
    assert_eq!(proxy.counter("client_resets"), 1);
    let sockets = ["ss", "-Htn", "state", "established", "sport = :8081"];
    eventually("nginx has no connection", || good(within("fw-b", 5, &sockets)).is_empty());
    let mut client = slow();
    until_active(&mut proxy, 1);
    server.signal(Signal::KILL);
    // 18: the transfer is partial, 56: it was reset.
    let (code, _, why) = client.end(LIMIT);
    assert!(matches!(code, Some(18 | 56)), "{code:?} {why}");
    let counted = proxy.stop();
    assert_eq!(counted["counters"]["accepted"], counted["counters"]["finished"]);
}

#[test]
fn who_aborts_in_the_middle_aborts_the_other_side() {
    abort_in_the_middle("aborts", &pool("", &[8081]));
}

#[test]
fn who_aborts_in_the_middle_aborts_the_other_side_over_the_kernel() {
    abort_in_the_middle("aborts-kernel", &over_kernel(&pool("", &[8081])));
}

/// Two backends, of which one is always there, while the other is killed, ends in order, and comes back: all requests are
/// answered. They may be asked twice, so that what a dying one has taken is not lost.
fn backends_come_and_go(name: &str, change: impl Fn(&str) -> String) {
    need_all();
    let (_lab, folder) = (lab(), Folder::new(name));
    let body = answer(&"x".repeat(1000));
    let mut servers = [8081, 8082].map(|port| nginx(&folder, port, "", &body));
    // The one that is there is not to be taken for dead when it does not come to answer for some tenths of a second.
    let health = "replay = 16384\nhealth = { check = \"http\", interval = \"100ms\", rise = 1, fall = 8 }";
    let mut proxy = Proxy::start(&folder, &format!("{LISTENER}{}", change(&pool(health, &[8081, 8082]))));
    let load = wrk("Connection: close", 8);
    for (n, signal) in [Signal::KILL, Signal::QUIT, Signal::KILL, Signal::QUIT].into_iter().enumerate() {
        let (which, port) = if n % 2 == 0 { (0, 8081) } else { (1, 8082) };
        std::thread::sleep(Duration::from_millis(500));
        servers[which].signal(signal);
        servers[which].end(LIMIT);
        while proxy.status()["pools"][0]["backends"][which]["up"] != false {
            std::thread::sleep(Duration::from_millis(20));
        }
        servers[which] = nginx(&folder, port, "", &body);
        while proxy.status()["pools"][0]["backends"][which]["up"] != true {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_served(load);
    let counted = proxy.stop();
    assert_eq!(counted["counters"]["no_backend"], 0, "{counted}");
}

#[test]
fn no_request_is_lost_while_backends_come_and_go() {
    backends_come_and_go("killed", str::to_owned);
}

#[test]
fn no_request_is_lost_while_backends_come_and_go_over_the_kernel() {
    backends_come_and_go("killed-kernel", over_kernel);
}

/// Backends and listeners change while requests are under way; nobody loses a connection over it.
#[test]
fn a_reload_under_load_loses_nothing() {
    need_all();
    let (_lab, folder) = (lab(), Folder::new("reload"));
    let _servers = [(8081, "one"), (8082, "two")].map(|(port, body)| nginx(&folder, port, "", &answer(body)));
    let first = format!("{LISTENER}{}", pool("", &[8081]));
    let second = format!(
        "{LISTENER}{}{}",
        LISTENER.replace("web\"\na", "more\"\na").replace(":80\"", ":8000\""),
        pool("", &[8082])
    );
    let mut proxy = Proxy::start(&folder, &first);
    let (kept, closed) = (wrk("Connection: keep-alive", 4), wrk("Connection: close", 4));
    for _ in 0..3 {
        // The shards hear of it a moment later.
        proxy.reload(&folder, &second);
        eventually("the second pool answers", || curl(&[URL]) == "two");
        assert_eq!(curl(&["http://10.77.0.1:8000"]), "two");
        proxy.reload(&folder, &first);
        eventually("the first pool answers", || curl(&[URL]) == "one");
        eventually("the second listener is gone", || is_refused("http://10.77.0.1:8000"));
    }
    folder.write("proxy.toml", &first.replace("10.77.0.2", "backend.example"));
    proxy.server.signal(Signal::HUP);
    let said = proxy.server.line_with("not reloaded");
    assert!(said.contains("backend.example:8081") && said.contains("ADDRESS:PORT"), "{said}");
    folder.write("proxy.toml", &format!("buffer = 9999\n{first}"));
    proxy.server.signal(Signal::HUP);
    let said = proxy.server.line_with("not reloaded");
    assert!(said.contains("`buffer` can't be changed while the proxy runs"), "{said}");
    assert_eq!(curl(&[URL]), "one");
    assert_served(kept);
    assert_served(closed);
    let counted = proxy.stop();
    assert_eq!((&counted["counters"]["reloads"], &counted["counters"]["backend_resets"]), (&6.into(), &0.into()));
}

/// Of what a refused reload has taken before it was refused nothing is kept: the kernel's programs listen there.
#[test]
fn a_refused_reload_gives_back_the_ports_it_has_taken() {
    let (_lab, folder) = (lab(), Folder::new("given-back"));
    let _backend = kernel_echo("fw-b", "10.77.0.2", "8081");
    let more =
        |port: &str| LISTENER.replace("web\"\na", &format!("on-{port}\"\na")).replace(":80\"", &format!(":{port}\""));
    let first = format!("{LISTENER}{}", pool("", &[8081]));
    let mut proxy = Proxy::start(&folder, &first);
    let mut refused = |text: &str, why: &str| {
        folder.write("proxy.toml", text);
        proxy.server.signal(Signal::HUP);
        let said = proxy.server.line_with("not reloaded");
        assert!(said.contains(why), "{said}");
        let _kernel = kernel_echo("fw-a", "10.77.0.1", "8001");
        bulk("10.77.0.1", "8001", "1");
    };
    let both = format!("{}{}{first}", more("8001"), more("8002"));
    let in_the_way = kernel_echo("fw-a", "10.77.0.1", "8002");
    refused(&both, "10.77.0.1:8002 is in use");
    refused(&format!("access-log = \"/nowhere/at/all\"\n{}{first}", more("8001")), "/nowhere/at/all can't be opened");
    drop(in_the_way);
    eventually("the kernel's programs are gone", || {
        good(within("fw-a", 5, &["ss", "-Htan", "exclude", "time-wait", "( sport = :8001 or sport = :8002 )"]))
            .is_empty()
    });
    proxy.reload(&folder, &both);
    // The shard hears of it a moment later.
    eventually("the new listener answers", || !is_refused("http://10.77.0.1:8002"));
    bulk("10.77.0.1", "8001", "1");
    // An address can't take over from one of ours.
    folder.write("proxy.toml", &both.replace("10.77.0.1:8001\"", "0.0.0.0:8001\""));
    proxy.server.signal(Signal::HUP);
    let said = proxy.server.line_with("not reloaded");
    assert!(said.contains("0.0.0.0:8001 is in use by this process itself"), "{said}");
    bulk("10.77.0.1", "8001", "1");
    let counted = proxy.stop();
    assert_eq!((&counted["counters"]["reloads"], &counted["counters"]["reloads_refused"]), (&1.into(), &3.into()));
}

/// Over the kernel's sockets a port that somebody has is as much an error, and nothing has changed behind it.
#[test]
fn a_reload_over_the_kernel_with_a_port_that_is_taken_is_refused() {
    let (_lab, folder) = (lab(), Folder::new("taken"));
    let _backend = kernel_echo("fw-b", "10.77.0.2", "8081");
    let on =
        |port: &str| format!("[[listener]]\nname = \"on-{port}\"\naddress = \"10.77.0.1:{port}\"\npool = \"web\"\n");
    let first = format!("{}{}", on("8001"), over_kernel(&pool("", &[8081])));
    let both = format!("{}{first}", on("8002"));
    let mut proxy = Proxy::start_with(&folder, &first, &["--stack", "kernel"]);
    let in_the_way = kernel_echo("fw-a", "10.77.0.1", "8002");
    folder.write("proxy.toml", &both);
    proxy.server.signal(Signal::HUP);
    let said = proxy.server.line_with("not reloaded");
    assert!(said.contains("10.77.0.1:8002 is in use"), "{said}");
    bulk("10.77.0.1", "8001", "1");
    // An address can't take over from one of ours.
    folder.write("proxy.toml", &first.replace("10.77.0.1:8001\"", "0.0.0.0:8001\""));
    proxy.server.signal(Signal::HUP);
    let said = proxy.server.line_with("not reloaded");
    assert!(said.contains("0.0.0.0:8001 is in use by this process itself"), "{said}");
    bulk("10.77.0.1", "8001", "1");
    drop(in_the_way);
    eventually("the port is free", || is_refused("http://10.77.0.1:8002"));
    proxy.reload(&folder, &both);
    // The shard hears of it a moment later.
    eventually("the new listener answers", || !is_refused("http://10.77.0.1:8002"));
    bulk("10.77.0.1", "8002", "1");
    let counted = proxy.stop();
    assert_eq!((&counted["counters"]["reloads"], &counted["counters"]["reloads_refused"]), (&1.into(), &2.into()));
}

/// A backend that resets before it was told anything, over the kernel's sockets, where to send is to meet the reset: what it was not
/// given goes to another one. (The proxy stands still while both happen, so that it meets them in one turn.)
#[test]
fn what_a_backend_was_not_given_goes_to_another_over_the_kernel() {
    let (_lab, folder) = (lab(), Folder::new("not-given"));
    let [resets, serves] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let backend = |of: &TcpListener| format!("[[pool.backend]]\naddress = \"{}\"\n", of.local_addr().unwrap());
    let text = format!(
        "{}[[pool]]\nname = \"web\"\n{}{}",
        LISTENER.replace("10.77.0.1:80", "127.0.0.1:8000"),
        backend(&resets),
        backend(&serves)
    );
    let mut command = Command::new(common::FOURWAVE);
    command.args(["proxy", "--stack", "kernel", "-c", &folder.write("proxy.toml", &text)]);
    let mut proxy = Server::spawn(command);
    let mut client = TcpStream::connect("127.0.0.1:8000").unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let (backend, _) = resets.accept().unwrap();
    let relays = || proxy.connections().iter().filter(|row| row["state"] == "ESTABLISHED").count() == 2;
    eventually("both sides are connected", relays);
    proxy.signal(Signal::STOP);
    client.write_all(b"hello").unwrap();
    rustix::net::sockopt::set_socket_linger(&backend, Some(Duration::ZERO)).unwrap();
    drop(backend);
    proxy.signal(Signal::CONT);
    serves.set_nonblocking(true).unwrap();
    let other = std::cell::OnceCell::new();
    eventually("the other is connected to", || serves.accept().is_ok_and(|(to, _)| other.set(to).is_ok()));
    let mut other = other.into_inner().unwrap();
    other.set_nonblocking(false).unwrap();
    let mut heard = [0; 5];
    other.set_read_timeout(Some(LIMIT)).unwrap();
    other.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    other.write_all(b"good").unwrap();
    drop(other);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "good");
    drop(client);
    proxy.signal(Signal::TERM);
    let (code, said) = proxy.end();
    assert_eq!(code, Some(0), "{said:?}");
}

/// SIGTERM: nobody is let in any more, who is in comes to its end, and then the proxy does.
#[test]
fn a_drain_lets_transfers_end() {
    need_all();
    let (_lab, folder) = (lab(), Folder::new("drain"));
    let _nginx = nginx(&folder, 8081, "", "");
    let file = random_file(&folder, "file", 4 << 20);
    let mut proxy = Proxy::start(&folder, &format!("drain-time = \"60s\"\n{LISTENER}{}", pool("", &[8081])));
    let (url, got) = (format!("{URL}/file"), folder.path("got"));
    let mut client = Background::start(curl_command(&["--limit-rate", "2M", "-o", &got, &url]));
    while proxy.status()["listeners"][0]["active"] != 1 {
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.server.signal(Signal::TERM);
    eventually("nobody is let in", || is_refused(URL));
    let (code, _, why) = client.end(LIMIT);
    assert_eq!(code, Some(0), "{why}");
    assert_eq!(sha256(&got), sha256(&file));
    let counted = proxy.ended();
    assert_eq!(counted["counters"]["not_drained"], 0, "{counted}");
}

/// Who is still there when the time to drain is over, or at the second SIGTERM, is cut off; the log says so.
fn cut_off(name: &str, drain_time: &str, again: bool) {
    need_all();
    let (_lab, folder) = (lab(), Folder::new(name));
    let _echo = kernel_echo("fw-b", "10.77.0.2", "7");
    let log = folder.path("log");
    let text = format!("access-log = \"{log}\"\ndrain-time = \"{drain_time}\"\n{LISTENER}{}", pool("", &[7]));
    let mut proxy = Proxy::start(&folder, &text);
    let mut client = within("fw-b", 60, &["nc", "10.77.0.1", "80"]);
    let _client = Background::of(client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    while proxy.status()["pools"][0]["backends"][0]["active"] != 1 {
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.server.signal(Signal::TERM);
    if again {
        // It has seen the first.
        eventually("nobody is let in", || is_refused(URL));
        proxy.server.signal(Signal::TERM);
    }
    let counted = proxy.ended();
    assert_eq!(counted["counters"]["not_drained"], 1);
    assert!(std::fs::read_to_string(&log).unwrap().trim_end().ends_with(" end=drained"));
}

#[test]
fn a_drain_takes_no_longer_than_it_may() {
    cut_off("drained", "500ms", false);
}

#[test]
fn a_drain_can_be_cut_short() {
    cut_off("short", "10m", true);
}

/// nginx takes the headers of both versions, and curl sends one.
#[test]
fn proxy_protocol_to_nginx_and_from_curl() {
    need_all();
    let (_lab, folder) = (lab(), Folder::new("header"));
    let _nginx = nginx(&folder, 8081, "proxy_protocol", &answer("$proxy_protocol_addr:$proxy_protocol_port"));
    for version in ["v1", "v2"] {
        // The interval is the most that a check may take.
        let health = "health = { check = \"http\", interval = \"1s\" }";
        let more = pool(&format!("send-proxy = \"{version}\"\n{health}"), &[8081]);
        let listeners = format!(
            "{LISTENER}{}proxy-protocol = \"v1\"\n",
            LISTENER.replace("web\"\na", "more\"\na").replace(":80\"", ":8000\"")
        );
        let mut proxy = Proxy::start(&folder, &format!("{listeners}{more}"));
        let said = curl(&["--local-port", "40000-40999", URL, "-w", " %{local_ip}:%{local_port}"]);
        let (told, own) = said.split_once(' ').unwrap();
        assert_eq!(told, own, "{version}");
        let said = curl(&["--haproxy-protocol", "http://10.77.0.1:8000", "-w", " %{local_ip}:%{local_port}"]);
        let (told, own) = said.split_once(' ').unwrap();
        assert_eq!(told, own, "{version}");
        // Without its header it is reset.
        assert_eq!(curl_command(&["http://10.77.0.1:8000"]).stderr(Stdio::null()).status().unwrap().code(), Some(56));
        while proxy.counter("checks") < 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let counted = proxy.stop();
        assert_eq!(
            (&counted["counters"]["header_malformed"], &counted["counters"]["checks_failed"]),
            (&1.into(), &0.into())
        );
    }
}

/// Four shards have one limit, one queue, and one health.
#[test]
fn limits_are_those_of_all_shards() {
    need_all();
    let _lab = common::LabTurn::take();
    common::ok(&["lab", "up", "--queues", "4"]);
    let folder = Folder::new("limits");
    let _nginx = nginx(&folder, 8081, "", &answer("x"));
    let limited = pool("", &[8081]).replace(":8081\"", ":8081\"\nmax-connections = 2");
    let proxy = Proxy::start(&folder, &format!("{LISTENER}{limited}"));
    assert_served(wrk("Connection: close", 3));
    let counted = proxy.stop();
    assert!(counted["counters"]["queued"].as_u64().unwrap() > 10, "{counted}");
    assert_eq!(counted["counters"]["queue_timed_out"], 0, "{counted}");
    assert_eq!(counted["pools"][0]["backends"][0]["active"], 0);
}

/// `--check` says what is wrong with a file, and nothing is started.
#[test]
fn a_file_can_be_checked() {
    let folder = Folder::new("check");
    let run = |path: &str| common::run(&["proxy", "-c", path, "--check"]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/proxy.toml");
    let output = run(example.to_str().unwrap());
    assert!(output.status.success(), "{}", common::stderr(&output));
    assert!(text(&output.stdout).contains("is good: 2 listeners, 2 pools, 4 backends"), "{}", text(&output.stdout));
    for (text, words) in [
        (
            format!("{LISTENER}{}", pool("balance = \"random\"", &[1])),
            "`balance = \"random\"` is not allowed: round-robin",
        ),
        (format!("{LISTENER}{}[stack]\nqueue = 1\n", pool("", &[1])), "[stack]: unknown field `queue`"),
        (format!("{LISTENER}{}[stack]\nqueues = -1\n", pool("", &[1])), "expected a string in `queues`"),
        ("nonsense".into(), "line 1: "),
    ] {
        let file = folder.write("wrong.toml", &text);
        let output = run(&file);
        let said = common::stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&file) && said.contains(words), "{said}");
    }
}
