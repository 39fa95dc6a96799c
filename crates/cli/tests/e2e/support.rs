//! Servers under test, and the programs they are tested with.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{self, Background, LabTurn, json, ok};

pub(crate) use crate::common::SOON;

/// A program of a test that hangs is ended after this long, whatever limit it was given: only a limit of a busy machine's
/// would make a test fail by chance.
const HANGS: u32 = 180;

/// The lab, up, and nobody else in it.
pub(crate) fn lab() -> LabTurn {
    let turn = LabTurn::take();
    ok(&["lab", "up"]);
    turn
}

/// Fails if a program is missing, with the package it is in.
pub(crate) fn need(program: &str, package: &str) {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    assert!(found.status.success(), "this test needs `{program}`: apt-get install {package}");
}

/// A program in a namespace, ended after so many seconds and not before [`HANGS`], and when the test is killed or kills it.
pub(crate) fn within(namespace: &str, seconds: u32, args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    let limit = seconds.max(HANGS).to_string();
    command.args(["netns", "exec", namespace, "timeout", "--kill-after=1", &limit]);
    command.args(["setpriv", "--pdeathsig", "KILL", "--"]).args(args);
    command
}

/// One of the scripts in `peers`, in a namespace.
pub(crate) fn peer(namespace: &str, script: &str, args: &[&str]) -> Command {
    peer_for(namespace, 60, script, args)
}

/// As [`peer`], for so many seconds at most.
pub(crate) fn peer_for(namespace: &str, seconds: u32, script: &str, args: &[&str]) -> Command {
    let path = format!("{}/tests/e2e/peers/{script}.py", env!("CARGO_MANIFEST_DIR"));
    let mut all = vec!["python3", &path];
    all.extend(args);
    within(namespace, seconds, &all)
}

/// Runs a command to its good end; its stdout.
pub(crate) fn good(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), common::stderr(&output));
    text(&output.stdout)
}

/// Runs a command that fails with exit code 1; its only sentence.
pub(crate) fn refused(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    sentence(&output)
}

/// Exit code 1 and one line on stderr.
pub(crate) fn sentence(output: &Output) -> String {
    let said = common::stderr(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("fourwave: "), "{said}");
    said
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `fourwave` in a namespace, ended if it hangs.
pub(crate) fn fourwave(namespace: &str, args: &[&str]) -> Command {
    let mut all = vec![common::FOURWAVE];
    all.extend(args);
    within(namespace, 30, &all)
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `fourwave serve` in fw-a. Killed when the test is over.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    /// Starts it and waits until it listens: `echo --listen 10.77.0.1:7 …`.
    pub(crate) fn start(args: &str) -> Self {
        Self::start_in("fw-a", args)
    }

    /// As [`Server::start`], in another namespace.
    pub(crate) fn start_in(namespace: &str, args: &str) -> Self {
        let mut command = common::in_namespace(namespace, &["serve"]);
        command.args(args.split(' '));
        Self::spawn(command)
    }

    /// As [`Server::start`], of a command that becomes the server.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || pipe.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut before = String::new();
        loop {
            match lines.recv_timeout(SOON) {
                Ok(line) if line.starts_with("listening on ") => return Self { child, lines },
                Ok(line) => before += &line,
                Err(_) => panic!("{command:?} does not listen: {before}"),
            }
        }
    }

    pub(crate) fn echo() -> Self {
        Self::start("echo --listen 10.77.0.1:7")
    }

    /// What of its memory is there, in KiB.
    pub(crate) fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
    }

    /// `ip netns exec` becomes the command, so this is the server's own number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end: exit code, and what it said since it listened, but for the warnings of a link that went down (the
    /// kernel takes its IPv6 addresses from it).
    pub(crate) fn end(&mut self) -> (Option<i32>, Vec<String>) {
        let end = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "the server did not end within {SOON:?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let of_link = ["the interface is down", "is no longer an address of", "has no carrier"];
        let said = self.lines.iter().filter(|line| !of_link.iter().any(|words| line.contains(words)));
        (status.code(), said.collect())
    }

    /// Waits until it says something.
    pub(crate) fn says(&mut self, words: &str) {
        self.line_with(words);
    }

    /// As [`Server::says`]; the whole line.
    pub(crate) fn line_with(&mut self, words: &str) -> String {
        let mut before = String::new();
        loop {
            match self.lines.recv_timeout(SOON) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before += &line,
                Err(_) => panic!("it does not say {words:?}, but {before:?}"),
            }
        }
    }

    /// Ctrl-C, and an orderly end.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::INT);
        let (code, said) = self.end();
        assert_eq!((code, said.len()), (Some(0), 0), "{said:?}");
    }

    /// Its connections, as `fourwave ss --json` lists them.
    pub(crate) fn connections(&self) -> Vec<Value> {
        let rows = json(&ok(&["ss", "--json", "--pid", &self.pid().to_string()]));
        rows.as_array().unwrap().clone()
    }

    /// Waits until it has no connection left but TIME-WAIT records.
    pub(crate) fn assert_empty(&self) {
        eventually("all connections are gone", || self.connections().iter().all(|row| row["state"] == "TIME-WAIT"));
    }

    pub(crate) fn socket(&self) -> String {
        format!("/run/fourwave/{}.sock", self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An echo server on the kernel's sockets.
pub(crate) fn kernel_echo(namespace: &str, address: &str, port: &str) -> Background {
    Background::server(peer(namespace, "echo_server", &[address, port]))
}

/// Sends MIB mebibytes to an echo server and compares SHA-256 of what comes back.
pub(crate) fn bulk(address: &str, port: &str, mib: &str) -> String {
    good(peer("fw-b", "bulk", &[address, port, mib]))
}

/// A transfer that goes on until its stdin ends, and is under way when this returns.
pub(crate) fn long_transfer() -> Background {
    long_transfer_to("10.77.0.1")
}

pub(crate) fn long_transfer_to(address: &str) -> Background {
    let mut command = peer_for("fw-b", 600, "bulk", &[address, "7", "until"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "sending\n");
    Background::of(child)
}

/// Ends a [`long_transfer`]: every octet has come back, once and in its place.
pub(crate) fn assert_whole(mut transfer: Background) {
    transfer.end_of_input();
    let (code, said, why) = transfer.end(SOON);
    assert_eq!(code, Some(0), "{said}{why}");
}

/// Nothing is attached to the interface of fw-a.
pub(crate) fn assert_no_program() {
    eventually("no XDP program is left", || {
        let shown = Command::new("ip").args(["-n", "fw-a", "-d", "link", "show", "fw-a0"]).output().unwrap();
        assert!(shown.status.success(), "{}", common::stderr(&shown));
        !text(&shown.stdout).contains("xdp")
    });
}

pub(crate) fn mac(namespace: &str, interface: &str) -> String {
    good(within(namespace, 5, &["cat", &format!("/sys/class/net/{interface}/address")])).trim().to_owned()
}

/// The kernel refuses connections to the port: no listener has it.
pub(crate) fn assert_refused(address: &str, port: &str) {
    let script = "import socket, sys\ntry: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)\n\
        except ConnectionRefusedError: sys.exit(0)\nsys.exit(1)";
    good(within("fw-b", 20, &["python3", "-c", script, address, port]));
}
