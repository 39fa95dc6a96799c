use super::*;
use source::Source;

/// A repository of one table, one file of code and one of tests.
fn conformance(table: &str, tests: &str) -> Conformance {
    let parse = |text: &str| table::parse(text).expect("a table");
    let mut evidence = Evidence::default();
    evidence.add("tcp/src/code.rs".into(), &Source::new("// RFC 9293 section 3.1\n"));
    evidence.add("tcp/tests/cases.rs".into(), &Source::new(tests));
    Conformance {
        requirements: vec![parse(&format!("RFC 9293: a test\n{table}"))],
        scenarios: parse("Scenarios\n"),
        decisions: parse("Decisions\n"),
        evidence,
        pending_allowed: true,
    }
}

const A_TEST: &str = "/// MUST-1\n#[test]\nfn it_holds() {}\n";

#[test]
fn a_must_with_a_test_is_fine_and_one_without_is_reported() {
    let table = "MUST-1 | 3.1 | MUST\n  x\n";
    assert_eq!(conformance(table, A_TEST).findings(), [""; 0]);
    assert_eq!(conformance(table, "").findings(), ["MUST-1: MUST without a test, and without a reason for that"]);
    assert_eq!(conformance(table, &A_TEST.replace("fn it", "#[ignore]\nfn it")).findings().len(), 1);
    assert_eq!(conformance(table, "/// MUST-1\nfn no_test() {}\n").findings().len(), 1);
}

#[test]
fn a_reason_stands_for_a_test() {
    for word in EXCUSES {
        assert_eq!(conformance(&format!("MUST-1 | 3.1 | MUST\n  x\n  {word}: y\n"), "").findings(), [""; 0]);
        assert_eq!(
            conformance(&format!("MUST-1 | 3.1 | MUST\n  x\n  {word}:\n"), "").findings(),
            [format!("MUST-1: {word}: for what reason?")]
        );
    }
    let two = conformance("MUST-1 | 3.1 | MUST\n  x\n  later: y\n  deviation: z\n", "").findings();
    assert_eq!(two, ["MUST-1: one of deviation, not applicable, not offered and later will do"]);
}

#[test]
fn pending_is_tolerated_until_it_is_not() {
    let mut c = conformance("MUST-1 | 3.1 | MUST\n  x\n  pending: y\n", "");
    assert_eq!(c.findings(), [""; 0]);
    assert!(report::markdown(&c).contains("\n## Pending\n"));
    assert_eq!(conformance("MUST-1 | 3.1 | MUST\n  x\n  pending: y\n", A_TEST).no_longer_pending().count(), 1);
    assert_eq!(c.no_longer_pending().count(), 0);
    c.pending_allowed = false;
    assert_eq!(c.findings(), ["MUST-1: it is marked as pending"]);
}

#[test]
fn an_unknown_id_is_reported() {
    let c = conformance("MUST-1 | 3.1 | MUST\n  x\n", &A_TEST.replace("MUST-1", "MUST-1, MUST-99, RFC9293-3.1-z, A4"));
    let cites = |id| format!("cases::it_holds cites {id}, which no table has");
    assert_eq!(c.findings(), [cites("A4"), cites("MUST-99"), cites("RFC9293-3.1-z")]);
    let s = conformance("MUST-1 | 3.1 | MUST\n  x\n", &A_TEST.replace("it_holds", "s99_it_holds"));
    assert_eq!(s.findings(), ["cases::s99_it_holds cites S99, which no table has"]);
}

#[test]
fn a_test_that_is_named_must_exist() {
    let table = |name: &str| format!("MUST-1 | 3.1 | MUST\n  x\n  deviation: see `{name}`\n");
    assert_eq!(conformance(&table("cases::it_holds"), A_TEST).findings(), [""; 0]);
    let findings = conformance(&table("cases::it_fails"), A_TEST).findings();
    assert_eq!(findings, ["MUST-1 names the test cases::it_fails, which does not exist"]);
    let c = conformance("", "#[test]\nfn it_holds() {}\n");
    assert_eq!(
        c.unknown_tests("README.md", "`cases::it_has_gone`, `cases::it_holds`, `cases::Case`, `a::b_c_d`", false).len(),
        1
    );
}

#[test]
fn places_that_are_named_must_exist_and_a_must_has_one() {
    let findings =
        conformance("MUST-1 | 3.1 | MUST\n  x\n  code: tcp/src/code.rs, tcp/src/gone.rs\n", A_TEST).findings();
    assert_eq!(findings, ["MUST-1: crates/tcp/src/gone.rs does not exist"]);
    let findings = conformance("MUST-1 | 3.9.2 | MUST\n  x\n", A_TEST).findings();
    assert_eq!(findings, ["MUST-1: no code cites it or its section"]);
}

#[test]
fn scenarios_want_a_test_and_decisions_a_reason() {
    let mut c = conformance("", "#[test]\nfn s01_opens() {}\n");
    c.scenarios = table::parse("Scenarios\nS01 | figure 6\n  x\nS02 | figure 7\n  y\n").expect("a table");
    c.decisions =
        table::parse("Decisions\nA1\n  x\n  decision: y\nA2\n  x\n  decision: y\n  reason: z\n").expect("a table");
    assert_eq!(c.findings(), ["scenario S02 has no test", "A1 lacks its decision or its reason"]);
}

#[test]
fn a_malformed_row_is_reported() {
    for row in ["MUST-1 | 3.1\n  x\n", "MUST-1 | 3.1 | OUGHT\n  x\n", "MUST-1 | 3.1 | MUST\n  later: x\n"] {
        let findings = conformance(row, "").findings();
        assert!(findings.contains(&"MUST-1: a requirement is ID | section | LEVEL, and a text".into()), "{findings:?}");
    }
}

#[test]
fn a_stale_page_is_reported() {
    let c = conformance("MUST-1 | 3.1 | MUST\n  a < b\n", A_TEST);
    let page = report::markdown(&c);
    assert_eq!(stale(&page, &page), None);
    assert!(stale(&page.replace("it_holds", "it_held"), &page).is_some_and(|finding| finding.contains("out of date")));
    let row = "| **MUST-1**<br>3.1 | a &lt; b | [tcp/code](../crates/tcp/src/code.rs) | \
               [tcp/tests/cases](../crates/tcp/tests/cases.rs): it_holds |";
    assert!(page.lines().any(|line| line == row), "{page}");
}
