//! What the kernel tells of its own TCP sockets, and no dependency asks for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys;

/// `struct tcp_info` of linux/tcp.h, as far as the kernel filled it in: what an older one does not tell is zero.
#[derive(Debug, Clone, Copy)]
pub struct TcpInfo([u8; sys::TCP_INFO_BYTES]);

impl TcpInfo {
    /// Asks about a TCP socket. One system call.
    ///
    /// # Errors
    /// It is no TCP socket.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        sys::tcp_info(socket).map(Self)
    }

    const fn word(&self, at: usize) -> u32 {
        let bytes = &self.0;
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// The state, by its number in linux/tcp_states.h.
    #[must_use]
    pub const fn state(&self) -> u8 {
        self.0[0]
    }

    /// What loss recovery is doing: `TCP_CA_Open` to `TCP_CA_Loss`, 0 to 4.
    #[must_use]
    pub const fn recovery(&self) -> u8 {
        self.0[1]
    }

    /// How often in a row the retransmission timer has expired.
    #[must_use]
    pub const fn timeouts(&self) -> u8 {
        self.0[2]
    }

    /// Window probes that were not answered.
    #[must_use]
    pub const fn probes(&self) -> u8 {
        self.0[3]
    }

    /// How often the retransmission timeout has doubled.
    #[must_use]
    pub const fn backoff(&self) -> u8 {
        self.0[4]
    }

    /// `TCPI_OPT_*`: timestamps 1, SACK 2, window scale 4, ECN 8.
    #[must_use]
    pub const fn options(&self) -> u8 {
        self.0[5]
    }

    /// The shifts of the peer's windows and of ours.
    #[must_use]
    pub const fn window_scale(&self) -> (u8, u8) {
        let both = self.0[6];
        // Bit fields begin at the low end on little-endian machines, else at the high one.
        if cfg!(target_endian = "little") { (both & 15, both >> 4) } else { (both >> 4, both & 15) }
    }

    /// Retransmission timeout, microseconds.
    #[must_use]
    pub const fn rto_us(&self) -> u32 {
        self.word(8)
    }

    /// The most data a segment carries, bytes.
    #[must_use]
    pub const fn snd_mss(&self) -> u32 {
        self.word(16)
    }

    /// Segments that are not acknowledged cumulatively.
    #[must_use]
    pub const fn unacked(&self) -> u32 {
        self.word(24)
    }

    /// Of them, reported by SACK.
    #[must_use]
    pub const fn sacked(&self) -> u32 {
        self.word(28)
    }

    /// Of them, taken for lost.
    #[must_use]
    pub const fn lost(&self) -> u32 {
        self.word(32)
    }

    /// Of them, sent again and in flight.
    #[must_use]
    pub const fn retrans(&self) -> u32 {
        self.word(36)
    }

    /// Smoothed round-trip time, microseconds; 0 before the first sample.
    #[must_use]
    pub const fn rtt_us(&self) -> u32 {
        self.word(68)
    }

    /// Its variance, microseconds.
    #[must_use]
    pub const fn rttvar_us(&self) -> u32 {
        self.word(72)
    }

    /// Slow-start threshold, segments.
    #[must_use]
    pub const fn snd_ssthresh(&self) -> u32 {
        self.word(76)
    }

    /// Congestion window, segments.
    #[must_use]
    pub const fn snd_cwnd(&self) -> u32 {
        self.word(80)
    }

    /// How far segments may be reordered before one is taken for lost.
    #[must_use]
    pub const fn reordering(&self) -> u32 {
        self.word(88)
    }

    /// Segments sent again, in all.
    #[must_use]
    pub const fn total_retrans(&self) -> u32 {
        self.word(100)
    }

    /// Segments received.
    #[must_use]
    pub const fn segments_in(&self) -> u32 {
        self.word(140)
    }

    /// Bytes that were never sent.
    #[must_use]
    pub const fn notsent_bytes(&self) -> u32 {
        self.word(144)
    }

    /// The least round-trip time, microseconds; all ones before the first sample.
    #[must_use]
    pub const fn min_rtt_us(&self) -> u32 {
        self.word(148)
    }

    /// The window the peer offers, bytes.
    #[must_use]
    pub const fn snd_wnd(&self) -> u32 {
        self.word(228)
    }
}

/// Bytes that the peer has not acknowledged (`SIOCOUTQ`). One system call.
///
/// # Errors
/// It is no TCP socket, or one that listens.
pub fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<u32> {
    sys::unacknowledged_bytes(socket)
}

/// Octets before the one that the peer marked as urgent, the last of the urgent ones, in what can be read of a socket whose urgent
/// data comes in line (`SO_OOBINLINE`). `None`: nothing is marked, or that octet can't be read yet. Three system calls.
///
/// # Errors
/// It is no TCP socket.
pub fn octets_before_mark(socket: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let readable = sys::readable_bytes(socket)?;
    let before = match sys::bytes_of_one_read(socket) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        read => read?,
    };
    // Last, since more may have come meanwhile: if nothing lies before it, reading would go past it.
    Ok(if sys::at_mark(socket)? { Some(0) } else { Some(before).filter(|before| *before < readable) })
}

/// Has ICMP errors about an open connection told at once, by an error of the next call, though the connection goes on
/// (`IP_RECVERR`, `IPV6_RECVERR`). What a listener accepts inherits it.
///
/// # Errors
/// The socket is of the other family.
pub fn report_icmp(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    sys::report_icmp(socket, ipv6)
}

/// Leaves the choice of the port to connect(2), though an address is bound: a port may then be used towards several peers.
///
/// # Errors
/// The kernel is older than 4.2.
pub fn bind_address_no_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    sys::bind_address_no_port(socket)
}

/// The number of the calling thread's network namespace. Unlike its inode it is no other's before the next boot.
///
/// # Errors
/// The kernel is older than 5.14.
pub fn namespace_cookie() -> io::Result<u64> {
    sys::namespace_cookie(sys::query_socket()?.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    /// Loopback: what is certain of a connection whose peer has read nothing and has all.
    #[test]
    fn what_the_kernel_tells_is_read_where_it_lies() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(&[0; 1000]).unwrap();
        server.peek(&mut [0; 1]).unwrap();
        let info = TcpInfo::of(client.as_fd()).unwrap();
        // TCP_ESTABLISHED; RTO_MIN of 200 ms; the MTU of lo less both headers and timestamps.
        assert_eq!((info.state(), info.recovery(), info.total_retrans()), (1, 0, 0));
        assert!((200_000..1_200_000).contains(&info.rto_us()), "{}", info.rto_us());
        assert!(info.rtt_us() > 0 && info.min_rtt_us() <= info.rtt_us() && info.snd_cwnd() >= 10, "{info:?}");
        assert_eq!((info.options() & 7, info.notsent_bytes()), (7, 0));
        // The SYN+ACK, and the acknowledgment of the data.
        assert_eq!(info.segments_in(), 2);
        assert!(info.snd_wnd() > 1000);
        assert_eq!(unacknowledged_bytes(client.as_fd()).unwrap(), 0);
        assert!(TcpInfo::of(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()).is_err());
    }

    /// Linux numbers its network namespaces from one, and never gives a number twice (`gen_cookie_next`).
    #[test]
    fn a_namespace_keeps_its_number() {
        let cookie = namespace_cookie().unwrap();
        assert!(cookie > 0);
        assert_eq!(std::thread::spawn(|| namespace_cookie().unwrap()).join().unwrap(), cookie);
    }
}
