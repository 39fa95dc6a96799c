//! What a port is made of, checked before anything is opened.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::jumbo::MAX_PIECES;
use crate::syn_limit::SynLimit;

/// Bytes that the kernel keeps in front of every received frame (`XDP_PACKET_HEADROOM`, linux/bpf.h).
pub(crate) const HEADROOM_BYTES: u32 = 256;
/// An Ethernet header and two VLAN tags.
const ETHERNET_AND_VLANS_BYTES: u32 = 22;

/// Bytes of the longest frame of an interface.
pub(crate) fn needed_bytes(mtu: u32) -> u32 {
    mtu.saturating_add(ETHERNET_AND_VLANS_BYTES)
}

/// Where the XDP program runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// Native where the driver supports it, except for drivers known to be faster in generic mode (veth).
    #[default]
    Auto,
    /// In the driver, or an error.
    Native,
    /// In the kernel's receive path behind the driver (`skb` mode), or an error.
    Generic,
}

/// How frames get between the device and the frames' memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyMode {
    /// Zero-copy where the driver supports it, otherwise copied.
    #[default]
    Auto,
    /// Zero-copy, or an error; never copied.
    ZeroCopy,
    /// Copied by the kernel.
    Copy,
}

/// Who writes the checksum of TCP segments that are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TxChecksum {
    /// The device, where frames are not copied and its driver does it for AF_XDP; otherwise the stack.
    #[default]
    Auto,
    /// The device, or an error. Where frames are copied it is also had from a device that does it for the kernel's frames.
    Offload,
    /// The stack.
    Compute,
    /// The kernel, at the cost of a look at every byte. For tests: it takes the way of [`Offload`](Self::Offload) on devices
    /// that have none.
    Software,
}

/// Whether the frames' memory is in huge pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HugePages {
    /// Where the system has free ones (`vm.nr_hugepages`) and the memory is a whole number of them.
    #[default]
    Auto,
    /// Normal pages.
    Never,
}

/// One AF_XDP socket: an interface's queue, its rings and its memory.
///
/// The defaults: 8192 frames of 4096 bytes (32 MiB), all rings 2048. A veth pair has no hardware ring that pushes back: a
/// whole window of the peer's TCP arrives in one burst, so RX and fill rings take 2048 frames (3 MB at an MTU of 1500)
/// before the kernel drops, which leaves as many for the TX ring and twice that for frames an application holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XskConfig {
    /// Name of the interface.
    pub interface: String,
    /// Receive queue, from 0.
    pub queue: u32,
    /// Frames in the port's memory: 128 to 1,048,576.
    pub frame_count: u32,
    /// Bytes of a frame, 2048 or 4096; 256 of them are the kernel's headroom.
    pub frame_size: u32,
    /// Descriptors of the RX ring: a power of two, 64 to 32,768.
    pub rx_ring: u32,
    /// Descriptors of the TX ring: a power of two, 64 to 32,768.
    pub tx_ring: u32,
    /// Descriptors of the fill ring: a power of two, 64 to 32,768.
    pub fill_ring: u32,
    /// Descriptors of the completion ring: a power of two, 64 to 32,768, not fewer than `tx_ring`.
    pub completion_ring: u32,
    /// Where the XDP program runs.
    pub xdp_mode: XdpMode,
    /// How many new connections of one source prefix it lets through; `None`: all.
    pub syn_limit: Option<SynLimit>,
    /// Zero-copy or copied.
    pub copy_mode: CopyMode,
    /// Who writes checksums.
    pub tx_checksum: TxChecksum,
    /// Pages of the frames' memory.
    pub hugepages: HugePages,
}

impl Default for XskConfig {
    fn default() -> Self {
        Self {
            interface: String::new(),
            queue: 0,
            frame_count: 8192,
            frame_size: 4096,
            rx_ring: 2048,
            tx_ring: 2048,
            fill_ring: 2048,
            completion_ring: 2048,
            xdp_mode: XdpMode::Auto,
            syn_limit: None,
            copy_mode: CopyMode::Auto,
            tx_checksum: TxChecksum::Auto,
            hugepages: HugePages::Auto,
        }
    }
}

