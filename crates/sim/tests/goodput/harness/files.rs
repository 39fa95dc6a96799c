//! What is committed, and where.

use super::{
    row::{HEAD, Row},
    run::Stack,
};
use std::{fs, path::PathBuf};

const RULE: &str = "# `make goldens` makes this file, docs/GOODPUT.md explains it. A cell lasts 40 s of virtual time, 3,000 round trips if that is
# longer, or until the sender has put as many frames on the link as it takes in 100 round trips (600,000 to 4,000,000); the
# first quarter is not measured.";

/// The tables, a line for each cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Fourwave,
    /// smoltcp with the best of its settings.
    Smoltcp,
    /// smoltcp that fills its window with small segments.
    SmoltcpSmall,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Tables {
    pub ours: Vec<Row>,
    pub theirs: Vec<Row>,
    pub theirs_small: Vec<Row>,
}

impl Tables {
    pub fn read() -> Self {
        let [ours, theirs, theirs_small] = Table::ALL.map(Table::read);
        Self { ours, theirs, theirs_small }
    }
}

impl Table {
    pub const ALL: [Self; 3] = [Self::Fourwave, Self::Smoltcp, Self::SmoltcpSmall];

    /// Where a line of these flows belongs.
    pub fn of(stack: Stack) -> Self {
        match stack {
            Stack::Fourwave => Self::Fourwave,
            Stack::Smoltcp(tuning) if tuning.small => Self::SmoltcpSmall,
            Stack::Smoltcp(_) => Self::Smoltcp,
        }
    }

    pub fn path(self) -> PathBuf {
        let name = match self {
            Self::Fourwave => "fourwave.txt",
            Self::Smoltcp => "smoltcp.txt",
            Self::SmoltcpSmall => "smoltcp-small.txt",
        };
        root().join("crates/sim/tests/goodput").join(name)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Fourwave => "# Goodput of fourwave in the simulated world.",
            Self::Smoltcp => "# Goodput of smoltcp 0.14 in the same world, of each cell the best settings.",
            Self::SmoltcpSmall => {
                "# The same without Nagle's algorithm: smoltcp then fills its window with small segments."
            }
        }
    }

    /// The committed lines.
    pub fn read(self) -> Vec<Row> {
        let text = fs::read_to_string(self.path()).expect("the table is committed");
        text.lines().filter_map(Row::parse).collect()
    }

    pub fn write(self, rows: &[Row]) {
        let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
        let text = format!("{}\n{RULE}\n{HEAD}\n{}\n", self.title(), lines.join("\n"));
        fs::write(self.path(), text).expect("the table can be written");
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn page() -> PathBuf {
    root().join("docs/GOODPUT.md")
}

pub fn plot(gbit: u64) -> PathBuf {
    root().join(format!("docs/img/goodput-{gbit}gbit.svg"))
}
