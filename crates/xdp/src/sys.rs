//! The system calls that no dependency offers, each behind a safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Of the processors that AF_XDP is used on; on one with longer lines a prefetch too many is asked for.
const CACHE_LINE_BYTES: usize = 64;
/// `XDP_MAX_TX_SKB_BUDGET` of linux/if_xdp.h, Linux 6.17: frames one `sendto` sends at most in copy mode.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// What it is where it can't be set (`TX_BATCH_SIZE` of net/xdp/xsk.c).
pub(crate) const DEFAULT_TX_BUDGET: u32 = 32;

/// Wakes the kernel's send side of an AF_XDP socket.
pub(crate) fn kick_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed, and the descriptor is open as long as it is borrowed.
    let result = unsafe { libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Wakes the driver's receive side of an AF_XDP socket, so that it takes frames from the fill ring.
pub(crate) fn kick_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed, and the descriptor is open as long as it is borrowed.
    let result = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets one `sendto` send up to `frames`; returns what one sends from now on.
pub(crate) fn set_tx_budget(fd: BorrowedFd<'_>, frames: u32) -> u32 {
    match set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, frames) {
        Ok(()) => frames,
        Err(_) => DEFAULT_TX_BUDGET,
    }
}

/// Raises the memory that frames on their way through the kernel's send path may take.
pub(crate) fn set_send_buffer(fd: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
}

pub(crate) fn set_option(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: u32) -> io::Result<()> {
    // SAFETY: `value` is read during the call only, and its length is given.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), 4) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct tcp_info` up to and with `tcpi_snd_wnd` (Linux 5.4).
pub(crate) const TCP_INFO_BYTES: usize = 232;

/// `TCP_INFO` of a socket; what the kernel does not know of stays zero.
pub(crate) fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<[u8; TCP_INFO_BYTES]> {
    let mut info = [0u8; TCP_INFO_BYTES];
    let mut len: libc::socklen_t = 232;
    // SAFETY: the kernel writes at most `len` bytes, which is the size of the buffer, and any bytes are valid there.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
}

/// `SIOCOUTQ`: bytes that are not acknowledged.
pub(crate) fn unacknowledged_bytes(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one integer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.cast_unsigned()) }
}

/// `FIONREAD`: bytes that can be read, whatever is marked in them.
pub(crate) fn readable_bytes(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one integer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.cast_unsigned()) }
}

