//! `--metrics`: what Prometheus is told is what was sent, in its own checker's words.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;

use crate::common::{self, Background};
use crate::support::{Server, assert_refused, eventually, fourwave, good, lab, need, peer, refused, text, within};

pub(crate) const AT: &str = "127.0.0.1:9464";

fn get(path: &str, more: &[&str]) -> String {
    let url = format!("http://{AT}{path}");
    let mut all = vec!["curl", "--silent", "--show-error", "--fail", "--max-time", "60"];
    all.extend(more);
    all.push(&url);
    good(within("fw-a", 60, &all))
}

/// What is told now.
pub(crate) struct Told(String);

impl Told {
    pub(crate) fn now() -> Self {
        Self(get("/metrics", &[]))
    }

    /// The sum of a metric's samples that have these labels, of all shards.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut values = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (inside, value) = rest.rsplit_once(' ')?;
            let is_its = inside.is_empty() || inside.starts_with('{');
            let has = |(label, value): &(&str, &str)| inside.contains(&format!("{label}=\"{value}\""));
            (is_its && labels.iter().all(has)).then(|| value.parse::<f64>().unwrap())
        });
        let first = values.next().unwrap_or_else(|| panic!("no {name} {labels:?} in {}", self.0));
        values.fold(first, |sum, value| sum + value)
    }

    pub(crate) fn count(&self, name: &str) -> f64 {
        self.sum(name, &[])
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
    }

    /// promtool has nothing to say about it.
    fn check(&self) -> &Self {
        need("promtool", "prometheus");
        let mut promtool = std::process::Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = promtool.spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.0.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        self
    }
}

/// Metrics of docs/METRICS.md.
fn documented() -> BTreeSet<&'static str> {
    let manual = include_str!("../../../../docs/METRICS.md");
    manual.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

