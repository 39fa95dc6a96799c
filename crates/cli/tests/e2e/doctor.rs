//! `fourwave doctor`.

use std::process::{Command, Output};

use serde_json::Value;

use crate::common::{self, json, run, sh};
use crate::support::{Server, assert_no_program, bulk, fourwave, good, lab, refused, text};

const ITEMS: [&str; 21] = [
    "interface",
    "driver",
    "queues",
    "rss",
    "xdp-mode",
    "zero-copy",
    "multi-buffer",
    "tx-metadata",
    "need-wakeup",
    "busy-poll",
    "offloads",
    "irq-affinity",
    "numa",
    "kernel",
    "privileges",
    "locked-memory",
    "hugepages",
    "clock-source",
    "cpu-isolation",
    "smt",
    "cpu-frequency",
];

fn doctor(args: &str) -> Command {
    let mut all = vec!["doctor"];
    all.extend(args.split(' '));
    fourwave("fw-a", &all)
}

fn document(args: &str) -> Value {
    json(&good(doctor(&format!("{args} --json"))))
}

/// What it prints, whether it fails or not.
fn document_of(args: &str) -> Value {
    json(&text(&doctor(&format!("{args} --json")).output().unwrap().stdout))
}

/// What it prints though it fails, and why it fails.
fn failed(args: &str) -> (Value, String) {
    let output = doctor(&format!("{args} --json")).output().unwrap();
    let said = crate::support::sentence(&output);
    (json(&text(&output.stdout)), said)
}

fn item<'a>(document: &'a Value, name: &str) -> &'a Value {
    let items = document["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name} in {document}"))
}

fn found(document: &Value, name: &str) -> String {
    item(document, name)["found"].as_str().unwrap().to_owned()
}

#[test]
fn a_veth_pair_is_what_it_is_and_the_peers_kernel_answers() {
    let _lab = lab();
    for (peer, mac_of) in [("10.77.0.2", "fw-b0"), ("fd77::2", "fw-b0")] {
        let document = document(&format!("--interface fw-a0 --peer {peer}"));
        assert_eq!((&document["interface"], &document["available"]), (&"fw-a0".into(), &true.into()));
        for name in ITEMS {
            let item = item(&document, name);
            for key in ["name", "found", "verdict", "uses"] {
                assert!(item[key].is_string(), "{key} of {item}");
            }
            assert!(["ok", "could-be-better", "wrong"].contains(&item["verdict"].as_str().unwrap()), "{item}");
            assert!(item["verdict"] == "ok" || item["improve"].is_string(), "{item}");
        }
        assert_eq!(found(&document, "driver"), "veth");
        assert!(found(&document, "rss").contains("doesn't tell"), "{document}");
        assert!(found(&document, "zero-copy").contains("not offered"), "{document}");
        assert_eq!(found(&document, "irq-affinity"), "no interrupts of its own");
        assert_eq!(document["mode"]["xdp_mode"], "generic");
        assert_eq!(document["mode"]["zero_copy"], false);
        let proof = &document["proof"];
        assert_eq!((&proof["status"], &proof["peer"]), (&"answered".into(), &peer.into()));
        assert_eq!((&proof["frames_sent"], &proof["frames_received"]), (&10.into(), &10.into()));
        assert_eq!(proof["answered_on"], json("[0]"));
        let mac = sh(&format!("ip netns exec fw-b cat /sys/class/net/{mac_of}/address"));
        assert_eq!(proof["peer_mac"].as_str().unwrap(), text(&mac.stdout).trim());
        assert!(proof["round_trip_ns"][1].as_u64().unwrap() > 0, "{proof}");
        assert_no_program();
    }
    // 0.0.0.0 asked, so the peer has learnt nobody's address by it.
    let neighbours = text(&sh("ip -n fw-b -4 neigh show dev fw-b0").stdout);
    assert!(!neighbours.contains("0.0.0.0") && !neighbours.contains("10.77.0.1 "), "{neighbours}");
}

#[test]
fn all_queues_ask() {
    let turn = lab();
    common::ok(&["lab", "up", "--queues", "2"]);
    let document = document("--interface fw-a0 --peer 10.77.0.2");
    assert!(found(&document, "queues").starts_with("2 to receive on"), "{document}");
    assert_eq!(item(&document, "rss")["verdict"], "could-be-better");
    assert_eq!((&document["proof"]["frames_sent"], &document["proof"]["frames_received"]), (&20.into(), &20.into()));
    let (refused, said) = failed("--interface fw-a0 --queues 1");
    assert_eq!((&refused["available"], &item(&refused, "queues")["verdict"]), (&false.into(), &"wrong".into()));
    assert!(said.contains("ethtool -L fw-a0 rx 1"), "{said}");
    assert_no_program();
    drop(turn);
}

