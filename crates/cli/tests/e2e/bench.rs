//! `fourwave bench`.

use std::process::Command;

use serde_json::Value;

use crate::common::{self, LabTurn, json, ok};
use crate::support::{Server, fourwave, good, kernel_echo, lab, need, text};

/// A short run of some parts; a point of a fifth of a second saw nothing at all on a busy machine.
fn short(parts: &str, path: Option<&str>) -> Value {
    let mut command = Command::new(common::FOURWAVE);
    command.args(["bench", "--only", parts, "--rounds", "1", "--seconds", "1", "--pause-s", "0", "--json"]);
    command.envs(path.map(|path| ("PATH", path)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", common::stderr(&output));
    let report = json(&text(&output.stdout));
    assert_eq!((&report["rounds"], &report["failures"]), (&1.into(), &Value::Array(Vec::new())), "{report}");
    report
}

fn is_positive(report: &Value, path: &str) {
    assert!(report.pointer(path).and_then(Value::as_f64).is_some_and(|value| value > 0.0), "{path}: {report}");
}

const POINTS: [&str; 4] = ["raw", "fourwave", "kernel_epoll", "kernel_spin"];

#[test]
fn the_document_has_its_keys_for_every_stack() {
    let _turn = LabTurn::take();
    let args = ["bench", "--only", "rtt", "--rounds", "1", "--seconds", "1", "--pause-s", "0", "--json"];
    let report = json(&ok(&args));
    assert_eq!(report["rounds"], 1);
    assert!(report["machine"].is_object());
    for point in POINTS {
        for key in ["p50_ns", "p99_ns", "p999_ns"] {
            assert!(report["rtt"][point][key].as_u64().unwrap() > 0, "{point} {key}");
        }
    }
    for point in POINTS.iter().filter(|point| **point != "fourwave") {
        assert!(report["rtt"]["ratio"][point].as_f64().unwrap() > 0.0, "{report}");
    }
}

/// Other programs have the ports of every second server: in each round another stack's turn fails.
#[test]
fn a_point_that_fails_leaves_what_was_measured() {
    let _lab = lab();
    let _others = ["7102", "7106", "7110"].map(|port| kernel_echo("fw-a", "10.77.0.1", port));
    let mut command = Command::new(common::FOURWAVE);
    command.args(["bench", "--only", "rtt", "--points", "kernel_spin,fourwave", "--rounds", "3"]);
    let output = command.args(["--seconds", "1", "--pause-s", "0", "--json"]).output().unwrap();
    let said = common::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("fourwave: cannot measure fourwave, rtt, in round 1") && last.contains("in use"),
        "{said}"
    );
    let report = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(report["rounds"], 0);
    let failed: Vec<_> = report["failures"].as_array().unwrap().iter().map(|failure| &failure["point"]).collect();
    // The third round goes backwards.
    assert_eq!(failed, ["fourwave", "kernel_spin", "kernel_spin"]);
    for (point, measured) in [("kernel_spin", 1), ("fourwave", 2)] {
        assert_eq!(report["rtt"][point]["p50_rounds_ns"].as_array().unwrap().len(), measured, "{report}");
    }
}

#[test]
fn rates_have_their_keys_for_every_stack() {
    let _turn = LabTurn::take();
    let report = short("rps,cps", None);
    for part in ["rps", "cps"] {
        for point in POINTS {
            is_positive(&report, &format!("/{part}/{point}/per_s"));
            is_positive(&report, &format!("/{part}/{point}/p99_ns"));
        }
        for point in POINTS.iter().filter(|point| **point != "fourwave") {
            is_positive(&report, &format!("/{part}/ratio/{point}"));
        }
    }
    assert_eq!(report["rps"]["raw"], report["cps"]["raw"], "frames there and back are the floor of both");
}

/// Both MTUs in one run; the lab then has the MTU that it had.
#[test]
fn bulk_has_its_keys_at_both_mtus() {
    let _lab = lab();
    let report = short("bulk", None);
    for part in ["bulk", "bulk_jumbo"] {
        for point in POINTS {
            is_positive(&report, &format!("/{part}/{point}/gbit_per_s"));
        }
        is_positive(&report, &format!("/{part}/ratio/kernel_epoll"));
    }
    assert_eq!(json(&ok(&["lab", "status", "--json"]))["config"]["mtu"], 1500);
}

#[test]
fn other_programs_are_measured_on_both_ends() {
    for program in ["nginx", "wrk", "sockperf", "iperf3"] {
        need(program, program);
    }
    let _turn = LabTurn::take();
    let report = short("peers", None);
    for peer in ["nginx_by_wrk", "fourwave_by_wrk", "nginx_by_fourwave"] {
        is_positive(&report, &format!("/peers/rps/{peer}/per_s"));
    }
    for peer in ["sockperf", "fourwave_by_sockperf"] {
        is_positive(&report, &format!("/peers/rtt/{peer}/p50_ns"));
    }
    is_positive(&report, "/peers/bulk/iperf3/gbit_per_s");
    assert_eq!(report["skipped"], Value::Array(Vec::new()));
}

/// What is offered is a share of what the closed loop just before it gave.
#[test]
fn overload_offers_shares_of_the_most() {
    let _turn = LabTurn::take();
    let report = short("overload", None);
    for part in ["rps", "cps"] {
        let most = report["overload"][part]["max_per_s"].as_f64().unwrap();
        let steps = report["overload"][part]["steps"].as_array().unwrap();
        let shares: Vec<_> = steps.iter().map(|step| step["share"].as_f64().unwrap()).collect();
        assert_eq!(shares, [0.5, 0.9, 1.0, 1.2, 1.5]);
        for step in steps {
            assert_eq!(step["offered_per_s"], (most * step["share"].as_f64().unwrap()).round(), "{step}");
            is_positive(step, "/per_s");
            is_positive(step, "/p99_ns");
        }
    }
}

/// With a PATH that has nothing but what the lab needs.
#[test]
fn programs_that_are_absent_are_named() {
    let _turn = LabTurn::take();
    let folder = std::env::temp_dir().join(format!("fourwave-bench-path-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for program in ["ip", "ethtool", "sh", "setpriv"] {
        let mut which = Command::new("sh");
        which.args(["-c", &format!("command -v {program}")]);
        let found = good(which);
        let _ = std::os::unix::fs::symlink(found.trim(), folder.join(program));
    }
    let report = short("peers,proxy", folder.to_str());
    std::fs::remove_dir_all(&folder).unwrap();
    let absent = ["haproxy", "nginx", "wrk", "sockperf", "iperf3"].map(|program| format!("{program}: not installed"));
    assert_eq!(report["skipped"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>(), absent);
    assert_eq!((&report["peers"], &report["haproxy"]), (&serde_json::json!({}), &Value::Null));
    is_positive(&report, "/proxy/fourwave/requests_per_s");
    assert!(report["proxy"].get("haproxy").is_none() && report["proxy"]["ratio"]["requests_per_s"].is_null());
}

/// The document, a page, and a plot of each measurement; what was typed is in the page but for where they went.
#[test]
fn results_are_written() {
    let _turn = LabTurn::take();
    let folder = std::env::temp_dir().join(format!("fourwave-bench-e2e-{}", std::process::id()));
    let path = folder.to_str().unwrap();
    ok(&["bench", "--only", "rtt", "--rounds", "1", "--seconds", "1", "--pause-s", "0", "--results", path]);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    is_positive(&json(&read("bench.json")), "/rtt/fourwave/p50_ns");
    let page = read("bench.md");
    for words in ["`fourwave bench --only rtt --rounds 1 --seconds 1 --pause-s 0 --bytes 64`", "(rtt.svg)", "≤ 1.3"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(read("rtt.svg").starts_with("<svg"));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// HAProxy is left out where it is not installed.
#[test]
fn a_proxy_is_measured_beside_haproxy() {
    let _turn = LabTurn::take();
    let report = short("proxy", None);
    let stacks: &[&str] = if report["haproxy"].is_string() { &["fourwave", "haproxy"] } else { &["fourwave"] };
    for stack in stacks {
        for key in ["requests_per_s", "connects_per_s"] {
            assert!(report["proxy"][stack][key].as_f64().unwrap() > 0.0, "{stack} {key}: {report}");
        }
        assert!(report["proxy"][stack]["added_latency_ns"]["p50"].is_number(), "{stack}: {report}");
    }
    assert_eq!(report["proxy"]["ratio"]["requests_per_s"].is_number(), stacks.len() == 2, "{report}");
}

/// With more than one at a time all come back as well, and each is counted.
#[test]
fn bare_frames_go_many_at_a_time() {
    let _lab = lab();
    let server = Server::start("echo --listen 10.77.0.1:7 --stack raw");
    for window in ["1", "64", "1024"] {
        let args = ["ping", "10.77.0.1:7", "--stack", "raw", "--pipeline", window, "--count", "20000", "--json"];
        let report = json(&good(fourwave("fw-b", &args)));
        assert_eq!(report["count"].as_u64(), Some(20_000), "{report}");
        // A ring may overflow where many are under way and the other end is not on a core: frames are not sent again.
        let lost = report["errors"].as_u64().unwrap();
        assert!(lost == 0 || window != "1", "{report}");
        is_positive(&report, "/latency_ns/p50");
    }
    server.stop();
}