/// How much one read would give, which ends before the octet that is marked as urgent, unless it begins there.
pub(crate) fn bytes_of_one_read(fd: BorrowedFd<'_>) -> io::Result<u32> {
    const ALL: libc::c_int = libc::c_int::MAX;
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: the buffer is null: with MSG_TRUNC a TCP socket writes nothing (tcp(7)), and what does write fails with EFAULT.
    let n = unsafe { libc::recv(fd.as_raw_fd(), std::ptr::null_mut(), ALL.cast_unsigned() as usize, flags) };
    u32::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// `SIOCATMARK`: whether the next octet to read is marked as urgent.
pub(crate) fn at_mark(fd: BorrowedFd<'_>) -> io::Result<bool> {
    /// linux/sockios.h; another number on MIPS and PA-RISC.
    const SIOCATMARK: libc::c_ulong = 0x8905;
    let mut at: libc::c_int = 0;
    // SAFETY: the kernel writes one integer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), SIOCATMARK as _, &raw mut at) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(at != 0) }
}

/// `IP_BIND_ADDRESS_NO_PORT`, which goes for IPv6 as well.
pub(crate) fn bind_address_no_port(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// `IP_RECVERR` or `IPV6_RECVERR`.
pub(crate) fn report_icmp(fd: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        true => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
        false => set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
    }
}

/// `SO_NETNS_COOKIE` (Linux 5.14): the number of a socket's network namespace, which no other has until the next boot.
pub(crate) fn namespace_cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let (mut cookie, mut len): (u64, libc::socklen_t) = (0, 8);
    // SAFETY: the kernel writes at most `len` bytes, which is the size of the integer, and any bytes are valid there.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// A socket to ask the network namespace of this thread by ioctl.
pub(crate) fn query_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has an interface take in the frames to a group, for as long as the socket is open.
pub(crate) fn join_group(ifindex: u32, group: [u8; 6]) -> io::Result<OwnedFd> {
    // Without a protocol nothing is received.
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut address = [0; 8];
    address[..6].copy_from_slice(&group);
    let request = libc::packet_mreq {
        mr_ifindex: ifindex.cast_signed(),
        mr_type: PACKET_MR_MULTICAST,
        mr_alen: 6,
        mr_address: address,
    };
    // SAFETY: the request is read during the call only, and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            PACKET_MREQ_BYTES,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// `struct sock_filter` of linux/filter.h: a step of a filter.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// A non-blocking socket that gets a copy of each frame of a protocol that comes in on an interface and passes the filter.
pub(crate) fn filtered_socket(ifindex: u32, protocol: u16, filter: &[Instruction]) -> io::Result<OwnedFd> {
    const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Without a protocol nothing is received until the filter is there.
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is fresh, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: program and filter are read during the call only, their lengths are given, and the layout is the kernel's.
    let result = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, (&raw const program).cast(), SOCK_FPROG_BYTES)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    set_option(socket.as_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    let address = libc::sockaddr_ll {
        sll_family: ADDRESS_FAMILY,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is read during the call only, and its length is given.
    let result = unsafe { libc::bind(fd, (&raw const address).cast(), SOCKADDR_LL_BYTES) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// `PACKET_IGNORE_OUTGOING` of linux/if_packet.h.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// `AF_PACKET` as it stands in an address.
const ADDRESS_FAMILY: libc::c_ushort = 17;
const SOCKADDR_LL_BYTES: libc::socklen_t = 20;
const _: () = assert!(size_of::<libc::sockaddr_ll>() == 20);
const SOCK_FPROG_BYTES: libc::socklen_t = 16;
const _: () = assert!(size_of::<libc::sock_fprog>() == 16);

/// `PACKET_MR_MULTICAST` of linux/if_packet.h.
const PACKET_MR_MULTICAST: libc::c_ushort = 0;
const PACKET_MREQ_BYTES: libc::socklen_t = 16;
const _: () = assert!(size_of::<libc::packet_mreq>() == 16);

/// `ETHTOOL_GDRVINFO` of linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 3;
/// `ETHTOOL_GCHANNELS` of linux/ethtool.h.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ethtool_value`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`.
#[derive(Clone, Copy)]
#[repr(C)]
struct EthtoolDriver {
    cmd: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware: [u8; 32],
    bus: [u8; 32],
    rest: [u8; 64],
}

/// `struct ethtool_channels`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct EthtoolChannels {
    cmd: u32,
    pub(crate) max_rx: u32,
    max_tx: u32,
    max_other: u32,
    pub(crate) max_combined: u32,
    pub(crate) rx: u32,
    tx: u32,
    other: u32,
    pub(crate) combined: u32,
}

const _: () = assert!(size_of::<EthtoolValue>() == 8);
const _: () = assert!(size_of::<EthtoolDriver>() == 196);
const _: () = assert!(size_of::<EthtoolChannels>() == 36);

/// What a driver says of itself; empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DriverText {
    pub(crate) name: String,
    pub(crate) firmware: String,
    pub(crate) bus: String,
}

/// The driver's name, firmware and place.
pub(crate) fn ethtool_driver(socket: &OwnedFd, interface: &str) -> io::Result<DriverText> {
    let none = [0; 32];
    let mut value =
        EthtoolDriver { cmd: ETHTOOL_GDRVINFO, driver: none, version: none, firmware: none, bus: none, rest: [0; 64] };
    ethtool(socket, interface, &mut value)?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
    };
    Ok(DriverText { name: text(&value.driver), firmware: text(&value.firmware), bus: text(&value.bus) })
}

/// The channels that are set up.
pub(crate) fn ethtool_channels(socket: &OwnedFd, interface: &str) -> io::Result<EthtoolChannels> {
    let mut value = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..EthtoolChannels::default() };
    ethtool(socket, interface, &mut value)?;
    Ok(value)
}

/// The answer to one of the `ETHTOOL_G…` commands of a `struct ethtool_value`.
pub(crate) fn ethtool_value(socket: &OwnedFd, interface: &str, cmd: u32) -> io::Result<u32> {
    let mut value = EthtoolValue { cmd, data: 0 };
    ethtool(socket, interface, &mut value)?;
    Ok(value.data)
}

/// `ETHTOOL_GRXFH` of linux/ethtool.h.
const ETHTOOL_GRXFH: u32 = 0x29;
/// `ETHTOOL_GRSSH` of linux/ethtool.h.
const ETHTOOL_GRSSH: u32 = 0x46;

/// `struct ethtool_rxnfc`, of which `ETHTOOL_GRXFH` uses the beginning; some kernels write the whole.
#[derive(Clone, Copy)]
#[repr(C)]
struct EthtoolFlows {
    cmd: u32,
    flow_type: u32,
    data: u64,
    rest: [u64; 22],
}

/// `struct ethtool_rxfh` with the table and the key behind it. The kernel writes as much as the sizes in it say, and refuses
/// sizes that aren't the device's.
#[derive(Clone, Copy)]
#[repr(C)]
struct EthtoolRss {
    cmd: u32,
    context: u32,
    table_entries: u32,
    key_bytes: u32,
    function: u8,
    transformation: u8,
    reserved: [u8; 6],
    config: [u32; RSS_CONFIG],
}

/// Words of table and key that there is room for: 8192 entries and a key of 1 KiB.
const RSS_CONFIG: usize = 8192 + 256;

const _: () = assert!(size_of::<EthtoolFlows>() == 192);
const _: () = assert!(size_of::<EthtoolRss>() == 24 + 4 * RSS_CONFIG);
const _: () = assert!(std::mem::offset_of!(EthtoolFlows, data) == 8);
const _: () = assert!(std::mem::offset_of!(EthtoolRss, function) == 16);
const _: () = assert!(std::mem::offset_of!(EthtoolRss, transformation) == 17);

/// What `ETHTOOL_GRSSH` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RssBytes {
    /// Bits of `ETH_RSS_HASH_*`.
    pub(crate) function: u8,
    /// Bits of `RXH_XFRM_*`; zero from kernels that don't know them.
    pub(crate) transformation: u8,
    pub(crate) table: Vec<u32>,
    pub(crate) key: Vec<u8>,
}

