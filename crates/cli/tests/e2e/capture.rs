//! What an ordinary sniffer says of fourwave's packets.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common;
use crate::support::{Server, bulk, eventually, good, lab, need, text, within};

/// What `tcpdump -w` saw of TCP port 7 at one end of the lab while `meanwhile` ran, removed on drop.
pub(crate) struct Capture(PathBuf);

impl Capture {
    /// At fw-b0: what the wire carries.
    pub(crate) fn of(meanwhile: impl FnOnce()) -> Self {
        Self::at("fw-b", meanwhile)
    }

    /// At fw-a0: what comes to the kernel there, and what it sends. It stands behind the XDP program, and what AF_XDP sockets
    /// send goes past it.
    pub(crate) fn of_the_kernel_beside_us(meanwhile: impl FnOnce()) -> Self {
        Self::at("fw-a", meanwhile)
    }

    fn at(namespace: &str, meanwhile: impl FnOnce()) -> Self {
        let capture = Self("/run/capture.pcap".into());
        // Not through `within`: it is ended by SIGINT, so that it writes all it has.
        let mut command = Command::new("ip");
        let interface = format!("{namespace}0");
        command.args([
            "netns", "exec", namespace, "tcpdump", "-i", &interface, "-Z", "root", "-B", "65536", "-s", "0", "-U",
        ]);
        command
            .arg("-w")
            .arg(&capture.0)
            .args(["tcp", "port", "7", "or", "udp", "port", "7777"])
            .stderr(Stdio::piped());
        let mut tcpdump = command.spawn().unwrap();
        let mut lines = BufReader::new(tcpdump.stderr.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains("listening on"), "{line}");
        meanwhile();
        // Packets are in its buffer for a while; when it has written the one behind the last, it has written all.
        let mark =
            "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'end', ('10.77.0.1', 7777))";
        good(within("fw-b", 20, &["python3", "-c", mark]));
        eventually("all is written", || {
            let read =
                Command::new("tcpdump").args(["-n", "-r"]).arg(&capture.0).args(["udp", "port", "7777"]).output();
            !read.unwrap().stdout.is_empty()
        });
        kill_process(Pid::from_child(&tcpdump), Signal::INT).unwrap();
        let said: Vec<_> = lines.map_while(Result::ok).collect();
        tcpdump.wait().unwrap();
        assert!(said.iter().any(|line| line == "0 packets dropped by kernel"), "{said:?}");
        capture
    }

    /// One line per packet.
    pub(crate) fn lines(&self) -> Vec<String> {
        lines_of(&self.0)
    }
}

/// A line for each TCP packet of a file.
pub(crate) fn lines_of(file: &Path) -> Vec<String> {
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-t", "-S", "-vv", "-r"]).arg(file).arg("tcp");
    // With -vv the IP header has a line of its own.
    good(command).replace(")\n    ", ") ").lines().map(str::to_owned).collect()
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Segments that carry data which was sent before, and resets.
fn again(lines: &[String]) -> Vec<&String> {
    let mut ends: HashMap<&str, u32> = HashMap::new();
    let mut found = Vec::new();
    for line in lines {
        if line.contains("Flags [R") {
            found.push(line);
        }
        let from = line.split(") ").last().and_then(|rest| rest.split(" > ").next()).unwrap();
        let Some(seq) = line.split(" seq ").nth(1).and_then(|rest| rest.split(',').next()) else { continue };
        let Some((first, end)) = seq.split_once(':') else { continue };
        let (first, end): (u32, u32) = (first.parse().unwrap(), end.parse().unwrap());
        let seen = ends.entry(from).or_insert(first);
        if first.wrapping_sub(*seen) > 1 << 31 {
            found.push(line);
        }
        *seen = end;
    }
    found
}

/// One MiB there and back and a close. A machine that stalls may make either side send again what is only late, so that is
/// tried again; a wrong checksum is wrong at once.
/// MUST-2.
#[test]
fn checksums_are_right_and_nothing_is_sent_twice() {
    need("tcpdump", "tcpdump");
    let _lab = lab();
    let mut found = Vec::new();
    for _ in 0..3 {
        let server = Server::echo();
        let capture = Capture::of(|| {
            bulk("10.77.0.1", "7", "1");
            server.assert_empty();
        });
        server.stop();
        let lines = capture.lines();
        assert!(lines.len() > 500, "{} packets", lines.len());
        for line in &lines {
            assert!(line.contains("(correct)"), "{line}");
            for wrong in ["bad cksum", "incorrect", "malformed", "truncated", "[|"] {
                assert!(!line.contains(wrong), "{line}");
            }
        }
        let fins = lines.iter().filter(|line| line.contains("Flags [F")).count();
        assert_eq!(fins, 2, "one from each side: {:?}", &lines[lines.len() - 6..]);
        found = again(&lines).into_iter().cloned().collect();
        if found.is_empty() {
            return;
        }
    }
    panic!("sent again, or reset, three times over: {found:#?}");
}

/// MUST-2, RFC9293-3.5.2-a.
#[test]
fn a_refusal_is_one_reset_with_a_right_checksum() {
    need("tcpdump", "tcpdump");
    let _lab = lab();
    let server = Server::start("echo --address 10.77.0.50/24 --listen 10.77.0.50:70");
    let capture = Capture::of(|| crate::support::assert_refused("10.77.0.50", "7"));
    server.stop();
    let lines = capture.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("Flags [R.]") && lines[1].contains("(correct)"), "{lines:#?}");
    assert!(text(&common::sh("ip netns exec fw-b ip neigh").stdout).contains("10.77.0.50"));
}
