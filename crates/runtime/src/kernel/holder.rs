//! Which process has a TCP port on the kernel's sockets.

use crate::control;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The state of a line of `/proc/net/tcp` (linux/tcp_states.h).
pub(crate) const TIME_WAIT: u8 = 6;

/// A socket of the kernel's, of a line of `/proc/net/tcp`: one that listens or is connected. Those that are only bound are
/// not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelSocket {
    pub(crate) local: SocketAddr,
    pub(crate) state: u8,
    inode: u64,
}

/// The kernel's sockets, in the network namespace of the calling thread.
pub(crate) fn sockets() -> Vec<KernelSocket> {
    let table = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let tables = ["tcp", "tcp6"].map(table);
    tables.iter().flat_map(|table| table.lines()).filter_map(KernelSocket::parse).collect()
}

impl KernelSocket {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (ip, port) = fields.nth(1)?.rsplit_once(':')?;
        let local = SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?);
        let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
        // Behind queues, timer, retransmissions, user and time-out.
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Self { local, state, inode })
    }

    /// Whether the kernel would give it segments to `ip`. An IPv6 socket on `::` most often takes IPv4 as well.
    pub(crate) fn serves(&self, ip: IpAddr) -> bool {
        match self.local.ip() {
            IpAddr::V4(own) => own.is_unspecified() && ip.is_ipv4() || ip == IpAddr::V4(own),
            IpAddr::V6(own) => own.is_unspecified() || ip == IpAddr::V6(own),
        }
    }
}

/// Words of the machine's byte order, in hexadecimal.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut bytes = [0; 16];
    for (part, at) in bytes.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
        part.copy_from_slice(&word(at)?);
    }
    Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
}

/// Who has a port: as much of it as this process may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name and number.
    process: Option<(String, u32)>,
    /// It is a stack of ours that holds the port.
    stack: bool,
}

impl Holder {
    /// Who keeps the kernel from giving `address` to us.
    pub(crate) fn of(address: SocketAddr) -> Self {
        let ip = address.ip();
        let same_family = |s: &KernelSocket| s.local.is_ipv4() == ip.is_ipv4() || s.local.ip().is_unspecified();
        let conflicts = |s: &&KernelSocket| {
            let reached = if ip.is_unspecified() { same_family(s) } else { s.serves(ip) };
            s.local.port() == address.port() && reached && s.state != TIME_WAIT
        };
        sockets().iter().find(conflicts).map_or_else(|| Self::of_bound(address), Self::of_socket)
    }

    pub(crate) fn of_socket(socket: &KernelSocket) -> Self {
        Self { process: process_of(socket.inode), stack: false }
    }

    /// The kernel tells nothing of a socket that is only bound, stacks of ours do.
    fn of_bound(address: SocketAddr) -> Self {
        let process = control::holder(address).and_then(|pid| named(Path::new(&format!("/proc/{pid}")), pid));
        Self { stack: process.is_some(), process }
    }

    /// Whether it is this process.
    pub(crate) fn is_self(&self) -> bool {
        self.process.as_ref().is_some_and(|(_, pid)| *pid == std::process::id())
    }

    /// How it has it: what an error says before its name.
    pub(crate) const fn how(&self) -> &'static str {
        if self.stack { "by the fourwave stack of" } else { "on the kernel's sockets by" }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((name, pid)) => write!(f, "{name} (process {pid})"),
            None => f.write_str(
                "another program (`ss -ltnp`, and as root `fourwave ss` for stacks: those only bind their ports)",
            ),
        }
    }
}

/// The first process that has a socket open, of those that may be looked at.
fn process_of(inode: u64) -> Option<(String, u32)> {
    let wanted = format!("socket:[{inode}]");
    let has = |process: &Path| {
        let fds = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.as_os_str() == wanted.as_str())
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbered = processes.filter_map(|entry| Some((entry.path(), entry.file_name().to_str()?.parse().ok()?)));
    let (path, pid) = numbered.into_iter().find(|(path, _)| has(path))?;
    named(&path, pid)
}

fn named(process: &Path, pid: u32) -> Option<(String, u32)> {
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some((name.trim().to_owned(), pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Documentation/networking/proc_net_tcp.rst; the addresses are words of a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_kernels_table_is_read() {
        let line = "   0: 0100007F:1389 0100007F:D2EA 06 00000000:00000000 03:00001765 00000000     0        0 0 3";
        let socket = KernelSocket::parse(line).unwrap();
        assert_eq!(socket, KernelSocket { local: "127.0.0.1:5001".parse().unwrap(), state: TIME_WAIT, inode: 0 });
        let line = "1: 000077FD000000000000000001000000:0016 00000000000000000000000000000000:0000 0A \
            00000000:00000000 00:00000000 00000000  1000        0 81234 1 0000000000000000 100 0 0 10 0";
        let socket = KernelSocket::parse(line).unwrap();
        assert_eq!(socket, KernelSocket { local: "[fd77::1]:22".parse().unwrap(), state: 10, inode: 81234 });
        assert_eq!(KernelSocket::parse("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }

    #[test]
    fn who_serves_an_address() {
        let serves = |local: &str, to: &str| {
            KernelSocket { local: SocketAddr::new(ip(local), 7), state: 10, inode: 0 }.serves(ip(to))
        };
        assert!(serves("10.77.0.1", "10.77.0.1") && serves("0.0.0.0", "10.77.0.1") && serves("::", "10.77.0.1"));
        assert!(serves("::", "fd77::1") && serves("fd77::1", "fd77::1"));
        assert!(!serves("127.0.0.1", "10.77.0.1") && !serves("0.0.0.0", "fd77::1") && !serves("fd77::2", "fd77::1"));
    }

    /// Loopback: no privilege is needed to find oneself.
    #[test]
    fn a_listener_is_named_whatever_address_it_listens_on() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let holder = Holder::of(SocketAddr::from(([127, 0, 0, 1], port)));
            assert!(holder.is_self(), "{address}: {holder}");
            assert!(holder.to_string().ends_with(&format!("(process {})", std::process::id())), "{holder}");
            let of_nobody = Holder::of(SocketAddr::from(([127, 0, 0, 1], port ^ 1)));
            assert!(of_nobody.process.is_none() && !of_nobody.is_self());
        }
    }
}
