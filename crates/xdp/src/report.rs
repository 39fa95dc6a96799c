//! What was negotiated with the kernel, to be shown and logged.

use std::fmt;

use serde::Serialize;

use crate::facts::MacAddr;

/// Where the XDP program runs, after negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the kernel's receive path behind the driver.
    Generic,
}

impl fmt::Display for AttachMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// What [`open`](crate::open) got, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Its driver.
    pub driver: String,
    /// Receive queues of the interface.
    pub queues_available: u32,
    /// The queues that have a port.
    pub queues: Vec<u32>,
    /// Where the program runs.
    pub xdp_mode: AttachMode,
    /// Why there.
    pub xdp_mode_reason: String,
    /// Whether frames get to user space without being copied.
    pub zero_copy: bool,
    /// Why so.
    pub copy_mode_reason: String,
    /// Whether the frames' memory is in huge pages.
    pub hugepages: bool,
    /// Why so.
    pub hugepages_reason: String,
    /// Whether a packet may be in several frames (`XDP_USE_SG`), which costs a copy each way.
    pub multi_buffer: bool,
    /// Why so.
    pub multi_buffer_reason: String,
    /// Whether the device writes the checksums of TCP segments (`XDP_TXMD_FLAGS_CHECKSUM`).
    pub tx_checksum: bool,
    /// Why so.
    pub tx_checksum_reason: String,
    /// Whether the kernel tells when it needs a kick (`XDP_USE_NEED_WAKEUP`).
    pub need_wakeup: bool,
    /// Frames that one `sendto` sends at most in copy mode.
    pub tx_budget: u32,
    /// Frames of each port.
    pub frame_count: u32,
    /// Bytes of a frame.
    pub frame_size: u32,
    /// MTU of the interface.
    pub mtu: u32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// The kernel's id of the steering program.
    pub program_id: u32,
    /// What the user should know, a sentence each.
    pub warnings: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (driver {}, {}, mtu {}), queues {:?} of {}: XDP {} ({}), {} ({}), {} x {} bytes in {} pages, {} ({}), \
             checksums {} ({})",
            self.interface,
            self.driver,
            self.mac,
            self.mtu,
            self.queues,
            self.queues_available,
            self.xdp_mode,
            self.xdp_mode_reason,
            if self.zero_copy { "zero-copy" } else { "copied" },
            self.copy_mode_reason,
            self.frame_count,
            self.frame_size,
            if self.hugepages { "huge" } else { "normal" },
            if self.multi_buffer { "multi-buffer" } else { "one per packet" },
            self.multi_buffer_reason,
            if self.tx_checksum { "offloaded" } else { "computed" },
            self.tx_checksum_reason,
        )?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}
