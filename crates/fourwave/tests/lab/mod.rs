//! A veth pair between two namespaces, for tests of more than one program. Needs root, iproute2 and ethtool.
#![allow(dead_code, reason = "each test program uses a part")]

#[path = "../namespaces/mod.rs"]
mod namespaces;

#[allow(unused_imports, reason = "each test program uses a part")]
pub(crate) use namespaces::{ip, within};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) const OURS: &str = "10.78.0.1";
pub(crate) const KERNELS: &str = "10.78.0.2";

/// Two namespaces joined by a cable; one test at a time has them.
pub(crate) struct Lab(#[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

fn remove() {
    ip("netns del fw-net-a");
    ip("netns del fw-net-b");
}

impl Lab {
    pub(crate) fn up() -> Self {
        Self::with_queues(1)
    }

    pub(crate) fn with_queues(queues: u32) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        remove();
        let many = format!("numrxqueues {queues} numtxqueues {queues}");
        let link = format!("link add fwn-a netns fw-net-a {many} type veth peer name fwn-b netns fw-net-b {many}");
        for step in [
            "netns add fw-net-a",
            "netns add fw-net-b",
            link.as_str(),
            "-n fw-net-a address add 10.78.0.1/24 dev fwn-a",
            "-n fw-net-b address add 10.78.0.2/24 dev fwn-b",
            "netns exec fw-net-a ethtool -K fwn-a tx off tso off gso off gro off",
            "netns exec fw-net-b ethtool -K fwn-b tx off tso off gso off gro off",
            "-n fw-net-a link set fwn-a up",
            "-n fw-net-b link set fwn-b up",
        ] {
            assert!(ip(step), "ip {step}: this test needs root, iproute2 and ethtool");
        }
        Self(turn)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove();
    }
}

/// A program in a namespace. What is executed becomes the child, which is ended with the test.
pub(crate) fn program(namespace: &str, name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL", "--"]).arg(name);
    command
}

/// An example of this package.
pub(crate) fn example(namespace: &str, name: &str) -> Command {
    let mut path = PathBuf::from(std::env::current_exe().unwrap().parent().unwrap().parent().unwrap());
    path.extend(["examples", name]);
    program(namespace, path)
}

/// An example in fw-net-a; killed when the test is over.
pub(crate) struct Example(Child, BufReader<ChildStdout>);

impl Example {
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        let mut child = example("fw-net-a", name).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut example = Self(child, stdout);
        assert!(example.line().starts_with("listening on "));
        example
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