#[test]
fn what_is_asked_for_never_falls_back() {
    let _lab = lab();
    let (document, said) = failed("--interface fw-a0 --copy zero-copy");
    assert!(said.contains("fw-a0") && said.contains("can't do zero-copy"), "{said}");
    assert_eq!((&document["available"], &document["proof"]["status"]), (&false.into(), &"refused".into()));
    assert_eq!(item(&document, "zero-copy")["verdict"], "wrong");
    assert!(said.contains(document["reason"].as_str().unwrap()), "{said}");
    let (document, said) = failed("--interface fw-a0 --copy zero-copy --xdp-mode native");
    assert!(said.contains("can't do zero-copy") && document["available"] == false, "{said}");
    let (_, said) = failed("--interface fw-a0 --copy zero-copy --xdp-mode generic");
    assert!(said.contains("zero-copy") && said.contains("generic"), "{said}");
    assert_no_program();
    // veth has native XDP, and `auto` does not take it.
    let document = document_of_native();
    assert_eq!((&document["mode"]["xdp_mode"], &document["available"]), (&"native".into(), &true.into()));
    assert_no_program();
    // And the stack itself says the same as the doctor.
    for mode in ["--copy zero-copy", "--copy zero-copy --xdp-mode native"] {
        let mut serve = vec!["serve", "echo", "--listen", "10.77.0.1:7"];
        serve.extend(mode.split(' '));
        let said = refused(fourwave("fw-a", &serve));
        assert!(said.contains("can't do zero-copy"), "{said}");
        assert_no_program();
    }
}

fn document_of_native() -> Value {
    document("--interface fw-a0 --xdp-mode native --copy copy --peer 10.77.0.2")
}

#[test]
fn a_peer_that_is_named_must_answer() {
    let _lab = lab();
    let (document, said) = failed("--interface fw-a0 --peer 10.77.0.99");
    assert!(said.contains("10.77.0.99 did not answer"), "{said}");
    let proof = &document["proof"];
    assert_eq!((&proof["status"], &proof["frames_received"]), (&"unanswered".into(), &0.into()));
    assert_eq!(proof["frames_completed"], proof["frames_sent"]);
    assert_no_program();
}

#[test]
fn a_stack_that_runs_is_left_alone() {
    let _lab = lab();
    let server = Server::echo();
    let said = good(doctor("--interface fw-a0"));
    assert!(said.contains("a fourwave stack runs on fw-a0"), "{said}");
    let (document, said) = failed("--interface fw-a0 --copy zero-copy");
    assert!(said.contains("does not offer zero-copy"), "{said}");
    assert_eq!(document["proof"]["status"], "occupied");
    bulk("10.77.0.1", "7", "1");
    server.stop();
}

#[test]
fn what_is_no_interface_for_it_is_one_sentence() {
    let _lab = lab();
    let said = refused(doctor("--interface nope"));
    assert!(said.contains("\"nope\"") && said.contains("ip link"), "{said}");
    let (_, said) = failed("--interface fw-a0 --cores 4000");
    assert!(said.contains("core 4000"), "{said}");
    let (_, said) = failed("--interface fw-a0 --cores 0-1");
    assert!(said.contains("one core for each"), "{said}");
    let (document, said) = failed("--interface lo");
    assert!(said.contains("no Ethernet address") && document["available"] == false, "{said}");
    assert_eq!(
        (&document["proof"]["status"], &document["proof"]["sentence"]),
        (&"refused".into(), &said.trim().trim_start_matches("fourwave: ").into())
    );
    sh("ip -n fw-a link set fw-a0 down");
    let (document, said) = failed("--interface fw-a0");
    assert!(said.contains("is down"), "{said}");
    assert_eq!(item(&document, "interface")["improve"], "ip link set fw-a0 up");
    sh("ip -n fw-a link set fw-a0 up; ip -n fw-b link set fw-b0 down");
    assert!(found(&document_of("--interface fw-a0"), "interface").contains("without a carrier"));
    assert_no_program();
    for args in [&["doctor"][..], &["doctor", "--interface", "fw-a0", "--peer", "0.0.0.0"]] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn offloads_that_leave_frames_unfinished_are_seen() {
    let _lab = lab();
    good(crate::support::within("fw-a", 10, &["ethtool", "-K", "fw-a0", "tx", "on"]));
    let document = document("--interface fw-a0");
    let offloads = item(&document, "offloads");
    assert_eq!(offloads["verdict"], "wrong");
    assert!(offloads["improve"].as_str().unwrap().contains("ethtool -K fw-a0 tx off"), "{offloads}");
}

/// What can be read is shown, and why nothing could be tried.
#[test]
fn without_root_it_looks_and_says_what_it_lacks() {
    let _lab = lab();
    let program = common::for_nobody();
    let output: Output = Command::new("ip")
        .args(["netns", "exec", "fw-a", "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program.path())
        .args(["doctor", "--interface", "fw-a0", "--json"])
        .output()
        .unwrap();
    let said = crate::support::sentence(&output);
    assert!(said.contains("root") && said.contains("sudo"), "{said}");
    let document = json(&text(&output.stdout));
    assert_eq!((found(&document, "driver").as_str(), &document["available"]), ("veth", &false.into()));
    assert_eq!(item(&document, "privileges")["verdict"], "wrong");
    assert_eq!(document["proof"]["status"], "refused");
}
