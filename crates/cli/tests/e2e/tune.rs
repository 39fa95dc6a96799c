//! `deploy/tune/fourwave-tune`: on a veth pair, and on a machine made of files with all that a veth pair has not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{self, LabTurn, ok, stderr};
use crate::support::{good, need, text, within};

const TUNE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/tune/fourwave-tune");
/// What of the real machine must not be touched by a test.
const NOT_OURS: [&str; 2] = ["--no-thp", "--no-hugepages"];

/// With what `fourwave-tune@.service` gives it.
fn in_lab(args: &[&str]) -> String {
    let mut all = vec!["setpriv", "--bounding-set", "-all,+net_admin", "--", TUNE];
    all.extend(args);
    good(within("fw-a", 30, &all))
}

#[test]
fn a_veth_pair_is_as_before_when_it_is_undone() {
    let _turn = LabTurn::take();
    ok(&["lab", "up", "--queues", "4"]);
    let set = "ethtool -L fw-a0 rx 2 && echo 3 > /sys/class/net/fw-a0/napi_defer_hard_irqs";
    good(within("fw-a", 30, &["sh", "-c", set]));
    let before = in_lab(&["status", "fw-a0"]);
    assert!(before.contains("changed by fourwave-tune: nothing") && before.contains("queues (rx): 2\n"), "{before}");

    let mut apply = vec!["apply", "--queues", "4", "--cores", "0"];
    apply.extend(NOT_OURS);
    apply.push("fw-a0");
    let mut would = apply.clone();
    would.insert(1, "--dry-run");
    assert!(in_lab(&would).contains("queues (rx): would become 4, is 2"));
    assert_eq!(in_lab(&["status", "fw-a0"]), before, "nothing is done");

    let said = in_lab(&apply);
    assert!(said.contains("queues (rx): 4, was 2") && said.contains("napi_defer_hard_irqs: 0, was 3"), "{said}");
    assert!(said.contains("rss: the driver of fw-a0 doesn't tell its table"), "what it has not stops nothing: {said}");
    // Once more changes nothing, and what was there first is still known.
    assert!(in_lab(&apply).contains("queues (rx): 4 already"));
    assert!(in_lab(&["status", "fw-a0"]).contains("  channels\trx\t2\n"));
    in_lab(&["undo", "fw-a0"]);
    assert_eq!(in_lab(&["status", "fw-a0"]), before);
    assert_eq!(in_lab(&["undo", "fw-a0"]), "nothing was changed on fw-a0\n");
}

/// A machine made of files: a NIC with two interrupts, four cores on two nodes.
struct Machine(PathBuf);

