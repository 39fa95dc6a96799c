//! `docs/CONFORMANCE.md`: each requirement of the tables in `docs/conformance`, where it is implemented, which tests show
//! it, and where the stack deviates, why.
//!
//! Tests and code speak for themselves, by the ids and sections in their comments; the tables hold texts and reasons.

mod cite;
mod evidence;
mod report;
mod source;
mod table;

use crate::Findings;
use evidence::Evidence;
use std::{
    io,
    path::{Path, PathBuf},
};
use table::{Entry, Table};

/// Whether a row may be marked `pending`: what it asks for is being built.
const PENDING_ALLOWED: bool = false;

const TABLES: &str = "docs/conformance";
const REPORT: &str = "docs/CONFORMANCE.md";
const LEVELS: [&str; 8] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "RECOMMENDED", "PROSE", "INFO"];
/// Remarks that say why a requirement has no test of its own.
const EXCUSES: [&str; 4] = ["deviation", "not applicable", "not offered", "later"];

/// All tables, and what the sources say.
struct Conformance {
    requirements: Vec<Table>,
    scenarios: Table,
    decisions: Table,
    evidence: Evidence,
    pending_allowed: bool,
}

/// Writes the report; what is wrong with the tables is `check`'s to say.
pub(crate) fn write(root: &Path) -> io::Result<Findings> {
    match load(root)? {
        Ok(conformance) => {
            std::fs::write(root.join(REPORT), report::markdown(&conformance))?;
            conformance
                .no_longer_pending()
                .for_each(|id| println!("        {id} has its tests: it is no longer pending"));
            Ok(conformance.findings())
        }
        Err(findings) => Ok(findings),
    }
}

/// Whether the report is up to date, every MUST has its test, and every test that is named exists.
pub(crate) fn check(root: &Path) -> io::Result<Findings> {
    let conformance = match load(root)? {
        Ok(conformance) => conformance,
        Err(findings) => return Ok(findings),
    };
    let mut findings = conformance.findings();
    findings.extend(stale(
        &std::fs::read_to_string(root.join(REPORT)).unwrap_or_default(),
        &report::markdown(&conformance),
    ));
    for file in markdown_files(root)? {
        let name = crate::shown(root, &file);
        findings.extend(conformance.unknown_tests(&name, &std::fs::read_to_string(&file)?, false));
    }
    Ok(findings)
}

fn stale(there: &str, generated: &str) -> Option<String> {
    (there != generated).then(|| format!("{REPORT} is out of date: cargo run -p xtask -- conformance"))
}

fn load(root: &Path) -> io::Result<Result<Conformance, Findings>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root.join(TABLES))?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let (mut tables, mut findings) = (Vec::new(), Findings::new());
    for file in files {
        match table::parse(&std::fs::read_to_string(&file)?) {
            Ok(table) => tables.push((file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), table)),
            Err(mistake) => findings.push(format!("{}: {mistake}", crate::shown(root, &file))),
        }
    }
    let mut take = |name: &str| tables.iter().position(|(n, _)| n == name).map(|at| tables.remove(at).1);
    let (scenarios, decisions) = (take("scenarios"), take("decisions"));
    let (Some(scenarios), Some(decisions)) = (scenarios, decisions) else {
        findings.push(format!("{TABLES} lacks scenarios.txt or decisions.txt"));
        return Ok(Err(findings));
    };
    // RFC 9293 first, its companions by number.
    tables.sort_by_key(|(name, table)| (table.rfc != Some(9293), table.rfc, name.clone()));
    let requirements = tables.into_iter().map(|(_, table)| table).collect();
    let evidence = Evidence::gather(root)?;
    let conformance = Conformance { requirements, scenarios, decisions, evidence, pending_allowed: PENDING_ALLOWED };
    Ok(if findings.is_empty() { Ok(conformance) } else { Err(findings) })
}

/// What people wrote for people: there, too, a test that is named has to exist.
fn markdown_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md") && *file != root.join(REPORT));
    files.sort();
    Ok(files)
}

/// How a requirement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Shown,
    Deviation,
    NotApplicable,
    Later,
    Pending,
    Open,
}

impl Conformance {
    fn entries(&self) -> impl Iterator<Item = (&Table, &Entry)> {
        self.requirements.iter().flat_map(|table| table.entries.iter().map(move |entry| (table, entry)))
    }

    fn status(&self, entry: &Entry) -> Status {
        let has = |word| entry.remark(word).is_some();
        if has("deviation") {
            Status::Deviation
        } else if has("not applicable") || has("not offered") {
            Status::NotApplicable
        } else if self.evidence.tests_of(&entry.id).next().is_some() {
            Status::Shown
        } else if has("later") {
            Status::Later
        } else if has("pending") {
            Status::Pending
        } else {
            Status::Open
        }
    }

