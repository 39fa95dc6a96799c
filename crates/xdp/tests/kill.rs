//! A process that is killed leaves nothing on the interface.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use aya::programs::{loaded_links, loaded_programs};
use support::{A, A_IP, Lab, ip};
use xdp::{LocalAddress, XskConfig};

/// Tells the re-executed test binary that it is the child, and where.
const NAMESPACE: &str = "FOURWAVE_TEST_KILL_NAMESPACE";

#[test]
fn kill_9_leaves_no_program_and_no_link() {
    let lab = Lab::new();
    let mut child = Killed(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_attaches", "--ignored", "--nocapture"])
            .env(NAMESPACE, lab.a())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let program = BufReader::new(child.0.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("attached program ")?.parse::<u32>().ok())
        .expect("the child attaches");
    let shown = || ip(&["-n", lab.a(), "link", "show", A]);
    assert!(shown().contains(&format!("prog/xdp id {program}")), "{}", shown());
    assert_eq!(links_of(program), 1, "not a bpf_link");
    assert!(loaded(program));

    child.0.kill().unwrap();
    child.0.wait().unwrap();
    support::eventually("the interface is as before", || !shown().contains("xdp"));
    support::eventually("no link is left", || links_of(program) == 0);
    support::eventually("no program is left", || !loaded(program));
}

/// Not a test: what the one above runs in a process of its own.
#[test]
#[ignore = "run by kill_9_leaves_no_program_and_no_link"]
fn child_that_attaches() {
    let namespace = std::env::var(NAMESPACE).expect("only to be run by kill_9_leaves_no_program_and_no_link");
    support::enter(&namespace);
    let config = XskConfig { interface: A.into(), ..XskConfig::default() };
    let (mut steering, _ports, _) = xdp::open(&config, &[0], &[LocalAddress::owned(A_IP.into())]).unwrap();
    println!("\nattached program {}", steering.program_id().unwrap());
    std::thread::sleep(std::time::Duration::from_secs(30));
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn links_of(program: u32) -> usize {
    loaded_links().filter_map(Result::ok).filter(|link| link.program_id() == program).count()
}

fn loaded(program: u32) -> bool {
    loaded_programs().filter_map(Result::ok).any(|info| info.id() == program)
}
