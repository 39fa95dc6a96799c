//! What the sources say of themselves: which test cites what, which file cites what.

use super::{
    cite::{self, Section},
    source::Source,
};
use crate::{rust_files, shown};
use std::{collections::BTreeSet, path::Path};

/// Crates whose code implements nothing that a table asks for.
const NO_PROTOCOL: [&str; 3] = ["sim", "packetdrill", "xtask"];

/// A test and the ids it cites: above it, within it, or (scenarios) in its name.
#[derive(Debug)]
pub(super) struct Test {
    /// Below `crates/`.
    pub(super) file: String,
    pub(super) name: String,
    pub(super) ids: BTreeSet<String>,
}

impl Test {
    /// What a table calls it: `file::function`, with the folder for a `mod.rs`.
    pub(super) fn reference(&self) -> String {
        format!("{}::{}", self.stem(), self.name)
    }

    pub(super) fn stem(&self) -> &str {
        let mut parts = self.file.trim_end_matches(".rs").rsplit('/');
        match parts.next() {
            Some("mod" | "main") => parts.next().unwrap_or(""),
            stem => stem.unwrap_or(""),
        }
    }
}

/// A file that implements something, and what its comments cite.
#[derive(Debug)]
pub(super) struct Place {
    /// Below `crates/`.
    pub(super) file: String,
    pub(super) ids: BTreeSet<String>,
    pub(super) sections: BTreeSet<Section>,
}

#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) tests: Vec<Test>,
    pub(super) places: Vec<Place>,
}

impl Evidence {
    /// All crates but this one.
    pub(super) fn gather(root: &Path) -> std::io::Result<Self> {
        let crates = root.join("crates");
        let mut evidence = Self::default();
        for path in rust_files(&crates)? {
            let file = shown(&crates, &path).replace('\\', "/");
            if !file.starts_with("xtask/") {
                evidence.add(file, &Source::new(std::fs::read_to_string(path)?));
            }
        }
        Ok(evidence)
    }

    pub(super) fn add(&mut self, file: String, source: &Source) {
        for test in source.tests() {
            let (head, body) = (source.text(test.head), source.text(test.body));
            let mut ids = cite::requirements(head);
            ids.extend(cite::requirements(body));
            ids.extend(cite::decisions(head));
            ids.extend(cite::decisions(&comments_of(body)));
            ids.extend(cite::scenarios(head));
            ids.extend(cite::scenario_of_name(&test.name));
            self.tests.push(Test { file: file.clone(), name: test.name, ids });
        }
        if is_code(&file) {
            let (mut ids, mut sections) = (BTreeSet::new(), BTreeSet::new());
            for comment in source.comments() {
                ids.extend(cite::requirements(&comment));
                ids.extend(cite::decisions(&comment));
                sections.extend(cite::sections(&comment));
            }
            self.places.push(Place { file, ids, sections });
        }
    }

    pub(super) fn tests_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Test> {
        self.tests.iter().filter(move |test| test.ids.contains(id))
    }

    /// The files that cite the requirement itself, or else its sections as exactly as any file does.
    pub(super) fn places_of(&self, id: &str, rfc: Option<u32>, section: &str) -> Vec<&str> {
        let by = |wanted: &dyn Fn(&Place) -> bool| -> Vec<&str> {
            self.places.iter().filter(|place| wanted(place)).map(|place| place.file.as_str()).collect()
        };
        let mut found = by(&|place| place.ids.contains(id));
        let Some(rfc) = rfc.filter(|_| found.is_empty()) else { return found };
        let cites = |place: &Place, wanted: &dyn Fn(&str) -> bool| {
            place.sections.iter().any(|s| s.rfc == rfc && wanted(&s.section))
        };
        let asked: Vec<&str> =
            section.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|s| !s.is_empty()).collect();
        found = by(&|place| cites(place, &|s| asked.contains(&s)));
        if found.is_empty() {
            found = by(&|place| cites(place, &|s| asked.iter().any(|a| s.starts_with(&format!("{a}.")))));
        }
        // Up from the first section; the whole of a companion is short, the whole of RFC 9293 says nothing.
        let mut above = asked.first().copied().unwrap_or("");
        while found.is_empty() && !above.is_empty() {
            above = above.rsplit_once('.').map_or("", |(above, _)| above);
            if rfc != 9293 || above.matches('.').count() >= 2 {
                found = by(&|place| cites(place, &|s| s == above));
            }
        }
        found
    }
}

/// The comment lines of a body: in strings an `A1` may be anything.
fn comments_of(body: &str) -> String {
    body.lines().map(str::trim_start).filter(|line| line.starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_code(file: &str) -> bool {
    let name = file.split('/').next().unwrap_or("");
    let tests =
        ["/tests/", "/benches/", "/testing/"].iter().any(|folder| file.contains(folder)) || file.ends_with("/tests.rs");
    !tests && !NO_PROTOCOL.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(files: &[(&str, &str)]) -> Evidence {
        let mut evidence = Evidence::default();
        files.iter().for_each(|(file, text)| evidence.add((*file).into(), &Source::new(*text)));
        evidence
    }

    #[test]
    fn a_test_shows_what_it_cites() {
        let text = "/// MUST-1: it is so. As S03.\n#[test]\nfn s02s_x() {\n    // SHLD-2, A5; S99 no\n    case(\"in A7 # MAY-3\");\n}\n\
                    /// MUST-9\nfn helper() {}\n";
        let e = evidence(&[("tcp/tests/scenarios.rs", text)]);
        assert!(e.tests[0].ids.iter().eq(["A5", "MAY-3", "MUST-1", "S02s", "S03", "SHLD-2"].iter()), "{:?}", e.tests);
        assert_eq!(e.tests[0].reference(), "scenarios::s02s_x");
        assert_eq!((e.tests.len(), e.places.len()), (1, 0));
    }

    #[test]
    fn places_are_found_by_id_then_by_section() {
        let e = evidence(&[
            ("tcp/src/a.rs", "// RFC 9293 section 3.8.6.1, MUST-36"),
            ("tcp/src/b.rs", "// RFC 9293 section 3.8.6"),
            ("tcp/src/c.rs", "// RFC 1337"),
            ("tcp/src/d.rs", "// RFC 9293 section 3.10.7.4.\n"),
            ("tcp/tests/e.rs", "// RFC 9293 section 3.8.6.1, MUST-36"),
            ("sim/src/f.rs", "// MUST-36"),
        ]);
        assert_eq!(e.places_of("MUST-36", Some(9293), "3.8.6.1"), ["tcp/src/a.rs"]);
        assert_eq!(e.places_of("MUST-35", Some(9293), "3.8.6"), ["tcp/src/b.rs"]);
        assert_eq!(e.places_of("MUST-38", Some(9293), "3.8.6.2.1"), ["tcp/src/b.rs"]);
        assert_eq!(e.places_of("X", Some(9293), "3.10.7.4 fifth/eighth"), ["tcp/src/d.rs"]);
        assert_eq!(e.places_of("X", Some(9293), "3.10.7"), ["tcp/src/d.rs"]);
        assert_eq!(e.places_of("X", Some(1337), "3"), ["tcp/src/c.rs"]);
        assert_eq!(e.places_of("X", Some(9293), "3.9.2"), [""; 0]);
    }
}
