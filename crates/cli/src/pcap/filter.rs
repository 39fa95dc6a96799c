//! Filters are compiled by tcpdump.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use fourwave::capture::bpf::{Instruction, Program};

/// A capture without a packet, as tcpdump reads one: the magic number, version 2.4, a snap length, and Ethernet. What it is to
/// compile for is then known without an interface or privileges.
const EMPTY: [u32; 6] = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 262_144, 1];

/// The program of a filter.
pub(super) fn compile(filter: &str) -> anyhow::Result<Vec<Instruction>> {
    let mut command = Command::new("tcpdump");
    command.args(["-r", "-", "-ddd", "--", filter]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            anyhow!("filters are compiled by tcpdump, which is not installed: apt-get install tcpdump")
        }
        _ => anyhow::Error::new(error).context("cannot run tcpdump, which compiles filters"),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // What it says of a filter that is wrong it may say before it reads.
        let _ = stdin.write_all(&EMPTY.map(u32::to_ne_bytes).concat());
    }
    let output = child.wait_with_output().context("cannot run tcpdump, which compiles filters")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why =
            said.lines().rev().find_map(|line| line.strip_prefix("tcpdump: ")).unwrap_or("tcpdump does not say why");
        bail!("the filter `{filter}` is wrong: {why} (man pcap-filter)");
    }
    let program = read(&String::from_utf8_lossy(&output.stdout)).context("tcpdump gives what is no program")?;
    Program::check(&program).with_context(|| format!("the filter `{filter}` can't be used"))?;
    Ok(program)
}

/// Reads what `tcpdump -ddd` prints: the number of instructions, and each on a line.
fn read(text: &str) -> Option<Vec<Instruction>> {
    let mut lines = text.lines();
    let count: usize = lines.next()?.trim().parse().ok()?;
    let program: Vec<_> = lines.map(instruction).collect::<Option<_>>()?;
    (program.len() == count).then_some(program)
}

fn instruction(line: &str) -> Option<Instruction> {
    let mut words = line.split_whitespace();
    let instruction = (
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    );
    words.next().is_none().then_some(instruction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tcpdump_prints_is_read() {
        assert_eq!(read("2\n40 0 0 12\n6 0 0 262144\n"), Some(vec![(40, 0, 0, 12), (6, 0, 0, 262_144)]));
        for wrong in ["", "1\n", "1\n40 0 0\n", "1\n40 0 0 12 1\n", "2\n6 0 0 0\n", "x\n6 0 0 0\n", "1\n6 0 256 0\n"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_typo_is_one_sentence() {
        let error = compile("prot 80").unwrap_err();
        assert!(
            error.to_string().contains("`prot 80` is wrong: ") && error.to_string().contains("syntax error"),
            "{error}"
        );
        assert!(!compile("tcp port 80").unwrap().is_empty());
        // It is never an option of tcpdump's.
        assert!(compile("-w /tmp/x").is_err());
    }
}
