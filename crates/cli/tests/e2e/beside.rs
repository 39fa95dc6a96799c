//! The stack and the kernel on one interface and one address, both at work: neither disturbs the other.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::capture::Capture;
use crate::common::{Background, LabTurn, SOON, json, ok};
use crate::connections::counter;
use crate::support::{
    Server, assert_no_program, bulk, eventually, fourwave, good, kernel_echo, need, peer, peer_for, text, within,
};

/// Counters of what must not happen to connections that nobody disturbs.
const TROUBLE: [&str; 3] = ["resets_out", "no_endpoint", "not_our_address"];

/// One family's addresses of the lab.
#[derive(Clone, Copy)]
struct Family {
    a: &'static str,
    b: &'static str,
    /// With `ip` and `ping`.
    flag: &'static str,
}

const V4: Family = Family { a: "10.77.0.1", b: "10.77.0.2", flag: "-4" };
const V6: Family = Family { a: "fd77::1", b: "fd77::2", flag: "-6" };

/// An address as it stands before a port.
fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// The lab with so many queues.
fn lab(queues: usize) -> LabTurn {
    let turn = LabTurn::take();
    ok(&["lab", "up", "--queues", &queues.to_string()]);
    turn
}

/// nginx on port 8080, until it is dropped: a kilobyte for every GET.
fn nginx(namespace: &str, address: &str) -> Background {
    let folder = Path::new("/run").join(format!("nginx-{namespace}"));
    std::fs::create_dir_all(&folder).unwrap();
    let (folder, host, body) = (folder.display(), host(address), "x".repeat(1000));
    let settings = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr; worker_rlimit_nofile 4096;\n\
         events {{ worker_connections 2048; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};\n\
         fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
         server {{ listen {host}:8080 backlog=1024; location / {{ return 200 \"{body}\"; }} }} }}\n"
    );
    let path = format!("{folder}/nginx.conf");
    std::fs::write(&path, settings).unwrap();
    let server = Background::start(within(namespace, 60, &["nginx", "-p", &folder.to_string(), "-c", &path]));
    let url = format!("http://{host}:8080/");
    let answers = || within(namespace, 5, &["curl", "-gsf", "-o", "/dev/null", &url]).status().unwrap().success();
    eventually("nginx answers", answers);
    server
}

/// A number of `/proc/net/snmp`'s line about TCP, of both families, such as how often the kernel sent a reset.
fn snmp(namespace: &str, name: &str) -> u64 {
    let shown = good(within(namespace, 5, &["cat", "/proc/net/snmp"]));
    let mut lines = shown.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(found, _)| *found == name).unwrap().1.parse().unwrap()
}

/// Waits for the good end of what runs beside others; what it printed.
fn done(mut program: Background) -> String {
    let (code, said, why) = program.end(2 * SOON);
    assert_eq!(code, Some(0), "{said}{why}");
    said
}

/// A shell loop, until it has run for so many seconds; it ends at the first failure.
fn again_and_again(namespace: &str, seconds: u32, pause: &str, script: &str) -> Background {
    let script = format!(
        "end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do {script} || exit 1; sleep {pause}; done"
    );
    Background::start(within(namespace, 60, &["sh", "-c", &script]))
}

fn wrk(address: &str, header: &str) -> Command {
    let url = format!("http://{}:8080/", host(address));
    within("fw-b", 60, &["wrk", "-t1", "-c16", "-d3", "--timeout", "20", "-H", header, &url])
}

/// Requests were answered, each of them well.
fn assert_served(said: &str) {
    let requests = said.lines().find_map(|line| line.split_once(" requests in")).map(|(count, _)| count.trim());
    assert!(requests.is_some_and(|count| count.parse::<u64>().unwrap() > 10), "{said}");
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
}

/// Load on port 7, which is ours, and on port 8080, which is the kernel's. Meanwhile somebody types into a connection of port
/// 22, pings, forgets the neighbour again and again, and the kernel opens connections of its own: to the far end, from the
/// shared address.
fn load(family: Family) {
    let target = format!("{}:7", host(family.a));
    let kernel_client = ["ping", &target, "--stack", "kernel", "--connections", "16", "--seconds", "3"];
    let kernel_client = [&kernel_client[..], &["--timeout-s", "20", "--json"]].concat();
    let echoes = Background::start(fourwave("fw-b", &kernel_client));
    let kept = Background::start(wrk(family.a, "Connection: keep-alive"));
    let closed = Background::start(wrk(family.a, "Connection: close"));
    let typed = Background::start(peer("fw-b", "interactive", &[family.a, "22", "3"]));
    let pings = ["ping", family.flag, "-n", "-c", "30", "-i", "0.1", "-W", "10", family.a];
    let pings = Background::start(within("fw-b", 60, &pings));
    // Without `nud` it would also take entries that are being resolved, and connections that wait for them would fail.
    let flush = |state: &str| format!("ip {} neigh flush dev fw-b0 nud {state}", family.flag);
    let flush = format!("{} && {}", flush("reachable"), flush("stale"));
    let forgets = again_and_again("fw-b", 3, "0.2", &flush);
    let get = format!("curl -gsf -o /dev/null http://{}:8080/", host(family.b));
    let own = again_and_again("fw-a", 3, "0.02", &get);
    bulk(family.a, "7", "16");
    let echoes = json(&done(echoes));
    assert!(echoes["errors"] == 0 && echoes["count"].as_u64().unwrap() > 16, "{echoes}");
    assert_served(&done(kept));
    assert_served(&done(closed));
    assert!(done(typed).trim().parse::<u32>().unwrap() > 3);
    let pings = done(pings);
    assert!(pings.contains(" 0% packet loss"), "{pings}");
    done(forgets);
    done(own);
}

/// nginx and the stack under [`load`] on one address: the kernel never sees a frame of ours, nor the stack one of nginx's.
fn all_at_once(family: Family, queues: usize) {
    let programs =
        [("nginx", "nginx"), ("wrk", "wrk"), ("curl", "curl"), ("ping", "iputils-ping"), ("tcpdump", "tcpdump")];
    for (program, package) in programs {
        need(program, package);
    }
    let _lab = lab(queues);
    let (near, far) = (nginx("fw-a", family.a), nginx("fw-b", family.b));
    let shell = kernel_echo("fw-a", family.a, "22");
    let server = Server::start(&format!("echo --listen {}:7", host(family.a)));
    // How many resets the kernel sends doesn't tell: some are about its own port. What wrk ends with nginx acknowledges, and
    // sends its FIN, from two processors, and over veth the later one may be the first to arrive: TIME-WAIT answers both, and
    // the second answer finds nobody. Nor does a FIN of wrk's, sent again, that comes behind its reset. It is so without us.
    let strayed = Capture::of_the_kernel_beside_us(|| load(family)).lines();
    assert!(strayed.is_empty(), "the kernel had {} of our packets:\n{}", strayed.len(), strayed.join("\n"));
    // The client ends with an answer under way on each of its connections, which is a reset. On two busy processors what it
    // sent before may come behind that, and finds a listener and no connection.
    let late = counter(&server, "listen_reset");
    let counted = TROUBLE.map(|name| (name, counter(&server, name)));
    assert_eq!(counted, [("resets_out", late), ("no_endpoint", 0), ("not_our_address", 0)]);
    assert!(late <= 16 && counter(&server, "failed") <= 16);
    server.assert_empty();
    server.stop();
    assert_no_program();
    drop((near, far, shell));
}

#[test]
fn nginx_and_the_stack_under_load_on_one_address() {
    all_at_once(V4, 1);
}

#[test]
fn nginx_and_the_stack_under_load_on_one_ipv6_address_and_four_queues() {
    all_at_once(V6, 4);
}

/// Bulk of the kernel's both ways, and of the stack's, through the same queue.
#[test]
fn iperf3_beside_a_transfer_of_ours() {
    need("iperf3", "iperf3");
    let _lab = lab(1);
    let listens = |port| text(&within("fw-a", 5, &["ss", "-Hltn"]).output().unwrap().stdout).contains(port);
    let servers = ["5201", "5202"].map(|port| {
        let server = Background::start(within("fw-a", 60, &["iperf3", "-s", "-B", V4.a, "-p", port]));
        eventually("iperf3 listens", || listens(port));
        server
    });
    let server = Server::echo();
    let clients = [("5201", "--no-delay"), ("5202", "--reverse")].map(|(port, way)| {
        let args = ["iperf3", "-c", V4.a, "-p", port, way, "-n", "48M", "-J"];
        Background::start(within("fw-b", 60, &args))
    });
    bulk(V4.a, "7", "48");
    for client in clients {
        let report = json(&done(client));
        assert!(report["end"]["sum_sent"]["bytes"].as_u64().unwrap() >= 48 << 20, "{}", report["end"]);
    }
    let counted = TROUBLE.map(|name| (name, counter(&server, name)));
    assert_eq!(counted, TROUBLE.map(|name| (name, 0)));
    server.assert_empty();
    server.stop();
    drop(servers);
}

/// The kernel and the stack connect to the same server from the same address, thousands of times: they never meet.
#[test]
fn connections_of_both_to_one_server() {
    let _lab = lab(1);
    let far = Background::server(peer_for("fw-b", 600, "echo_server_epoll", &[V4.b, "7"]));
    let kernel = Background::start(peer("fw-a", "waves", &[V4.b, "7", "3000", "200", V4.a]));
    let ours = ["ping", "10.77.0.2:7", "--connections", "1000", "--count", "20000", "--timeout-s", "20", "--json"];
    let ours = json(&good(fourwave("fw-a", &ours)));
    assert_eq!((&ours["errors"], &ours["count"]), (&Value::from(0), &Value::from(20_000)));
    done(kernel);
    drop(far);
}

/// The connections in fw-b that the kernel has, but for those that listen or are in TIME-WAIT.
fn of_the_kernel() -> usize {
    let shown = good(within("fw-b", 20, &["ss", "-Htan", "state", "connected", "exclude", "time-wait"]));
    shown.lines().count()
}

/// How many connections each way: few in `make test`, and as many as `FOURWAVE_CONNECTIONS` says.
fn connections() -> u32 {
    std::env::var("FOURWAVE_CONNECTIONS").map_or(4000, |count| count.parse().expect("FOURWAVE_CONNECTIONS is a number"))
}

/// From the kernel, up to a thousand at once, and none is left. Several addresses, since one has 28,000 ports.
fn from_the_kernel(queues: usize) {
    let _lab = lab(queues);
    let sources: Vec<_> = (10..16).map(|last| format!("10.77.0.{last}")).collect();
    for source in &sources {
        good(within("fw-b", 5, &["ip", "addr", "add", &format!("{source}/24"), "dev", "fw-b0"]));
    }
    let server = Server::echo();
    let count = connections();
    let number = count.to_string();
    let mut args = vec![V4.a, "7", &number, "1000"];
    args.extend(sources.iter().map(String::as_str));
    let waves = peer_for("fw-b", 600, "waves", &args).output().unwrap();
    let counted = ok(&["ss", "--counters", "--pid", &server.pid().to_string()]);
    assert!(waves.status.success(), "{}\n{counted}", text(&waves.stderr));
    let seconds = text(&waves.stdout);
    println!("{count} connections from the kernel to {queues} shard(s) in {} s", seconds.trim());
    eventually("none is left", || server.connections().is_empty());
    assert_eq!(counter(&server, "accepted"), u64::from(count));
    assert_eq!(counter(&server, "failed"), 0);
    assert_eq!(snmp("fw-a", "OutRsts"), 0);
    server.stop();
}

#[test]
fn thousands_of_connections_from_the_kernel_to_four_shards() {
    from_the_kernel(4);
}

/// To the kernel, as many at once as there are ports, one exchange on each.
fn to_the_kernel(queues: usize) {
    let _lab = lab(queues);
    let far = Background::server(peer_for("fw-b", 600, "echo_server_epoll", &[V4.b, "7"]));
    let began = std::time::Instant::now();
    let mut left = connections();
    while left > 0 {
        let some = left.min(4000);
        let count = some.to_string();
        let args = ["ping", "10.77.0.2:7", "--connections", &count, "--count", &count, "--warmup", "0"];
        let args = [&args[..], &["--interval-ms", "3600000", "--timeout-s", "20", "--json"]].concat();
        let report: Value = json(&good(fourwave("fw-a", &args)));
        assert_eq!((&report["errors"], &report["count"]), (&Value::from(0), &Value::from(some)), "{report}");
        eventually("the kernel has none left", || of_the_kernel() == 0);
        left -= some;
    }
    let (count, seconds) = (connections(), began.elapsed().as_secs_f64());
    println!("{count} connections to the kernel from {queues} shard(s) in {seconds:.2} s");
    // (Resets are not counted: what the kernel has not closed a second after `ping` has ended is reset, and it sends a FIN and
    // the ACK before it from two processors, which veth may swap: TIME-WAIT answers the ACK, as Linux does, and finds nobody.)
    drop(far);
}

#[test]
fn thousands_of_connections_from_four_shards_to_the_kernel() {
    to_the_kernel(4);
}