    /// The files that implement a requirement: what the table names, or what cites it.
    fn places<'a>(&'a self, table: &Table, entry: &'a Entry) -> Vec<&'a str> {
        let named = entry.remark("code").map_or(Vec::new(), |code| code.split(',').map(str::trim).collect());
        let rfc = table.rfc.filter(|_| named.is_empty());
        let mut places = self.evidence.places_of(&entry.id, rfc, entry.section());
        places.extend(named);
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Rows that are marked as pending and have tests by now.
    fn no_longer_pending(&self) -> impl Iterator<Item = &str> {
        let marked = self.entries().map(|(_, entry)| entry).chain(&self.scenarios.entries);
        let marked = marked.filter(|entry| entry.remark("pending").is_some());
        marked.filter(|entry| self.evidence.tests_of(&entry.id).next().is_some()).map(|entry| entry.id.as_str())
    }

    fn findings(&self) -> Findings {
        let mut findings = Findings::new();
        for (table, entry) in self.entries() {
            findings.extend(self.mistakes(table, entry).map(|mistake| format!("{}: {mistake}", entry.id)));
        }
        for entry in &self.scenarios.entries {
            if self.status(entry) == Status::Open {
                findings.push(format!("scenario {} has no test", entry.id));
            }
        }
        for entry in &self.decisions.entries {
            if entry.remark("decision").is_none() || entry.remark("reason").is_none() {
                findings.push(format!("{} lacks its decision or its reason", entry.id));
            }
        }
        findings.extend(self.unknown_ids());
        let decided = self.decisions.entries.iter().chain(&self.scenarios.entries);
        for entry in self.entries().map(|(_, entry)| entry).chain(decided) {
            let texts = entry.remarks.values().chain([&entry.text]);
            findings.extend(texts.flat_map(|text| self.unknown_tests(&entry.id, text, true)));
        }
        findings
    }

    fn mistakes(&self, table: &Table, entry: &Entry) -> impl Iterator<Item = String> {
        let status = self.status(entry);
        let mut found = Vec::new();
        if entry.fields.len() != 2 || entry.text.is_empty() || !LEVELS.contains(&entry.level()) {
            found.push("a requirement is ID | section | LEVEL, and a text".into());
        }
        if let Some((word, _)) = entry.remarks.iter().find(|(_, text)| text.is_empty()) {
            found.push(format!("{word}: for what reason?"));
        }
        if EXCUSES.iter().filter(|word| entry.remark(word).is_some()).count() > 1 {
            found.push("one of deviation, not applicable, not offered and later will do".into());
        }
        let must = matches!(entry.level(), "MUST" | "MUST NOT");
        if status == Status::Open {
            found.push(format!("{} without a test, and without a reason for that", entry.level()));
        }
        if must && status == Status::Shown && self.places(table, entry).is_empty() {
            found.push("no code cites it or its section".into());
        }
        let known = |file: &&str| self.evidence.places.iter().any(|place| place.file == *file);
        let unknown =
            entry.remark("code").into_iter().flat_map(|code| code.split(',').map(str::trim)).find(|file| !known(file));
        found.extend(unknown.map(|file| format!("crates/{file} does not exist")));
        if entry.remark("pending").is_some() && !self.pending_allowed {
            found.push("it is marked as pending".into());
        }
        found.into_iter()
    }

    /// Ids that tests or code cite and no table has.
    fn unknown_ids(&self) -> Findings {
        let listed = |id: &str| {
            let in_tables = self.entries().any(|(_, entry)| entry.id == id);
            in_tables || [&self.scenarios, &self.decisions].iter().any(|table| table.entries.iter().any(|e| e.id == id))
        };
        let tests = self.evidence.tests.iter().map(|test| (test.reference(), &test.ids));
        let places = self.evidence.places.iter().map(|place| (place.file.clone(), &place.ids));
        tests
            .chain(places)
            .flat_map(|(who, ids)| {
                ids.iter().filter(|id| !listed(id)).map(move |id| format!("{who} cites {id}, which no table has"))
            })
            .collect()
    }

    /// Tests that a text names in backticks, as `file::function`, and that don't exist. Unless it is `strict`, only what
    /// can't well be anything else is taken for one: the name of a test file, and a sentence for a function.
    fn unknown_tests(&self, who: &str, text: &str, strict: bool) -> Findings {
        let tests = &self.evidence.tests;
        let is_test = |file: &str, function: &str| {
            let of_file = tests.iter().any(|test| test.file.contains("/tests/") && test.stem() == file);
            of_file && function.matches('_').count() >= 2
        };
        let quoted = text.split('`').skip(1).step_by(2);
        let named =
            quoted.filter_map(|quoted| quoted.split_once("::").map(|(file, function)| (quoted, file, function)));
        named
            .filter(|(_, file, function)| strict || is_test(file, function))
            .filter(|(quoted, ..)| !tests.iter().any(|test| test.reference() == *quoted))
            .map(|(quoted, ..)| format!("{who} names the test {quoted}, which does not exist"))
            .collect()
    }
}

#[cfg(test)]
mod tests;
