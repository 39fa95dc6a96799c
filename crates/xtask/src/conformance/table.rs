//! The tables in `docs/conformance`, in a form that reads and diffs well:
//!
//! ```text
//! RFC 9293: title of the table
//!
//! MUST-25 | 3.8.4 | MUST
//!     Keep-alives are off unless the application switches them on.
//!     code: tcp/src/keepalive.rs
//!     deviation: why it is done otherwise, which may name a test as `file::function`
//! ```
//!
//! Lines of an entry are indented; a line that begins with a known word and a colon begins a remark.

use std::collections::BTreeMap;

/// The remarks an entry may have.
const WORDS: [&str; 10] = [
    "code",
    "deviation",
    "not applicable",
    "not offered",
    "later",
    "pending",
    "note",
    "ambiguity",
    "decision",
    "reason",
];

/// A file: its first line, and its entries in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The RFC the title begins with, if it does.
    pub(super) rfc: Option<u32>,
    pub(super) title: String,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    /// What stands behind the id: for a requirement its section and its level.
    pub(super) fields: Vec<String>,
    pub(super) text: String,
    pub(super) remarks: BTreeMap<&'static str, String>,
}

impl Entry {
    pub(super) fn section(&self) -> &str {
        self.fields.first().map_or("", String::as_str)
    }

    pub(super) fn level(&self) -> &str {
        self.fields.get(1).map_or("", String::as_str)
    }

    pub(super) fn remark(&self, word: &str) -> Option<&str> {
        self.remarks.get(word).map(String::as_str)
    }
}

/// Reads a table; the error names the line.
pub(super) fn parse(text: &str) -> Result<Table, String> {
    let mut lines = text.lines().enumerate();
    let title = lines
        .next()
        .map(|(_, line)| line.trim())
        .filter(|line| !line.is_empty())
        .ok_or("line 1: a title is missing")?;
    let rfc = title.strip_prefix("RFC ").and_then(|rest| rest.split(':').next()).and_then(|n| n.parse().ok());
    let mut table = Table { rfc, title: title.into(), entries: Vec::new() };
    let mut word: Option<&'static str> = None;
    for (n, line) in lines.map(|(n, line)| (n + 1, line.trim_end())).filter(|(_, line)| !line.is_empty()) {
        if !line.starts_with(' ') {
            let mut fields = line.split('|').map(|field| field.trim().to_string());
            let id = fields.next().filter(|id| !id.is_empty()).ok_or(format!("line {n}: an id is missing"))?;
            if table.entries.iter().any(|entry| entry.id == id) {
                return Err(format!("line {n}: {id} for the second time"));
            }
            table.entries.push(Entry { id, fields: fields.collect(), ..Entry::default() });
            word = None;
            continue;
        }
        let entry = table.entries.last_mut().ok_or(format!("line {n}: it belongs to no entry"))?;
        let line = line.trim();
        let begun = WORDS.into_iter().find_map(|w| Some((w, line.strip_prefix(w)?.strip_prefix(':')?.trim())));
        let (place, text) = match begun {
            Some((w, _)) if entry.remarks.contains_key(w) => return Err(format!("line {n}: {w} for the second time")),
            Some((w, text)) => {
                word = Some(w);
                (entry.remarks.entry(w).or_default(), text)
            }
            None => (word.map_or(&mut entry.text, |w| entry.remarks.entry(w).or_default()), line),
        };
        if !place.is_empty() {
            place.push(' ');
        }
        place.push_str(text);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_text_and_remarks() {
        let table =
            parse("RFC 1: x\n\nMUST-1 | 3.1 | MUST\n    a\n    b: c\n    code: d\n      e\n    later: f\n\nMUST-2\n")
                .expect("valid");
        assert_eq!((table.rfc, table.title.as_str(), table.entries.len()), (Some(1), "RFC 1: x", 2));
        let entry = &table.entries[0];
        assert_eq!((entry.section(), entry.level(), entry.text.as_str()), ("3.1", "MUST", "a b: c"));
        assert_eq!(
            (entry.remark("code"), entry.remark("later"), entry.remark("pending")),
            (Some("d e"), Some("f"), None)
        );
        assert_eq!(table.entries[1].section(), "");
    }

    #[test]
    fn mistakes_name_their_line() {
        assert_eq!(parse(""), Err("line 1: a title is missing".into()));
        assert_eq!(parse("t\n  x\n"), Err("line 2: it belongs to no entry".into()));
        assert_eq!(parse("t\nA\nB\nA\n"), Err("line 4: A for the second time".into()));
        assert_eq!(parse("t\nA\n  code: x\n  code: y\n"), Err("line 4: code for the second time".into()));
        assert_eq!(parse("t\n| 3 | MUST\n"), Err("line 2: an id is missing".into()));
    }
}
