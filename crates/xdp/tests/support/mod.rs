//! Network namespaces joined by a veth pair, made for one test and gone with it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use xdp::facts::{InterfaceFacts, MacAddr};

/// Two namespaces: in the first `a0` (10.78.0.1, fd78::1), in the second `b0` (10.78.0.2, fd78::2).
pub(crate) struct Lab {
    namespaces: [String; 2],
}

/// The interfaces' names.
pub(crate) const A: &str = "a0";
pub(crate) const B: &str = "b0";
pub(crate) const A_IP: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
pub(crate) const B_IP: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

impl Lab {
    pub(crate) fn new() -> Self {
        require_root();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("fwx-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = Self { namespaces: [format!("{name}-a"), format!("{name}-b")] };
        for namespace in &lab.namespaces {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        let [a, b] = &lab.namespaces;
        ip(&["-n", a, "link", "add", A, "type", "veth", "peer", "name", B, "netns", b]);
        for (namespace, interface, last) in [(a, A, 1), (b, B, 2)] {
            ip(&["-n", namespace, "addr", "add", &format!("10.78.0.{last}/24"), "dev", interface]);
            ip(&["-n", namespace, "addr", "add", &format!("fd78::{last}/64"), "dev", interface, "nodad"]);
            ip(&["-n", namespace, "link", "set", interface, "up"]);
        }
        // Until the kernel has seen that both ends are there, which waits while it clears away other namespaces, what is sent is lost.
        for (namespace, interface) in [(a, A), (b, B)] {
            eventually("the link is up", || {
                run("ip", &["-n", namespace, "-o", "link", "show", "dev", interface]).contains("state UP")
            });
        }
        lab
    }

    pub(crate) fn a(&self) -> &str {
        &self.namespaces[0]
    }

    pub(crate) fn b(&self) -> &str {
        &self.namespaces[1]
    }

    /// Runs `work` in the first namespace, on a thread of its own.
    pub(crate) fn in_a<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_namespace(self.a(), work)
    }

    /// Runs `work` in the second namespace, on a thread of its own.
    pub(crate) fn in_b<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_namespace(self.b(), work)
    }

    pub(crate) fn mac_a(&self) -> MacAddr {
        self.in_a(|| InterfaceFacts::read(A).unwrap().mac)
    }

    pub(crate) fn mac_b(&self) -> MacAddr {
        self.in_b(|| InterfaceFacts::read(B).unwrap().mac)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Best effort: a panic in a drop would hide the test's own.
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

/// Fails, never skips, without the privilege.
pub(crate) fn require_root() {
    // SAFETY: takes nothing and can't fail.
    let user = unsafe { libc::geteuid() };
    assert_eq!(user, 0, "this test makes network namespaces and loads XDP programs: run it as root");
}

/// Runs `ip` (iproute2).
pub(crate) fn ip(arguments: &[&str]) -> String {
    run("ip", arguments)
}

/// Runs a program to its end; its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("`{program}` can't be run ({error}); the privileged tests need iproute2 and ethtool")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "`{program} {}`: {}", arguments.join(" "), text(&output.stderr));
    text(&output.stdout)
}

fn in_namespace<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(name);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves this thread into a namespace for good.
pub(crate) fn enter(name: &str) {
    let file = File::open(format!("/run/netns/{name}")).unwrap();
    // SAFETY: the descriptor is open during the call; only this thread changes its namespace.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "setns({name}): {}", std::io::Error::last_os_error());
}

/// Pins this thread to a core, if there is one of that number.
pub(crate) fn pin(core: usize) {
    // SAFETY: a set of zeroes is a valid, empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the macro checks the number against the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set outlives the call, and its size is given.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
}

/// Waits for `condition`, asking again and again, five seconds at most.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "still not after 5 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An IPv4/UDP frame as wide as `bytes`, with `tag` in its last four bytes.
pub(crate) fn udp_frame(from: (MacAddr, Ipv4Addr), to: (MacAddr, Ipv4Addr), bytes: usize, tag: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(to.0.0);
    frame.extend(from.0.0);
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(u16::try_from(bytes - 14).unwrap().to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend(from.1.octets());
    frame.extend(to.1.octets());
    frame.extend([3, 253, 3, 253]);
    frame.extend(u16::try_from(bytes - 34).unwrap().to_be_bytes());
    frame.extend([0, 0]);
    // Of no period that a buffer's size has, so that parts in a wrong order are seen.
    frame.extend((frame.len()..bytes - 4).map(|at| u8::try_from(at % 251).unwrap()));
    frame.extend(tag.to_be_bytes());
    frame
}