impl XskConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`]: names the field, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        if self.interface.is_empty() || self.interface.len() >= libc::IFNAMSIZ || self.interface.contains(['/', '\0']) {
            return Err(bad("interface", &self.interface, "a name of 1 to 15 characters without '/'"));
        }
        if !matches!(self.frame_size, 2048 | 4096) {
            return Err(bad("frame_size", self.frame_size, "2048 or 4096 bytes"));
        }
        if !(128..=1 << 20).contains(&self.frame_count) {
            return Err(bad("frame_count", self.frame_count, "128 to 1048576"));
        }
        let rings = [
            ("rx_ring", self.rx_ring),
            ("tx_ring", self.tx_ring),
            ("fill_ring", self.fill_ring),
            ("completion_ring", self.completion_ring),
        ];
        for (field, value) in rings {
            if !value.is_power_of_two() || !(64..=1 << 15).contains(&value) {
                return Err(bad(field, value, "a power of two from 64 to 32768"));
            }
        }
        if self.completion_ring < self.tx_ring {
            return Err(bad("completion_ring", self.completion_ring, "not less than tx_ring"));
        }
        self.syn_limit.as_ref().map_or(Ok(()), SynLimit::check)?;
        if self.xdp_mode == XdpMode::Generic && self.copy_mode == CopyMode::ZeroCopy {
            return Err(bad("copy_mode", "zero-copy", "copy or auto when xdp_mode is generic"));
        }
        Ok(())
    }

    /// Usable bytes of a frame of the rings.
    #[must_use]
    pub fn frame_bytes(&self) -> u32 {
        self.frame_size.saturating_sub(HEADROOM_BYTES)
    }

    /// The largest MTU whose packets fit into one frame each; above it multi-buffer (Linux 6.6) is used, and needed.
    #[must_use]
    pub fn single_buffer_mtu(&self) -> u32 {
        self.frame_bytes().saturating_sub(ETHERNET_AND_VLANS_BYTES)
    }

    /// The largest MTU there can be: a packet is in 17 frames at most.
    #[must_use]
    pub fn most_mtu(&self) -> u32 {
        self.frame_bytes().saturating_mul(MAX_PIECES).saturating_sub(ETHERNET_AND_VLANS_BYTES)
    }

    pub(crate) fn needs_multi_buffer(&self, mtu: u32) -> bool {
        mtu > self.single_buffer_mtu()
    }

    /// Frames that the fill ring never takes, so that there is something to answer with.
    pub(crate) fn tx_reserve(&self) -> u32 {
        self.tx_ring.min(self.frame_count / 4)
    }
}

fn bad(field: &'static str, value: impl ToString, allowed: &'static str) -> Error {
    Error::Config { field, value: value.to_string(), allowed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> XskConfig {
        XskConfig { interface: "eth0".into(), ..XskConfig::default() }
    }

    #[test]
    fn defaults_are_valid_once_an_interface_is_named() {
        assert!(XskConfig::default().validate().is_err());
        named().validate().unwrap();
    }

    #[test]
    fn an_error_names_field_value_and_what_is_allowed() {
        let cases = [
            (XskConfig { frame_size: 3000, ..named() }, ["frame_size", "3000", "2048 or 4096"]),
            (XskConfig { frame_count: 7, ..named() }, ["frame_count", "7", "128 to 1048576"]),
            (XskConfig { rx_ring: 100, ..named() }, ["rx_ring", "100", "power of two"]),
            (XskConfig { tx_ring: 65536, completion_ring: 65536, ..named() }, ["tx_ring", "65536", "32768"]),
            (XskConfig { completion_ring: 64, ..named() }, ["completion_ring", "64", "tx_ring"]),
            (XskConfig { interface: "far-too-long-a-name".into(), ..named() }, ["interface", "far-too", "15"]),
            (
                XskConfig { xdp_mode: XdpMode::Generic, copy_mode: CopyMode::ZeroCopy, ..named() },
                ["copy_mode", "zero-copy", "generic"],
            ),
        ];
        for (config, words) in cases {
            let text = config.validate().unwrap_err().to_string();
            for word in words {
                assert!(text.contains(word), "{text:?} lacks {word:?}");
            }
        }
    }
}
