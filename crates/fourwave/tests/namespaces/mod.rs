//! What every test in namespaces needs.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// Runs `ip`; whether it did what was asked.
pub(crate) fn ip(args: &str) -> bool {
    let quiet = Command::new("ip").args(args.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.expect("this test needs iproute2").success()
}

/// Runs `f` on a thread in a namespace.
pub(crate) fn within<T: Send + 'static>(namespace: &str, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        f()
    })
}
