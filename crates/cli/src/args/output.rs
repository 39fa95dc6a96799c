//! Where a command that measures writes what it found, and what it shows meanwhile.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::UsageError;
use crate::measure::{Files, Live};

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Write the percentiles as HdrHistogram prints them, in microseconds
    #[arg(long, value_name = "FILE")]
    pub(super) hgrm: Option<PathBuf>,

    /// Write HdrHistogram's interval log: a histogram of nanoseconds for every second
    #[arg(long, value_name = "FILE")]
    pub(super) hlog: Option<PathBuf>,

    /// Write a table with a line for every second
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,

    /// Write one self-contained page with plots, for any browser
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// A line every second on stderr; without it, one that is rewritten, and only on a terminal
    #[arg(long)]
    live: bool,

    /// One JSON document on stdout
    #[arg(long)]
    pub(super) json: bool,
}

impl OutputArgs {
    /// Each is written by itself.
    pub(super) fn files(&self) -> Result<Files, UsageError> {
        let Self { hgrm, hlog, csv, report, .. } = self;
        let files = [("--hgrm", hgrm), ("--hlog", hlog), ("--csv", csv), ("--report", report)];
        for (index, (flag, file)) in files.iter().enumerate() {
            let Some(path) = file else { continue };
            if let Some((other, _)) = files[..index].iter().find(|(_, other)| *other == *file) {
                return Err(UsageError(format!("{other} and {flag} can't both write to {}", path.display())));
            }
        }
        Ok(Files { hgrm: hgrm.clone(), hlog: hlog.clone(), csv: csv.clone(), report: report.clone() })
    }

    pub(super) fn live(&self) -> Live {
        match (self.live, std::io::stderr().is_terminal()) {
            (true, _) => Live::Lines,
            (false, true) => Live::InPlace,
            (false, false) => Live::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};

    #[test]
    fn each_file_is_written_by_one_flag() {
        for command in ["ping 10.77.0.1:7", "load http http://10.77.0.1/", "load tcp 10.77.0.1:7"] {
            let resolved = |flags: &str| {
                let line = format!("fourwave {command} {flags}");
                match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
                    Command::Ping(args) => args.resolve().map(|config| config.files),
                    Command::Load(args) => args.resolve().map(|(config, _)| config.files),
                    other => panic!("{other:?}"),
                }
            };
            let files = resolved("--hgrm a --hlog b --csv c --report d").unwrap();
            let all = [files.hgrm, files.hlog, files.csv, files.report].map(|file| file.unwrap().display().to_string());
            assert_eq!(all, ["a", "b", "c", "d"], "{command}");
            for (one, other) in
                [("--hgrm", "--hlog"), ("--hgrm", "--report"), ("--hlog", "--csv"), ("--csv", "--report")]
            {
                let said = resolved(&format!("{other} x {one} x")).unwrap_err().to_string();
                assert_eq!(said, format!("{one} and {other} can't both write to x"), "{command}");
            }
        }
    }
}
