//! `fourwave bench`.

use std::process::Command;

use crate::common::{self, LabTurn, json, ok};
use crate::support::{kernel_echo, lab};

const POINTS: [&str; 4] = ["raw", "fourwave", "kernel_epoll", "kernel_spin"];

#[test]
fn the_document_has_its_keys_for_every_stack() {
    let _turn = LabTurn::take();
    let args = ["bench", "--only", "rtt", "--rounds", "1", "--seconds", "0.3", "--pause-s", "0", "--json"];
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
    let output = command.args(["--seconds", "0.2", "--pause-s", "0", "--json"]).output().unwrap();
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

/// HAProxy is left out where it is not installed.
#[test]
fn a_proxy_is_measured_beside_haproxy() {
    let _turn = LabTurn::take();
    let args = ["bench", "--only", "proxy", "--rounds", "1", "--seconds", "0.3", "--pause-s", "0", "--json"];
    let report = json(&ok(&args));
    assert_eq!(report["rounds"], 1);
    let stacks: &[&str] = if report["haproxy"].is_string() { &["fourwave", "haproxy"] } else { &["fourwave"] };
    for stack in stacks {
        for key in ["requests_per_s", "connects_per_s"] {
            assert!(report["proxy"][stack][key].as_f64().unwrap() > 0.0, "{stack} {key}: {report}");
        }
        assert!(report["proxy"][stack]["added_latency_ns"]["p50"].is_number(), "{stack}: {report}");
    }
    assert_eq!(report["proxy"]["ratio"]["requests_per_s"].is_number(), stacks.len() == 2, "{report}");
}
