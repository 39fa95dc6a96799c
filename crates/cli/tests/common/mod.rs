//! What the tests of the command share: running it, and having the lab to oneself.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::UnshareFlags;
use serde_json::Value;

/// How long anything may take that takes a moment: what is waited for is a state, and a machine may be busy with other things.
pub(crate) const SOON: Duration = Duration::from_secs(90);

pub(crate) const FOURWAVE: &str = env!("CARGO_BIN_EXE_fourwave");

/// A world of the test's own, with a lab's names for itself: network namespaces, mounts and `/run` of the thread it runs on and of
/// all that this starts. So tests run side by side, and what one leaves behind ends with it.
pub(crate) struct LabTurn;

impl LabTurn {
    /// There is no lab yet. Fails if the tests lack the privileges.
    pub(crate) fn take() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test needs root: run `make test` with sudo");
        #[expect(deprecated, reason = "what is unsafe of it is to unshare FILES")]
        rustix::thread::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWNET).unwrap();
        let made = sh("mount --make-rprivate / && mount -t tmpfs tmpfs /run && ip link set lo up");
        assert!(made.status.success(), "{}", stderr(&made));
        Self
    }
}

impl Drop for LabTurn {
    fn drop(&mut self) {
        let _ = run(&["lab", "down"]);
    }
}

pub(crate) fn run(args: &[&str]) -> Output {
    Command::new(FOURWAVE).args(args).output().unwrap()
}

/// Runs it to a good end; its stdout.
pub(crate) fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// `lab status --json`, which ends with 1 and says nothing else unless the lab is as it should be.
pub(crate) fn lab_not_up() -> Value {
    let output = run(&["lab", "status", "--json"]);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), ""));
    let status = json(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(status["up"], false);
    status
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it said, but for its warnings: a machine that stalls has any measurement warn.
pub(crate) fn but_warnings(said: &str) -> Vec<&str> {
    said.lines().filter(|line| !line.starts_with("fourwave: warning: ")).collect()
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

/// `ip netns exec` for a namespace, ready for its command. It hears SIGHUP, though the tests may run under nohup(1), which it heeds.
pub(crate) fn in_namespace(namespace: &str, args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "env", "--default-signal=HUP", FOURWAVE]).args(args);
    command
}

pub(crate) fn sh(script: &str) -> Output {
    Command::new("sh").args(["-c", script]).output().unwrap()
}

/// A path for a file or a folder that no other test has.
pub(crate) fn temporary(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("fourwave-{}-{number}-{name}", std::process::id()))
}

/// A copy of the program where everybody can run it; removed on drop.
pub(crate) struct ForNobody(PathBuf);

pub(crate) fn for_nobody() -> ForNobody {
    let folder = temporary("nobody");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(FOURWAVE, folder.join("fourwave")).unwrap();
    ForNobody(folder)
}

impl ForNobody {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.join("fourwave")
    }
}

impl Drop for ForNobody {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child that is killed when the test is over.
pub(crate) struct Background(Child);

impl Background {
    /// Starts a server and waits until it says that it listens.
    pub(crate) fn server(command: Command) -> Self {
        Self::listening(command).0
    }

    /// As [`Background::server`]; what it says of where it listens.
    pub(crate) fn listening(mut command: Command) -> (Self, String) {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().expect("a line before the end").unwrap();
        let place = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        (Self(child), place)
    }

    pub(crate) fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(child.unwrap())
    }

    /// A child that was started already.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// `ip netns exec` becomes the command, so this is its own number.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has a handler of its own for Ctrl-C, which would just kill it before.
    pub(crate) fn hears_ctrl_c(&self) {
        let end = Instant::now() + SOON;
        let caught = || -> Option<u64> {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        };
        // Signal 1 is the lowest bit: SIGINT is 2.
        while caught().is_none_or(|signals| signals & 2 == 0) {
            assert!(Instant::now() < end, "it has no handler for Ctrl-C within {SOON:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends what it was told by its stdin.
    pub(crate) fn end_of_input(&mut self) {
        drop(self.0.stdin.take());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What it has started itself and runs, as that of `timeout`.
    fn children(&mut self) -> Vec<Pid> {
        // Its number is another's once it is waited for.
        if !matches!(self.0.try_wait(), Ok(None)) {
            return Vec::new();
        }
        let parent = i32::try_from(self.pid()).unwrap();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
    }

    /// A signal for what it has started.
    pub(crate) fn signal_children(&mut self, signal: Signal) {
        let children = self.children();
        assert!(!children.is_empty(), "it has started nothing");
        children.into_iter().for_each(|child| kill_process(child, signal).unwrap());
    }

    /// Waits for the end, which must come soon; exit code, stdout and stderr.
    pub(crate) fn end(&mut self, limit: Duration) -> (Option<i32>, String, String) {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it did not end within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut texts = [String::new(), String::new()];
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_string(&mut texts[0]).unwrap();
        }
        if let Some(mut pipe) = self.0.stderr.take() {
            pipe.read_to_string(&mut texts[1]).unwrap();
        }
        let [stdout, stderr] = texts;
        (status.code(), stdout, stderr)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Who dies with its parent does so a moment later, and has its ports until then: the next test program may want them.
        let children = self.children();
        let _ = self.0.kill();
        let _ = self.0.wait();
        let end = Instant::now() + SOON;
        while children.iter().any(|child| parent_of(*child).is_some()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The parent of a process that is more than what its parent has not looked after yet.
fn parent_of(pid: Pid) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold anything, so from behind it: the state, and the parent.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if ["Z", "X"].contains(&state) { None } else { fields.next()?.parse().ok() }
}