/// The indirection table, key and function of receive-side scaling. The sizes are asked first, as the kernel wants it.
pub(crate) fn ethtool_rss(socket: &OwnedFd, interface: &str) -> io::Result<RssBytes> {
    let mut value = Box::new(EthtoolRss {
        cmd: ETHTOOL_GRSSH,
        context: 0,
        table_entries: 0,
        key_bytes: 0,
        function: 0,
        transformation: 0,
        reserved: [0; 6],
        config: [0; RSS_CONFIG],
    });
    ethtool(socket, interface, &mut *value)?;
    let entries = usize::try_from(value.table_entries).unwrap_or(usize::MAX);
    let key_bytes = usize::try_from(value.key_bytes).unwrap_or(usize::MAX);
    if entries.saturating_add(key_bytes.div_ceil(4)) > RSS_CONFIG {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    ethtool(socket, interface, &mut *value)?;
    let (table, rest) = value.config.split_at(entries);
    let key = rest.iter().flat_map(|word| word.to_ne_bytes()).take(key_bytes).collect();
    Ok(RssBytes { function: value.function, transformation: value.transformation, table: table.to_vec(), key })
}

/// The `RXH_*` bits of what is hashed of a kind of flow.
pub(crate) fn ethtool_flow_hash(socket: &OwnedFd, interface: &str, flow_type: u32) -> io::Result<u64> {
    let mut value = EthtoolFlows { cmd: ETHTOOL_GRXFH, flow_type, data: 0, rest: [0; 22] };
    ethtool(socket, interface, &mut value)?;
    Ok(value.data)
}

/// The name that an interface has now, in the network namespace of the socket; `ENODEV`: there is none of that index.
pub(crate) fn interface_name(socket: &OwnedFd, ifindex: u32) -> io::Result<String> {
    let index = libc::__c_anonymous_ifr_ifru { ifru_ifindex: ifindex.cast_signed() };
    let mut request = libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: index };
    // SAFETY: the request outlives the call, which reads its index and writes its name.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let name: Vec<u8> = request.ifr_name.iter().map(|c| c.cast_unsigned()).take_while(|c| *c != 0).collect();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// The structures that `SIOCETHTOOL` may be given: `repr(C)`, as long as the kernel's for the command in them.
trait EthtoolData: Copy {}
impl EthtoolData for EthtoolValue {}
impl EthtoolData for EthtoolDriver {}
impl EthtoolData for EthtoolChannels {}
impl EthtoolData for EthtoolFlows {}
impl EthtoolData for EthtoolRss {}

fn ethtool<T: EthtoolData>(socket: &OwnedFd, interface: &str, data: &mut T) -> io::Result<()> {
    let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    let mut request =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut *data).cast() } };
    // SAFETY: the request and what it points to outlive the call, and `EthtoolData` says that the kernel's structure for
    // the command isn't longer than `T`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks for the cache lines of `bytes`, without waiting for them.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(CACHE_LINE_BYTES) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint that faults nowhere, of the base set of x86-64.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast());
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a hint that faults nowhere, and changes neither memory nor registers.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{}]", in(reg) line.as_ptr(), options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = line;
    }
}
