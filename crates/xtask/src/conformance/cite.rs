//! What comments cite: requirements, scenarios and decisions by their ids, RFCs by number and section.

use std::collections::BTreeSet;

/// A section of an RFC, or the whole of it (an empty section).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Section {
    pub(super) rfc: u32,
    pub(super) section: String,
}

/// The words of a text, without the punctuation around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')))
        .map(|word| word.trim_matches(['.', '-', '_']))
        .filter(|word| !word.is_empty())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The ids of requirements in a text: `MUST-17`, `RFC7323-5.3-a`. What only looks like one is among them, and unknown.
pub(super) fn requirements(text: &str) -> BTreeSet<String> {
    let labelled = |word: &str| {
        ["MUST-", "SHLD-", "MAY-", "REC-"]
            .iter()
            .any(|kind| word.strip_prefix(kind).is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit())))
    };
    let unlabelled =
        |word: &str| word.strip_prefix("RFC").and_then(|rest| rest.split_once('-')).is_some_and(|(n, _)| is_number(n));
    words(text).filter(|word| labelled(word) || unlabelled(word)).map(String::from).collect()
}

/// The ids of scenarios in a text: `S07`, `S23d`.
pub(super) fn scenarios(text: &str) -> BTreeSet<String> {
    words(text).filter(|word| is_scenario(word)).map(String::from).collect()
}

fn is_scenario(word: &str) -> bool {
    let Some(rest) = word.strip_prefix('S') else { return false };
    rest.len() >= 2 && is_number(&rest[..2]) && matches!(rest.as_bytes()[2..], [] | [b'a'..=b'z'])
}

/// The scenario that a test's name begins with: `s23d_…` is `S23d`.
pub(super) fn scenario_of_name(name: &str) -> Option<String> {
    let id = format!("S{}", name.strip_prefix('s')?.split('_').next()?);
    is_scenario(&id).then_some(id)
}

/// The ids of decisions in a text: `A5`.
pub(super) fn decisions(text: &str) -> BTreeSet<String> {
    words(text)
        .filter(|word| word.strip_prefix('A').is_some_and(|n| n.len() <= 2 && is_number(n)))
        .map(String::from)
        .collect()
}

/// The sections of RFCs in a comment: `RFC 9293 sections 3.5.2 and 3.10.7.1`, `RFC 6298 (5.6)`, `RFC 1337`; three numbers
/// that begin with 3 and name no RFC are RFC 9293's.
pub(super) fn sections(comment: &str) -> BTreeSet<Section> {
    let mut found = BTreeSet::new();
    let mut rfc: Option<u32> = None;
    let mut tokens = comment.split_whitespace().peekable();
    let mut introduced = false;
    while let Some(token) = tokens.next() {
        let word = token.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if word == "RFC" {
            let number = tokens.peek().map(|next| next.trim_end_matches(|c: char| !c.is_ascii_digit()));
            rfc = number.and_then(|n| n.trim_end_matches("'s").parse().ok());
            if let Some(rfc) = rfc {
                found.insert(Section { rfc, section: String::new() });
                let sentence_ends = tokens.next().is_some_and(|next| next.ends_with(['.', ';']));
                introduced = !sentence_ends;
                continue;
            }
        } else if is_section(word) && (word.contains('.') || introduced) {
            let base = (word.starts_with("3.") && word.matches('.').count() >= 2).then_some(9293);
            if let Some(rfc) = rfc.or(base) {
                found.insert(Section { rfc, section: word.into() });
            }
        } else if word.contains('-') && word.split('-').all(is_section) {
            // A range: its ends.
            found.extend(rfc.iter().flat_map(|rfc| word.split('-').map(|s| Section { rfc: *rfc, section: s.into() })));
        } else {
            let goes_on = introduced && matches!(word, "and" | "to");
            introduced = rfc.is_some() && (goes_on || matches!(word, "section" | "sections"));
        }
        if token.ends_with(['.', ';']) {
            (rfc, introduced) = (None, false);
        }
    }
    found
}

/// Numbers with dots between, none above 99: `3.10.7.4`.
fn is_section(word: &str) -> bool {
    word.split('.').all(|n| is_number(n) && n.len() <= 2 && !n.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(comment: &str) -> Vec<String> {
        sections(comment)
            .into_iter()
            .map(|s| format!("{} {}", s.rfc, s.section))
            .filter(|s| !s.ends_with(' '))
            .collect()
    }

    #[test]
    fn ids_are_told_from_prose() {
        let text = "/// MUST-7, (SHLD-3): RFC9293-3.10.7.4-b; MAY-2. It MUST-be MUST-51..53 RFC9293-3.9 may-1";
        let expected = ["MAY-2", "MUST-51..53", "MUST-7", "RFC9293-3.10.7.4-b", "RFC9293-3.9", "SHLD-3"];
        assert!(requirements(text).iter().eq(expected.iter()), "{:?}", requirements(text));
        assert!(scenarios("S07 and S23d, not S1, SYN, S123 or RFS07").iter().eq(["S07", "S23d"].iter()));
        assert!(decisions("(A5), A20: not A, Appendix A.2, A123, AB1").iter().eq(["A20", "A5"].iter()));
    }

    #[test]
    fn a_name_may_begin_with_its_scenario() {
        assert_eq!(scenario_of_name("s23d_time_wait_comes_back"), Some("S23d".into()));
        assert_eq!(scenario_of_name("s02s_strict"), Some("S02s".into()));
        assert_eq!(scenario_of_name("small_segments"), None);
        assert_eq!(scenario_of_name("s1_x"), None);
    }

    #[test]
    fn sections_of_rfcs_are_found_as_people_write_them() {
        assert_eq!(cited("RFC 9293 section 3.8.6.1. And 3 more."), ["9293 3.8.6.1"]);
        assert_eq!(
            cited("(RFC 9293 sections 3.5.2, 3.10.7.1 (CLOSED) and 3.10.7.2 (LISTEN))"),
            ["9293 3.10.7.1", "9293 3.10.7.2", "9293 3.5.2"]
        );
        assert_eq!(
            cited("RFC 6298 (5.2), (5.3). It waits 0.5 s; RFC 7323, section 2.4"),
            ["6298 5.2", "6298 5.3", "7323 2.4"]
        );
        assert_eq!(cited("processed as in ESTABLISHED (3.10.7.3, fourth)"), ["9293 3.10.7.3"]);
        assert_eq!(cited("RFC 9293 (figures 6 to 11, sections 3.5 and 3.10.7)"), ["9293 3.10.7", "9293 3.5"]);
        assert_eq!(cited("RFC 5961 section 7 says 10 per 5 seconds"), ["5961 7"]);
        assert_eq!(cited("RFC 3168 sections 6.1.4-6.1.6"), ["3168 6.1.4", "3168 6.1.6"]);
        assert_eq!(cited("Linux 5.4 and Python 3.11.2"), ["9293 3.11.2"]);
    }

    #[test]
    fn a_whole_rfc_is_cited_too() {
        let all = sections("RFC 6191, RFC 1337, fix F1");
        assert!(all.contains(&Section { rfc: 1337, section: String::new() }));
        assert!(all.contains(&Section { rfc: 6191, section: String::new() }));
    }
}
