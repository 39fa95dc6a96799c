//! `fourwave report`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::UsageError;
use crate::report::{self, Unit};

/// Files are read one after the other, and their histograms are kept.
const MOST_FILES: usize = 1000;
/// More lines in one plot are not told apart.
const MOST_ON_A_PAGE: usize = 16;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    fourwave report fourwave.json kernel.json\n  \
    fourwave report fourwave.json kernel.json --label fourwave --label 'Linux, epoll' --html compare.html\n  \
    fourwave report host1.json host2.json host3.json --merge --json > all.json\n  \
    fourwave report host*.hlog --merge --hlog all.hlog --html all.html\n  \
    fourwave report idle.json --svg idle.svg\n  \
    fourwave report other-tool.hlog --hlog-unit us\n\n\
    Reads what `fourwave ping --json` and `fourwave load … --json` print, sweeps too, and HdrHistogram interval logs of any\n\
    tool. The first is what the others are compared with. With --merge they are added up: histograms exactly, counts, and the\n\
    rates of results that ran at the same time; the result is a document that `report` reads again.")]
pub(crate) struct ReportArgs {
    /// Results: JSON documents and interval logs, 1 to 1000 [on a page up to 16]
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// What a result is called, once for each FILE in their order [default: the file's name]
    #[arg(long = "label", value_name = "TEXT")]
    labels: Vec<String>,

    /// Write one self-contained page with plots, for any browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write one picture of the first result's connections, memory and probe over time, of `load tcp --mode idle`
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Add the results up to one
    #[arg(long)]
    merge: bool,

    /// With --merge: write one interval log, the intervals of one second added up
    #[arg(long, value_name = "FILE", requires = "merge")]
    hlog: Option<PathBuf>,

    /// What the values of interval logs are: they don't say
    #[arg(long, value_enum, value_name = "UNIT", default_value = "ns")]
    hlog_unit: Unit,

    /// One JSON document on stdout: the sum with --merge, else an array of what was read
    #[arg(long)]
    json: bool,
}

impl ReportArgs {
    pub(crate) fn resolve(self) -> Result<report::Config, UsageError> {
        let count = self.files.len();
        if count > MOST_FILES {
            return Err(UsageError(format!("{count} files are given, and {MOST_FILES} can be read")));
        }
        if self.html.is_some() && !self.merge && count > MOST_ON_A_PAGE {
            return Err(UsageError(format!(
                "{count} results on one page can't be told apart: give up to {MOST_ON_A_PAGE}, or add them up with --merge"
            )));
        }
        if !self.labels.is_empty() && self.labels.len() != count {
            return Err(UsageError(format!("--label is given {} time(s) for {count} file(s)", self.labels.len())));
        }
        let outs = [&self.html, &self.svg, &self.hlog];
        for out in outs.into_iter().flatten() {
            let twice = outs.iter().filter(|other| other.as_ref() == Some(out)).count() > 1;
            if self.files.contains(out) || twice {
                return Err(UsageError(format!("{} is read or written twice", out.display())));
            }
        }
        let names = if self.labels.is_empty() { names(&self.files) } else { self.labels };
        Ok(report::Config {
            files: names.into_iter().zip(self.files).collect(),
            merge: self.merge,
            html: self.html,
            svg: self.svg,
            hlog: self.hlog,
            hlog_unit: self.hlog_unit,
            json: self.json,
        })
    }
}

/// Their last parts, if these differ.
fn names(files: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let short: Vec<_> = files.iter().map(last).collect();
    if short.iter().collect::<BTreeSet<_>>().len() == files.len() {
        return short;
    }
    files.iter().map(|path| path.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};

    /// A command line as a shell takes it, of words without quotes within them.
    fn understood(line: &str) {
        let words = line.split_whitespace().map(|word| word.trim_matches('"'));
        let resolved = match Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).command {
            Command::Load(args) => args.resolve().map(drop),
            Command::Report(args) => args.resolve().map(drop),
            other => panic!("{other:?}"),
        };
        resolved.unwrap_or_else(|error| panic!("{line}: {error}"));
    }

    /// What deploy/ runs on other machines has flags that there are.
    #[test]
    fn the_commands_of_deploy_are_understood() {
        let job = include_str!("../../../../deploy/kubernetes/load-job.yaml");
        let (_, command) = job.split_once("exec ").unwrap();
        let (command, _) = command.split_once("2>").unwrap();
        understood(&command.replace("\"$URL\"", "http://10.0.0.10/").replace("\"$INTERFACE\"", "eth1"));
        let play = include_str!("../../../../deploy/ansible/load.yml");
        let (_, command) = play.split_once("command: \"").unwrap();
        let (command, _) = command.split_once("\"\n").unwrap();
        understood(&format!("fourwave {command} --seconds 30 --json"));
        for line in play.lines().filter_map(|line| line.split_once("{{ fourwave | quote }} report ")) {
            let flags: Vec<_> = line.1.split_whitespace().filter(|word| word.starts_with("--")).collect();
            let flags = flags.join(" ").replace("--html", "--html all.html");
            understood(&format!("fourwave report a.json b.json {flags}"));
        }
        let read_me = include_str!("../../../../deploy/README.md");
        for line in read_me.lines().filter(|line| line.starts_with("fourwave report ")) {
            understood(line.split(" > ").next().unwrap());
        }
    }
}
