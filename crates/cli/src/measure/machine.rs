//! What it was measured on.

use serde::{Deserialize, Serialize};

/// The machine this runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name, or else its architecture.
    pub(crate) cpu: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map(|model| model.trim_start_matches([' ', '\t', ':']).to_owned());
        Self {
            cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: crate::affinity::cores().len(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }
}
