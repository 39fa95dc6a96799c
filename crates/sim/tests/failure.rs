//! What is left of a world that fails: its seed, a command, and a capture that other programs read.

mod support;

use sim::{Action, LinkConfig, Pair, Rules, Select, Topology, World};
use stack::{App, ConnId, Duration, Io};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
};
use support::{Client, host};

const PORT: &str = "10.0.0.2:7";

/// Takes what it gets, and asserts that it gets less.
#[derive(Debug, Default)]
struct Wrong {
    got: usize,
}

impl App for Wrong {
    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        self.got += data.len();
        assert!(self.got < 90_000, "more than 90,000 octets");
        data.len()
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pcapng", std::process::id()))
}

/// Runs a world that fails, and returns what it panicked with and its capture's path.
fn failed(name: &str, rules: Rules) -> (String, PathBuf) {
    let path = path(name);
    let mut b = host(2, Wrong::default());
    b.shard.listen(PORT.parse().expect("an address"), 16).expect("free");
    let link = LinkConfig::delay(Duration::from_millis(1));
    let nodes = Pair { a: host(1, Client::new(PORT, 100_000)), b };
    let topology = Topology::cable(link.clone().with_loss(0.1), link);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::of(42, nodes, topology).with_rules(rules).with_report(&path);
        world.run(Duration::from_secs(60));
    }));
    let panic = panic.expect_err("it fails");
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into()));
    (text.expect("a message"), path)
}

/// The blocks of a pcapng: kinds and bodies. Panics if lengths don't agree.
fn blocks(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let (mut at, mut blocks) = (0, Vec::new());
    while at < bytes.len() {
        let len = word(at + 4) as usize;
        assert!(len.is_multiple_of(4) && len >= 12);
        assert_eq!(word(at + len - 4) as usize, len, "the length is there twice");
        blocks.push((word(at), bytes[at + 8..at + len - 4].to_vec()));
        at += len;
    }
    blocks
}

#[test]
fn a_panic_leaves_a_capture() {
    let (text, path) = failed("panic", Rules::new().rule(Select::data().nth(5).from(0), Action::Drop));
    assert!(text.contains("more than 90,000 octets"), "{text}");
    let bytes = std::fs::read(&path).expect("a capture");
    let blocks = blocks(&bytes);
    let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds[..3], [0x0A0D_0D0A, 1, 1], "a section and two interfaces");
    assert!(kinds.len() > 80 && kinds[3..].iter().all(|kind| *kind == 6));
    let says = |what: &str| blocks.iter().any(|(_, body)| body.windows(what.len()).any(|w| w == what.as_bytes()));
    assert!(says("seed 42") && says("node 0") && says("lost on link 0") && says("dropped by the tamper node"));
    read_by_tcpdump(&path, kinds.len() - 3);
    std::fs::remove_file(path).expect("written by us");
}

/// A segment is put in that the receiver believes: the streams' checker sees it.
#[test]
fn a_checker_says_what_is_wrong() {
    let change = |_: &mut wire::tcp::Header, payload: &mut Vec<u8>| payload[7] ^= 1;
    let (text, path) = failed("checker", Rules::new().rule(Select::data().nth(3).from(0), Action::alter(change)));
    // Two full segments of 1460 octets less timestamps come before.
    assert!(text.contains("octet 2903 is not the one that was written"), "{text}");
    assert!(text.starts_with("seed 42, t+"), "{text}");
    std::fs::remove_file(path).expect("written by us");
}

/// libpcap reads every packet of it. (So does tshark, without a warning; it is not among what the tests need.)
fn read_by_tcpdump(path: &Path, packets: usize) {
    let read = Command::new("tcpdump").args(["-n", "-r"]).arg(path).output();
    let read = read.expect("tcpdump is what the tests need: `make test` installs it");
    let said = String::from_utf8_lossy(&read.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("reading from file")).collect();
    assert!(read.status.success() && said.is_empty(), "{said:?}");
    assert_eq!(
        String::from_utf8_lossy(&read.stdout).lines().filter(|line| !line.starts_with(char::is_whitespace)).count(),
        packets
    );
}