impl Machine {
    fn new() -> Self {
        let machine = Self(common::temporary("machine"));
        let files = [
            ("sys/class/net/nic0/napi_defer_hard_irqs", "2"),
            ("sys/class/net/nic0/gro_flush_timeout", "200000"),
            ("sys/class/net/nic0/device/numa_node", "0"),
            ("sys/class/net/nic0/device/msi_irqs/60", "msix"),
            ("sys/class/net/nic0/device/msi_irqs/61", "msix"),
            ("sys/devices/system/cpu/online", "0-3"),
            ("sys/devices/system/node/node0/cpulist", "0-2"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            ("proc/interrupts", "  60: 0 PCI-MSIX nic0-0\n  61: 0 PCI-MSIX nic0-1\n  62: 0 PCI-MSIX nic01-0"),
            ("proc/irq/60/smp_affinity_list", "0-3"),
            ("proc/irq/61/smp_affinity_list", "1"),
            ("proc/irq/62/smp_affinity_list", "1"),
            ("proc/sys/vm/nr_hugepages", "3"),
            ("nic/queues", "4"),
            ("nic/rx", "512"),
            ("nic/tx", "512"),
            ("nic/table", "0 1 2 3 0 1 2 3 "),
        ];
        for (path, content) in files {
            let path = machine.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{content}\n")).unwrap();
        }
        machine
    }

    fn run(&self, args: &str) -> Output {
        let path = format!("{}/tests/e2e/peers/bin:{}", env!("CARGO_MANIFEST_DIR"), std::env::var("PATH").unwrap());
        let mut command = Command::new(TUNE);
        command
            .args(args.split(' '))
            .env("FOURWAVE_TUNE_ROOT", &self.0)
            .env("FOURWAVE_TUNE_STATE", self.0.join("state"));
        command.env("NIC", self.0.join("nic")).env("PATH", path).output().unwrap()
    }

    fn ok(&self, args: &str) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args}: {}{}", text(&output.stdout), stderr(&output));
        text(&output.stdout)
    }

    /// What is in every file. The kernel marks what is chosen of `enabled`; here it is what was written.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        fn walk(folder: &Path, all: &mut BTreeMap<PathBuf, String>) {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.path() {
                    path if path.is_dir() => walk(&path, all),
                    path => _ = all.insert(path.clone(), fs::read_to_string(path).unwrap().trim().to_owned()),
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(&self.0, &mut all);
        if let Some(chosen) = all.get_mut(&self.0.join("sys/kernel/mm/transparent_hugepage/enabled")) {
            *chosen = chosen.replace("[always] madvise never", "always");
        }
        all
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap().trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What there is to tune is tuned, what is refused is said and stops nothing, and undone all is as it was.
#[test]
fn a_machine_is_as_before_when_it_is_undone() {
    let machine = Machine::new();
    let before = machine.files();
    let args = "--queues 2 --cores 1,3 --hugepages 16 nic0";
    machine.ok(&format!("apply --dry-run {args}"));
    assert_eq!(machine.files(), before);
    for again in [false, true] {
        let said = machine.ok(&format!("apply {args}"));
        assert!(said.contains("ring (tx): refused, left as it is (netlink error: Invalid argument)"), "{said}");
        assert_eq!(said.contains("queues (combined): 2, was 4"), !again, "{said}");
        assert_eq!(machine.read("nic/queues"), "2");
        assert_eq!(machine.read("nic/rx"), "2048");
        assert_eq!(machine.read("nic/tx"), "512");
        // Not the stack's, and of the NIC's node: in turn.
        assert_eq!(machine.read("proc/irq/60/smp_affinity_list"), "0");
        assert_eq!(machine.read("proc/irq/61/smp_affinity_list"), "2");
        assert_eq!(machine.read("proc/irq/62/smp_affinity_list"), "1", "of another interface");
        assert_eq!(machine.read("proc/sys/vm/nr_hugepages"), "16");
        assert_eq!(machine.read("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"), "performance");
        assert_eq!(machine.read("sys/kernel/mm/transparent_hugepage/enabled"), "madvise");
        assert_eq!(machine.read("sys/class/net/nic0/gro_flush_timeout"), "0");
        assert!(!machine.read("state/nic0.state").contains("ring\ttx"), "what was refused is not put back");
    }
    machine.ok("undo nic0");
    assert_eq!(machine.files(), before);
}

/// A table that somebody has set holds queues, and flows can only be spread over queues that are there.
#[test]
fn flows_go_back_to_the_queues_they_went_to() {
    let machine = Machine::new();
    fs::write(machine.0.join("nic/table"), "0 1 0 1 0 1 0 1 ").unwrap();
    fs::write(machine.0.join("nic/set"), "").unwrap();
    for queues in ["8", "3"] {
        let before = machine.files();
        machine.ok(&format!("apply --queues {queues} nic0"));
        let spread = machine.read("nic/table").split(' ').map(|entry| entry.parse::<u32>().unwrap()).max();
        assert_eq!(spread.map(|most| (most + 1).to_string()).as_deref(), Some(queues));
        machine.ok("undo nic0");
        assert_eq!(machine.files(), before);
    }
    // Of a table that ethtool can't make again nothing is lost.
    fs::write(machine.0.join("nic/table"), "0 0 0 1 0 1 0 1 ").unwrap();
    let before = machine.files();
    assert!(machine.ok("apply nic0").contains("somebody's own"));
    machine.ok("undo nic0");
    assert_eq!(machine.files(), before);
}

#[test]
fn wrong_arguments_change_nothing() {
    let machine = Machine::new();
    let before = machine.files();
    let wrong =
        ["apply", "apply --queues x nic0", "apply --no-such nic0", "apply ../nic0", "tune nic0", "apply --poll 3 nic0"];
    for args in wrong {
        assert_eq!(machine.run(args).status.code(), Some(2), "{args}");
    }
    for cores in ["1-0", "2,2", "0-2,1", "2-", "-2", ",1", "1,,2", "1-2-3", "12345", ""] {
        for how in ["", "--dry-run "] {
            let output = machine.run(&format!("apply {how}--cores {cores} nic0"));
            assert_eq!(output.status.code(), Some(2), "{cores}: {}", stderr(&output));
        }
    }
    assert_eq!(machine.run("apply nic1").status.code(), Some(1));
    // Four there are.
    let output = machine.run("apply --dry-run --cores 2-4 nic0");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("core 4 does not exist, or is offline: there are 0-3"), "{}", stderr(&output));
    assert_eq!(machine.files(), before);
}

#[test]
fn the_script_is_clean() {
    need("shellcheck", "shellcheck");
    let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/peers/bin/ethtool");
    let checked = Command::new("shellcheck").args([TUNE, fake]).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stdout));
}