/// Five connections that bring 200,000 bytes each, of which nothing is dropped.
#[test]
fn values_are_those_of_the_traffic() {
    let _lab = lab();
    let server = Server::start(&format!("discard --listen 10.77.0.1:9 --metrics {AT}"));
    let before = Told::now();
    before.check();
    assert_eq!(before.count("fourwave_connections_accepted_total"), 0.0);
    let script = "import socket\n\
        open_ = [socket.create_connection(('10.77.0.1', 9), timeout=60) for _ in range(5)]\n\
        print('open', flush=True)\ninput()\n\
        for s in open_:\n    s.sendall(bytes(200000)); s.shutdown(socket.SHUT_WR)\n    assert s.recv(1) == b''\n";
    let mut client = within("fw-b", 60, &["python3", "-c", script]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    eventually("five connections are open", || {
        Told::now().sum("fourwave_connections", &[("state", "ESTABLISHED")]) == 5.0
    });
    assert_eq!(Told::now().sum("fourwave_table_entries", &[("table", "connections")]), 5.0);
    client.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(client.wait().unwrap().success());
    eventually("all are closed", || Told::now().count("fourwave_connections_closed_total") == 5.0);
    let told = Told::now();
    told.check();
    assert_eq!(told.count("fourwave_connections_accepted_total"), 5.0);
    assert_eq!(told.count("fourwave_tcp_half_opened_total"), 5.0);
    assert_eq!(told.count("fourwave_connections"), 0.0, "TIME-WAIT is the client's");
    for quiet in ["fourwave_resets_sent_total", "fourwave_connections_failed_total", "fourwave_pool_used_bytes"] {
        assert_eq!(told.count(quiet), 0.0, "{quiet}");
    }
    // Headers are less than a tenth of segments of 1448 bytes, SYNs and FINs among them.
    let bytes = told.count("fourwave_device_received_bytes_total");
    assert!((1e6..1.1e6).contains(&bytes), "{bytes}");
    // What the XDP program sends here arrives.
    let packets = told.count("fourwave_device_received_packets_total");
    assert_eq!(told.sum("fourwave_xdp_verdicts_total", &[("verdict", "redirect_endpoint")]), packets);
    assert_eq!(told.count("fourwave_stack_received_frames_total"), packets);
    assert_eq!(told.count("fourwave_tcp_received_segments_total"), packets - 5.0, "the SYNs");
    let of_loop = |state| told.sum("fourwave_loop_seconds_total", &[("state", state)]);
    assert!(of_loop("busy") > 0.0 && of_loop("asleep") > 0.0);
    assert!(told.sum("fourwave_loop_turn_seconds_count", &[("state", "busy")]) > 0.0);
    for ring in ["rx", "tx", "completion"] {
        let (used, size) = (told.sum("fourwave_ring_descriptors", &[("ring", ring)]), 2048.0);
        assert!(
            used <= size && told.sum("fourwave_ring_size_descriptors", &[("ring", ring)]) == size,
            "{ring}: {used}"
        );
    }
    assert!(told.sum("fourwave_ring_descriptors", &[("ring", "fill")]) > 0.0);
    assert_eq!(get("/healthz", &[]), "ok\n");
    let head = get("/metrics", &["--head"]);
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    server.signal(Signal::INT);
}

/// As `ss` has it in its own test: the peer has closed and reads nothing, so the server can't.
#[test]
fn close_wait_and_time_wait_are_gauges() {
    let _lab = lab();
    let server = Server::start(&format!("echo --listen 10.77.0.1:7 --metrics {AT}"));
    let state = |state| Told::now().sum("fourwave_connections", &[("state", state)]);
    let mut client = peer("fw-b", "stubborn", &["10.77.0.1", "7"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    eventually("CLOSE-WAIT, with data that is kept", || {
        state("CLOSE-WAIT") == 1.0 && Told::now().count("fourwave_pool_used_bytes") > 0.0
    });
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
    eventually("it is over", || state("CLOSE-WAIT") == 0.0 && Told::now().count("fourwave_pool_used_bytes") == 0.0);
    drop(server);
    // Who closes first has the record.
    let _server = Server::start(&format!("http --close --listen 10.77.0.1:80 --metrics {AT}"));
    good(within("fw-b", 60, &["curl", "--silent", "--fail", "--output", "/dev/null", "http://10.77.0.1/"]));
    eventually("TIME-WAIT", || state("TIME-WAIT") == 1.0);
    assert_eq!(Told::now().sum("fourwave_table_entries", &[("table", "time_wait")]), 1.0);
}

/// An owned address is the stack's alone, so are its resets; a SYN of nobody's leaves a cookie and nothing else.
#[test]
fn cookies_resets_and_refusals_have_their_causes() {
    let _lab = lab();
    let listen = "echo --listen 10.77.0.9:7 --interface fw-a0 --address 10.77.0.9/24 --dad-probes 0";
    let _server = Server::start(&format!("{listen} --syn-cookies always --metrics {AT}"));
    good(peer("fw-b", "stray_syn", &["10.77.0.77", "10.77.0.9", "7"]));
    assert_refused("10.77.0.9", "8");
    let script = "import socket, struct\n\
        s = socket.create_connection(('10.77.0.9', 7), timeout=60)\n\
        s.sendall(b'x'); assert s.recv(1) == b'x'\n\
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\ns.close()\n";
    good(within("fw-b", 60, &["python3", "-c", script]));
    eventually("the reset has come", || {
        Told::now().sum("fourwave_connections_failed_total", &[("cause", "reset")]) == 1.0
    });
    let told = Told::now();
    told.check();
    assert_eq!(told.count("fourwave_syn_cookies_sent_total"), 2.0);
    assert_eq!(told.count("fourwave_syn_cookies_accepted_total"), 1.0);
    assert_eq!(told.sum("fourwave_connections", &[("state", "SYN-RECEIVED")]), 0.0);
    assert_eq!(told.sum("fourwave_resets_sent_total", &[("cause", "no_endpoint")]), 1.0);
    assert_eq!(told.count("fourwave_resets_sent_total"), 1.0);
    assert_eq!(told.sum("fourwave_drops_total", &[("reason", "no_endpoint")]), 1.0);
    assert_eq!(told.count("fourwave_connections_failed_total"), 1.0);
}

/// One SYN that nobody stands behind is one record, and one connection in SYN-RECEIVED.
#[test]
fn a_half_open_connection_is_counted_once() {
    let _lab = lab();
    let _server = Server::start(&format!("echo --listen 10.77.0.1:7 --syn-cookies never --metrics {AT}"));
    good(peer("fw-b", "stray_syn", &["10.77.0.77", "10.77.0.1", "7"]));
    eventually("the SYN is there", || Told::now().count("fourwave_tcp_half_opened_total") == 1.0);
    let told = Told::now();
    assert_eq!(told.sum("fourwave_connections", &[("state", "SYN-RECEIVED")]), 1.0);
    assert_eq!(told.count("fourwave_connections"), 1.0);
    assert_eq!(told.sum("fourwave_table_entries", &[("table", "half_open")]), 1.0);
}

/// What the peer says is lost from some time on: a probe of the tail first, then timeouts.
#[test]
fn what_is_sent_again_is_counted() {
    let _lab = lab();
    let _server = Server::start(&format!("chargen --listen 10.77.0.1:19 --min-rto 0.01 --metrics {AT}"));
    let script = "import socket, subprocess\n\
        s = socket.create_connection(('10.77.0.1', 19), timeout=60)\n\
        s.recv(1000)\n\
        subprocess.run(['ip', 'route', 'add', 'blackhole', '10.77.0.1/32'], check=True)\n\
        while True: s.recv(1 << 20)\n";
    let _client = Background::start(within("fw-b", 60, &["python3", "-c", script]));
    eventually("timeouts", || Told::now().count("fourwave_tcp_retransmission_timeouts_total") >= 3.0);
    let told = Told::now();
    told.check();
    // Each timeout sends one segment again at the least.
    let timeouts = told.count("fourwave_tcp_retransmission_timeouts_total");
    assert!(told.count("fourwave_tcp_retransmitted_segments_total") >= timeouts);
    assert!(told.count("fourwave_tcp_retransmitted_segments_total") < told.count("fourwave_tcp_sent_segments_total"));
}

/// The proxy has connections of both kinds: so it has every metric that there is, and each is in the manual.
#[test]
fn the_manual_has_every_metric_and_no_other() {
    let _lab = lab();
    let file = common::temporary("proxy.toml");
    let config = "[[listener]]\nname = \"web\"\naddress = \"10.77.0.1:80\"\npool = \"web\"\n\
        [[pool]]\nname = \"web\"\n[[pool.backend]]\naddress = \"10.77.0.2:8080\"\n";
    std::fs::write(&file, config).unwrap();
    let path = file.to_str().unwrap();
    let proxy = common::in_namespace("fw-a", &["proxy", "-c", path, "--interface", "fw-a0", "--metrics", AT]);
    let _proxy = Server::spawn(proxy);
    let backend = fourwave("fw-b", &["serve", "http", "--stack", "kernel", "--listen", "10.77.0.2:8080"]);
    let _backend = Background::server(backend);
    good(within("fw-b", 60, &["curl", "--silent", "--fail", "--output", "/dev/null", "http://10.77.0.1/"]));
    eventually("it is over", || Told::now().count("fourwave_proxy_connections_finished_total") == 1.0);
    let told = Told::now();
    told.check();
    // One shard hands nothing over, and has no queue for that, but counts it.
    assert_eq!(told.names(), documented());
    assert!(told.0.contains("\nfourwave_proxy_listener_accepted_total{listener=\"web\"} 1\n"), "{}", told.0);
    assert_eq!(told.count("fourwave_proxy_backend_up"), 1.0);
    assert_eq!(told.count("fourwave_connections_accepted_total"), 1.0);
    assert!(told.count("fourwave_proxy_to_clients_bytes_total") > 64.0);
    std::fs::remove_file(file).unwrap();
}

#[test]
fn over_the_kernels_sockets_there_are_its_connections_and_the_loops() {
    let _lab = lab();
    let _server = Server::start(&format!("http --listen 10.77.0.1:80 --stack kernel --metrics {AT}"));
    for _ in 0..3 {
        good(within("fw-b", 60, &["curl", "--silent", "--fail", "--output", "/dev/null", "http://10.77.0.1/"]));
    }
    eventually("all are over", || Told::now().count("fourwave_kernel_connections_closed_total") == 3.0);
    let told = Told::now();
    told.check();
    assert_eq!(told.count("fourwave_kernel_connections_accepted_total"), 3.0);
    assert!(told.names().is_subset(&documented()));
    for name in ["fourwave_connections", "fourwave_drops_total", "fourwave_device_received_bytes_total"] {
        assert!(!told.names().contains(name), "{name} is the kernel's to tell");
    }
}

/// A client has them as long as it runs.
#[test]
fn a_client_tells_as_well_and_addresses_that_are_taken_are_refused() {
    let _lab = lab();
    let _server = Server::start(&format!("echo --listen 10.77.0.1:7 --metrics {AT}"));
    for service in ["echo --listen 10.77.0.1:8", "echo --listen 10.77.0.1:8 --stack kernel"] {
        let mut args = vec!["serve"];
        args.extend(service.split(' '));
        args.extend(["--metrics", AT]);
        let said = refused(fourwave("fw-a", &args));
        assert!(said.contains(&format!("metrics can't be told at {AT}: it is in use")), "{said}");
    }
    let ping = ["ping", "10.77.0.1:7", "--seconds", "600", "--metrics", "127.0.0.1:9465"];
    let mut ping = Background::start(common::in_namespace("fw-b", &ping));
    let url = "http://127.0.0.1:9465/metrics";
    eventually("the client's round trips are counted", || {
        let output = within("fw-b", 60, &["curl", "--silent", url]).output().unwrap();
        let told = Told(text(&output.stdout));
        told.0.contains("fourwave_connections_opened_total{shard=\"0\"} 1\n")
            && told.count("fourwave_tcp_sent_segments_total") > 10.0
    });
    ping.signal(Signal::INT);
    assert_eq!(ping.end(common::SOON).0, Some(0));
}
