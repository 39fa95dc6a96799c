//! The state transition table against RFC 9293 figure 5, and docs/STATES.md, which is drawn from it.
//!
//! `UPDATE=1 cargo test -p fourwave-tcp --test states` writes the page again.

use std::fmt::Write as _;
use std::path::Path;
use tcp::{
    Input::{self, *},
    State::{self, *},
};

/// RFC 9293 figure 5, arrow by arrow as it is drawn.
const FIGURE_5: [(State, Input, State); 20] = [
    (Closed, PassiveOpen, Listen),
    (Closed, ActiveOpen, SynSent),
    (Listen, Close, Closed),
    (Listen, Syn, SynReceived),
    (Listen, ActiveOpen, SynSent),
    (SynReceived, ResetAfterPassiveOpen, Listen), // note 1
    (SynReceived, AckOfSyn, Established),
    (SynReceived, Close, FinWait1),
    (SynSent, Close, Closed),
    (SynSent, Syn, SynReceived),
    (SynSent, AckOfSyn, Established),
    (Established, Close, FinWait1),
    (Established, Fin, CloseWait),
    (FinWait1, Fin, Closing),
    (FinWait1, AckOfFin, FinWait2),
    (FinWait2, Fin, TimeWait),
    (CloseWait, Close, LastAck),
    (Closing, AckOfFin, TimeWait),
    (LastAck, AckOfFin, Closed),
    (TimeWait, TimeWaitOver, Closed),
];

/// Note 3: "receipt of a RST from any state results in a transition to LISTEN or CLOSED". To LISTEN is note 1, and a
/// listener stays one (3.10.7.2).
const NOTE_3: [(State, Input, State); 8] = [
    (SynSent, Reset, Closed),
    (SynReceived, Reset, Closed),
    (Established, Reset, Closed),
    (FinWait1, Reset, Closed),
    (FinWait2, Reset, Closed),
    (CloseWait, Reset, Closed),
    (Closing, Reset, Closed),
    (LastAck, Reset, Closed),
];

/// Sections 3.10.5 and 3.10.8: ABORT and the user timeout, in any state, "delete the TCB, enter the CLOSED state". (Note 3
/// would have TIME-WAIT after a RST is sent.)
const ABORTS: [(State, Input, State); 9] = [
    (Listen, Abort, Closed),
    (SynSent, Abort, Closed),
    (SynReceived, Abort, Closed),
    (Established, Abort, Closed),
    (FinWait1, Abort, Closed),
    (FinWait2, Abort, Closed),
    (CloseWait, Abort, Closed),
    (Closing, Abort, Closed),
    (LastAck, Abort, Closed),
];

/// Where the text has an arrow and the table deliberately has none.
const DEVIATIONS: [(State, Input, &str); 2] = [
    (TimeWait, Reset, "a reset does not end it (RFC 1337, fix F1)"),
    (TimeWait, Abort, "it is a record of the stack, and the application's handle has ended before"),
];

/// RFC9293-3.10.7.4-j, every state on every input: figure 5 with its notes 1 and 3, sections 3.10.5 and 3.10.8, and nothing else. S14 shows
/// note 1 on the wire, S17 note 3, S37 the aborts, S25f the deviation.
#[test]
fn the_table_is_figure_5_and_nothing_else() {
    let arrows: Vec<_> = FIGURE_5.into_iter().chain(NOTE_3).chain(ABORTS).collect();
    for state in State::ALL {
        for input in Input::ALL {
            let mut expected = arrows.iter().filter(|(s, i, _)| (*s, *i) == (state, input)).map(|(_, _, next)| *next);
            assert_eq!(state.next(input), expected.next(), "{state:?} on {input:?}");
            assert_eq!(expected.next(), None, "written twice: {state:?} on {input:?}");
        }
    }
    let taken = arrows.iter().map(|(s, i, _)| (*s, *i));
    assert!(taken.clone().all(|arrow| DEVIATIONS.iter().all(|(s, i, _)| (*s, *i) != arrow)));
    assert_eq!(taken.count(), 37);
}

