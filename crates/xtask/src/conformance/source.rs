//! Rust source, as far as a conformance table needs it: which bytes are comments, where the tests are.

use std::ops::Range;

/// What a byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Comment,
    /// String and character literals.
    Literal,
}

/// A file with the kind of each of its bytes.
#[derive(Debug)]
pub(super) struct Source {
    text: String,
    kinds: Vec<Kind>,
}

/// A test function that `cargo test` runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    /// Its comments and attributes, from the first line of them on.
    pub(super) head: Range<usize>,
    /// From its name to its last brace.
    pub(super) body: Range<usize>,
}

impl Source {
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let kinds = classify(text.as_bytes());
        Self { text, kinds }
    }

    pub(super) fn text(&self, range: Range<usize>) -> &str {
        &self.text[range]
    }

    /// The file's test functions. One that is ignored shows nothing and is left out.
    pub(super) fn tests(&self) -> Vec<Test> {
        const ATTRIBUTE: &str = "#[test]";
        let marks = self.text.match_indices(ATTRIBUTE).map(|(at, _)| at);
        marks.filter(|at| self.kinds[*at] == Kind::Code).filter_map(|at| self.test(at, at + ATTRIBUTE.len())).collect()
    }

    fn test(&self, mark: usize, behind: usize) -> Option<Test> {
        let start = self.head(mark);
        let name_at = self.find_code(behind, b"fn ")? + 3;
        let between = self.code(behind..name_at);
        // Anything but attributes and qualifiers between: the attribute is not a function's (a macro's definition).
        if between.contains(['{', ';']) || self.code(start..name_at).contains("#[ignore") {
            return None;
        }
        let len = self.text[name_at..].find(|c: char| !c.is_alphanumeric() && c != '_')?;
        if len == 0 {
            return None;
        }
        let end = self.behind_braces(name_at)?;
        Some(Test { name: self.text[name_at..name_at + len].into(), head: start..name_at, body: name_at..end })
    }

    /// The first line of the comments and attributes that stand directly before `at`.
    fn head(&self, at: usize) -> usize {
        let line_of = |at: usize| self.text[..at].rfind('\n').map_or(0, |n| n + 1);
        let mut start = line_of(at);
        while start > 0 {
            let above = line_of(start - 1);
            let line = self.text[above..start].trim_start();
            if !(line.starts_with("//") && !line.starts_with("//!") || line.starts_with("#[")) {
                break;
            }
            start = above;
        }
        start
    }

    /// Behind the closing brace of the item that begins at `at`: its first brace outside of parentheses.
    fn behind_braces(&self, at: usize) -> Option<usize> {
        let (mut parentheses, mut braces) = (0i32, 0i32);
        for (i, byte) in self.text.bytes().enumerate().skip(at).filter(|(i, _)| self.kinds[*i] == Kind::Code) {
            match byte {
                b'(' | b'[' => parentheses += 1,
                b')' | b']' => parentheses -= 1,
                b'{' if parentheses == 0 || braces > 0 => braces += 1,
                b'}' if braces > 0 => {
                    braces -= 1;
                    if braces == 0 {
                        return Some(i + 1);
                    }
                }
                b';' if braces == 0 && parentheses == 0 => return None,
                _ => {}
            }
        }
        None
    }

    fn find_code(&self, from: usize, what: &[u8]) -> Option<usize> {
        let bytes = self.text.as_bytes();
        (from..bytes.len()).find(|i| self.kinds[*i] == Kind::Code && bytes[*i..].starts_with(what))
    }

    fn code(&self, range: Range<usize>) -> String {
        let bytes = self.text.as_bytes();
        range.filter(|i| self.kinds[*i] == Kind::Code).map(|i| char::from(bytes[i])).collect()
    }

    /// The comments outside of test functions and test modules; lines that follow each other are one comment.
    pub(super) fn comments(&self) -> Vec<String> {
        let tests = self.test_modules();
        let mut all: Vec<String> = Vec::new();
        let (mut at, mut joined) = (0, false);
        for line in self.text.split_inclusive('\n') {
            let comment: String = self.comment_of(at, line);
            let begins = at;
            at += line.len();
            if tests.iter().any(|range| range.contains(&begins)) {
                joined = false;
                continue;
            }
            let only = line.trim_start().starts_with("//");
            match (comment.is_empty(), all.last_mut()) {
                (true, _) => {}
                (false, Some(last)) if joined && only => *last += &format!(" {comment}"),
                (false, _) => all.push(comment.clone()),
            }
            joined = only && !comment.is_empty();
        }
        all
    }

    fn comment_of(&self, at: usize, line: &str) -> String {
        let bytes: Vec<u8> =
            line.bytes().enumerate().filter(|(i, _)| self.kinds[at + i] == Kind::Comment).map(|(_, b)| b).collect();
        let text = String::from_utf8_lossy(&bytes);
        text.trim().trim_start_matches(['/', '!', '*']).trim().to_string()
    }

    /// `#[cfg(test)] mod … { … }`, and test functions wherever they stand.
    fn test_modules(&self) -> Vec<Range<usize>> {
        let mark = "#[cfg(test)]";
        let modules = self.text.match_indices(mark).filter(|(at, _)| self.kinds[*at] == Kind::Code);
        let modules = modules.filter_map(|(at, _)| {
            let rest = at + mark.len();
            let item = self.text[rest..].trim_start();
            (item.starts_with("mod ") || item.starts_with("impl "))
                .then(|| self.behind_braces(rest))
                .flatten()
                .map(|end| at..end)
        });
        modules.chain(self.tests().into_iter().map(|test| test.head.start..test.body.end)).collect()
    }
}

