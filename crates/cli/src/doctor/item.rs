//! What was looked at, and what is to be said of it.

use serde::Serialize;

/// How good it is for the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Ok,
    CouldBeBetter,
    /// The stack can't start, or not as it was asked to, or works on frames that are not right.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// What it is; stable.
    pub(crate) name: &'static str,
    /// What is there.
    pub(crate) found: String,
    pub(crate) verdict: Verdict,
    /// What the stack will use, or do about it.
    pub(crate) uses: String,
    /// The command that would improve it, or advice where there is none.
    pub(crate) improve: Option<String>,
}

impl Item {
    /// All is well.
    pub(crate) fn new(name: &'static str, found: impl Into<String>, uses: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Ok, uses: uses.into(), improve: None }
    }

    /// It works, and this would be better.
    pub(crate) fn better(self, improve: impl Into<String>) -> Self {
        Self { verdict: Verdict::CouldBeBetter, improve: Some(improve.into()), ..self }
    }

    /// As [`Item::better`], if so.
    pub(crate) fn better_if(self, condition: bool, improve: impl Into<String>) -> Self {
        if condition { self.better(improve) } else { self }
    }

    /// It keeps the stack from what it was asked for.
    pub(crate) fn wrong(self, improve: impl Into<String>) -> Self {
        Self { verdict: Verdict::Wrong, improve: Some(improve.into()), ..self }
    }
}

/// `yes` or `no`.
pub(crate) const fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// Numbers as `0,2-3`; "none" if there are none.
pub(crate) fn list<T: Copy + Into<u64>>(numbers: &[T]) -> String {
    let mut sorted: Vec<u64> = numbers.iter().map(|number| (*number).into()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for number in sorted {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let part = |(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    if parts.is_empty() { "none".into() } else { parts.iter().map(part).collect::<Vec<_>>().join(",") }
}

/// The numbers of a list such as the kernel writes, `0,2-3`; an empty one has none.
pub(crate) fn numbers(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_as_the_kernel_does() {
        assert_eq!(numbers("0,2-4\n"), [0, 2, 3, 4]);
        assert_eq!(numbers("\n"), [0; 0]);
        assert_eq!(list(&[4u32, 0, 2, 3]), "0,2-4");
        assert_eq!(list::<u32>(&[]), "none");
    }
}