/// S29: note 2: "a transition from FIN-WAIT-1 to TIME-WAIT if a FIN is received and the local FIN is also acknowledged".
#[test]
fn a_fin_that_acknowledges_ours_goes_to_time_wait() {
    assert_eq!(FinWait1.next(AckOfFin).and_then(|s| s.next(Fin)), Some(TimeWait));
}

/// The arrows the figure draws: resets and aborts, which end everything, are left out of it as in the RFC's.
fn drawn() -> Vec<(State, &'static str, State)> {
    let mut all = Vec::new();
    for state in State::ALL {
        for input in Input::ALL.into_iter().filter(|input| !matches!(input, Reset | Abort)) {
            all.extend(state.next(input).map(|next| (state, input.name(), next)));
        }
        // Note 2.
        if let Some(next) = state.next(AckOfFin).and_then(|s| s.next(Fin)) {
            all.push((state, "rcv FIN with ACK of FIN", next));
        }
    }
    all
}

fn mermaid() -> String {
    let id = |state: State| state.name().replace('-', "_");
    let mut out = String::from("```mermaid\nstateDiagram-v2\n    [*] --> CLOSED\n");
    for state in State::ALL.into_iter().filter(|state| state.name().contains('-')) {
        writeln!(out, "    state \"{}\" as {}", state.name(), id(state)).expect("a string");
    }
    for (from, label, to) in drawn() {
        writeln!(out, "    {} --> {} : {label}", id(from), id(to)).expect("a string");
    }
    out + "```\n"
}

fn dot() -> String {
    let mut out = String::from("```dot\ndigraph tcp {\n    node [shape=box, fontname=monospace];\n");
    for (from, label, to) in drawn() {
        writeln!(out, "    \"{}\" -> \"{}\" [label=\"{label}\"];", from.name(), to.name()).expect("a string");
    }
    out + "}\n```\n"
}

fn table() -> String {
    let names: Vec<_> = Input::ALL.iter().map(|input| input.name()).collect();
    let mut out = format!("| state | {} |\n|{}\n", names.join(" | "), "---|".repeat(names.len() + 1));
    for state in State::ALL {
        let next = |input: &Input| match state.next(*input) {
            Some(next) => next.name().to_owned(),
            None if DEVIATIONS.iter().any(|(s, i, _)| (*s, *i) == (state, *input)) => "— ¹".to_owned(),
            None => "—".to_owned(),
        };
        let row: Vec<_> = Input::ALL.iter().map(next).collect();
        writeln!(out, "| **{}** | {} |", state.name(), row.join(" | ")).expect("a string");
    }
    out
}

fn page() -> String {
    let reasons: Vec<_> = DEVIATIONS.iter().map(|(state, _, why)| format!("{}: {why}", state.name())).collect();
    format!(
        "# States\n\n\
         The state transition table of `crates/tcp/src/state.rs`, drawn by `crates/tcp/tests/states.rs`, which also holds it\n\
         against RFC 9293 section 3.3.2, figure 5. Do not edit: `UPDATE=1 cargo test -p fourwave-tcp --test states` writes\n\
         this page again, and the test fails while it is stale.\n\n\
         {}\n\
         As in the RFC's figure the resets are left out of the drawing (note 3): a RST that is acceptable, an ABORT or the\n\
         user timeout ends every connection, and what is left is CLOSED, or LISTEN if a passive OPEN was waiting for its\n\
         ACK (note 1). The table has them all. A dash: no transition. SEND on a listener counts as an active OPEN.\n\n\
         {}\n\
         ¹ {}.\n\n\
         After a RST of ours note 3 advises TIME-WAIT, section 3.10.5 says CLOSED: it is CLOSED here.\n\n\
         <details><summary>The same for Graphviz</summary>\n\n{}\n</details>\n",
        mermaid(),
        table(),
        reasons.join(". "),
        dot()
    )
}

#[test]
fn the_page_of_the_table_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/STATES.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).expect("docs/STATES.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/STATES.md is stale: UPDATE=1 cargo test -p fourwave-tcp --test states");
}