fn classify(bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let (kind, end) = token(bytes, at);
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

/// The kind of what begins at `at`, and where it ends.
fn token(bytes: &[u8], at: usize) -> (Kind, usize) {
    let rest = &bytes[at..];
    let behind = |what: &[u8], from: usize| {
        (from..bytes.len()).find(|i| bytes[*i..].starts_with(what)).map_or(bytes.len(), |i| i + what.len())
    };
    if rest.starts_with(b"//") {
        let end = behind(b"\n", at);
        return (Kind::Comment, if bytes[end - 1] == b'\n' { end - 1 } else { end });
    }
    if rest.starts_with(b"/*") {
        return (Kind::Comment, behind(b"*/", at + 2));
    }
    if rest[0] == b'"' {
        return (Kind::Literal, behind_string(bytes, at + 1));
    }
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if (rest[0] == b'r' || rest.starts_with(b"br")) && !in_word {
        let hashes_at = at + if rest[0] == b'b' { 2 } else { 1 };
        let hashes = bytes[hashes_at..].iter().take_while(|b| **b == b'#').count();
        if bytes.get(hashes_at + hashes) == Some(&b'"') {
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            return (Kind::Literal, behind(&close, hashes_at + hashes + 1));
        }
    }
    if rest[0] == b'\'' {
        if rest.get(1) == Some(&b'\\') {
            return (Kind::Literal, behind(b"'", at + 3));
        }
        // A character is up to four bytes; a lifetime has no quote behind it.
        let len =
            rest.get(1).map_or(1, |b| usize::from(*b >= 0x80) + usize::from(*b >= 0xe0) + usize::from(*b >= 0xf0) + 1);
        if rest.get(1 + len) == Some(&b'\'') {
            return (Kind::Literal, at + 2 + len);
        }
    }
    (Kind::Code, at + 1)
}

fn behind_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        Source::new(text).tests().into_iter().map(|test| test.name).collect()
    }

    #[test]
    fn tests_are_found_wherever_they_stand() {
        let text = "#[test]\nfn a() { x(); }\nmod m {\n    /// MUST-1\n    #[test]\n    #[should_panic(expected = \"}\")]\n    fn b() {}\n}\n\
                    proptest! {\n    #[test]\n    fn c((x, y) in (any(), 0..{ 3 }), z in any()) { if x { y() } }\n}\n";
        assert_eq!(names(text), ["a", "b", "c"]);
    }

    #[test]
    fn what_only_looks_like_a_test_is_none() {
        assert_eq!(names("// #[test]\nfn a() {}\n"), [""; 0]);
        assert_eq!(names("const T: &str = \"#[test]\nfn a() {}\";"), [""; 0]);
        assert_eq!(names("const T: &str = r#\"\"#[test]\nfn a() {}\"#;"), [""; 0]);
        assert_eq!(names("#[test]\n#[ignore = \"slow\"]\nfn a() {}\n"), [""; 0]);
        assert_eq!(names("macro_rules! m { ($n:ident) => { #[test] fn $n() {} } }"), [""; 0]);
    }

    #[test]
    fn a_body_ends_at_its_own_brace() {
        let text = "#[test]\nfn a() { let c = '}'; let s = \"}\\\"}\"; let l: &'static str = r\"}\"; /* } */ f(|| { 1 }) }\nfn b() {}\n";
        let source = Source::new(text);
        let test = &source.tests()[0];
        assert!(source.text(test.body.clone()).ends_with("{ 1 }) }"), "{}", source.text(test.body.clone()));
    }

    #[test]
    fn the_head_is_what_stands_directly_above() {
        let source = Source::new("// far\n\n/// near\n// nearer\n#[test]\n// nearest\n#[cfg(unix)]\nfn a() {}\n");
        let test = &source.tests()[0];
        let head = source.text(test.head.clone());
        assert!(head.starts_with("/// near\n") && head.contains("nearest"), "{head}");
    }

    #[test]
    fn comments_of_tests_are_not_of_the_code() {
        let text = "//! One\n//! two.\nfn f() {} // three\nlet s = \"// none\";\n/// four\n#[test]\nfn t() { /* five */ }\n\
                    #[cfg(test)]\nmod tests {\n    // six\n}\n// seven\n#[cfg(test)]\nmod elsewhere;\n// eight\n";
        assert_eq!(Source::new(text).comments(), ["One two.", "three", "seven", "eight"]);
    }
}
