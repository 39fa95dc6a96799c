//! Which of the programs that are compared with are here.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Config;
use super::task::Part;

/// What is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Installed {
    /// "HAProxy version 2.6.12".
    pub(super) haproxy: Option<String>,
    programs: Vec<&'static str>,
    /// What a part would have needed: "nginx: not installed".
    pub(super) skipped: Vec<String>,
}

impl Installed {
    /// Looks for what the parts need.
    pub(super) fn look(config: &Config) -> Self {
        let mut installed = Self::default();
        if config.parts.contains(&Part::Proxy) {
            installed.haproxy = has("haproxy").then(haproxy_version).flatten();
            if installed.haproxy.is_none() {
                installed.skipped.push("haproxy: not installed".to_owned());
            }
        }
        if config.parts.contains(&Part::Peers) {
            for program in ["nginx", "wrk", "sockperf", "iperf3"] {
                if has(program) {
                    installed.programs.push(program);
                } else {
                    installed.skipped.push(format!("{program}: not installed"));
                }
            }
        }
        installed
    }

    /// Of the peers.
    pub(super) fn has_all(&self, programs: &[&str]) -> bool {
        programs.iter().all(|program| self.programs.contains(program))
    }
}

/// Whether a program is in one of the folders of PATH.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

fn haproxy_version() -> Option<String> {
    let output = Command::new("haproxy").arg("-v").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.split(" - ").next().unwrap_or(line).to_owned())
}
