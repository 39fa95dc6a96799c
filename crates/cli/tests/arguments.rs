//! What can go wrong before anything is done: exit codes and sentences. No privileges needed.

mod common;

use common::{run, stderr};
use std::process::Command;

#[test]
fn a_typo_in_a_flag_is_exit_code_2() {
    let output = run(&["ping", "10.77.0.1:7", "--cuont", "5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--count"), "the right flag is suggested: {}", stderr(&output));
}

#[test]
fn contradictions_are_exit_code_2() {
    let output = run(&["serve", "discard", "--listen", "10.77.0.1:7", "--stack", "raw"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("fourwave: "), "{}", stderr(&output));
}

#[test]
fn a_refused_connection_is_one_sentence() {
    let output = run(&["ping", "127.0.0.1:1", "--stack", "kernel", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("refused") && said.contains("fourwave serve echo"), "{said}");
}

#[test]
fn without_root_one_sentence_says_so() {
    let copy = common::for_nobody();
    let program = copy.path();
    for command in [&["demo"][..], &["lab", "up"], &["lab", "down"], &["lab", "status"], &["bench"]] {
        let mut nobody = if rustix::process::geteuid().is_root() {
            let mut nobody = Command::new("setpriv");
            nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
            nobody
        } else {
            Command::new(&program)
        };
        let output = nobody.args(command).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("root"), "{said}");
    }
}
