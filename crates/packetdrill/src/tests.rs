//! The table of functions, called as packetdrill calls it.

use crate::{PacketdrillInterface, abi::Userdata, packetdrill_interface_init};
use libc::{c_int, c_void, sockaddr, socklen_t};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

const PEER: [u8; 4] = [192, 0, 2, 1];
const US: [u8; 4] = [192, 168, 0, 1];
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;

/// packetdrill's side.
struct Drill {
    interface: PacketdrillInterface,
}

// SAFETY: packetdrill itself calls the table from two threads with the same `userdata`.
unsafe impl Send for Drill {}
// SAFETY: as above.
unsafe impl Sync for Drill {}

impl Drop for Drill {
    fn drop(&mut self) {
        (self.interface.free)(self.interface.userdata);
    }
}

/// A segment we have sent, as far as these tests look at it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    flags: u8,
    seq: u32,
    ack: u32,
    payload: usize,
}

impl Drill {
    fn new() -> Self {
        let flags = CString::new("sysctls=none").expect("no zero in it");
        let mut interface = MaybeUninit::uninit();
        // SAFETY: a C string, and room for the table.
        unsafe { packetdrill_interface_init(flags.as_ptr(), interface.as_mut_ptr()) };
        // SAFETY: the call has filled it.
        Self { interface: unsafe { interface.assume_init() } }
    }

    fn ud(&self) -> Userdata {
        self.interface.userdata
    }

    fn listener(&self) -> c_int {
        let i = &self.interface;
        let fd = (i.socket)(self.ud(), libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP);
        assert!(fd >= 0);
        let address = address(US, 8080);
        assert_eq!((i.bind)(self.ud(), fd, address.as_ptr().cast::<sockaddr>(), 16), 0);
        assert_eq!((i.listen)(self.ud(), fd, 1), 0);
        fd
    }

    fn inject(&self, flags: u8, seq: u32, ack: u32, payload: &[u8]) {
        let datagram = datagram(flags, seq, ack, payload);
        assert_eq!((self.interface.netdev_send)(self.ud(), datagram.as_ptr().cast(), datagram.len()), 0);
    }

    fn receive(&self) -> Option<Seen> {
        let mut buffer = [0u8; 4096];
        let (mut count, mut time) = (buffer.len(), 0);
        let receive = self.interface.netdev_receive;
        assert_eq!(receive(self.ud(), buffer.as_mut_ptr().cast(), &raw mut count, &raw mut time), 0);
        let tcp = buffer.get(20..count)?;
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let header = usize::from(tcp[12] >> 4) * 4;
        Some(Seen { flags: tcp[13], seq: word(4), ack: word(8), payload: tcp.len() - header })
    }

    /// The handshake of a peer that begins at 0; answers our initial sequence number.
    fn handshake(&self) -> u32 {
        self.inject(SYN, 0, 0, &[]);
        let answer = self.receive().expect("a SYN-ACK");
        assert_eq!((answer.flags, answer.ack), (SYN | ACK, 1));
        self.inject(ACK, 1, answer.seq + 1, &[]);
        answer.seq
    }

    /// Takes our SYN, and answers it by `flags`.
    fn answer_syn(&self, flags: u8) {
        let i = &self.interface;
        let mut buffer = [0u8; 4096];
        let (mut count, mut time) = (buffer.len(), 0);
        (i.netdev_receive)(self.ud(), buffer.as_mut_ptr().cast(), &raw mut count, &raw mut time);
        let (mut answer, syn) = (datagram(flags, 0, 0, &[]), &buffer[20..count]);
        // To the port the SYN came from, acknowledging it.
        answer[22..24].copy_from_slice(&syn[..2]);
        let iss = u32::from_be_bytes([syn[4], syn[5], syn[6], syn[7]]);
        answer[28..32].copy_from_slice(&(iss + 1).to_be_bytes());
        answer[36..38].copy_from_slice(&[0; 2]);
        let base: u32 = [PEER, US].concat().chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
        let sum = checksum(&answer[20..], base + 6 + 20);
        answer[36..38].copy_from_slice(&sum.to_be_bytes());
        assert_eq!((i.netdev_send)(self.ud(), answer.as_ptr().cast(), answer.len()), 0);
    }

    /// `SO_ERROR`.
    fn pending_error(&self, fd: c_int) -> c_int {
        let (mut error, mut len) = (-1i32, 4 as socklen_t);
        let to = (&raw mut error).cast();
        let got = (self.interface.getsockopt)(self.ud(), fd, libc::SOL_SOCKET, libc::SO_ERROR, to, &raw mut len);
        assert_eq!(got, 0);
        error
    }

    fn now_us(&self) -> i64 {
        let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
        assert_eq!((self.interface.gettimeofday)(self.ud(), &raw mut time, null_mut()), 0);
        time.tv_sec * 1_000_000 + time.tv_usec
    }

    fn read(&self, fd: c_int, to: *mut c_void, len: usize) -> (isize, c_int) {
        let n = (self.interface.read)(self.ud(), fd, to, len);
        (n, errno())
    }

    fn accept(&self, fd: c_int) -> c_int {
        (self.interface.accept)(self.ud(), fd, null_mut(), null_mut())
    }
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn address(ip: [u8; 4], port: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&2u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port.to_be_bytes());
    bytes[4..8].copy_from_slice(&ip);
    bytes
}

/// The Internet checksum, written down here once more.
fn checksum(bytes: &[u8], sum: u32) -> u16 {
    let words = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b)));
    let mut sum = sum + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

fn datagram(flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let tcp_len = 20 + u16::try_from(payload.len()).expect("short");
    let mut tcp = [5000u16.to_be_bytes(), 8080u16.to_be_bytes()].concat();
    tcp.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    tcp.extend([5 << 4, flags, 0x80, 0, 0, 0, 0, 0]);
    tcp.extend(payload);
    let pseudo = [PEER, US].concat();
    let base: u32 = pseudo.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
    let sum = checksum(&tcp, base + 6 + u32::from(tcp_len));
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + tcp_len).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    ip.extend(pseudo);
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [ip, tcp].concat()
}

#[test]
fn a_connection_is_accepted_read_from_and_closed() {
    let drill = Drill::new();
    let fd = drill.listener();
    let iss = drill.handshake();
    let (mut peer, mut len) = ([0u8; 16], 16 as socklen_t);
    let conn = (drill.interface.accept)(drill.ud(), fd, peer.as_mut_ptr().cast(), &raw mut len);
    assert!(conn >= 0);
    assert_eq!((peer, len), (address(PEER, 5000), 16));
    drill.inject(ACK | PSH, 1, iss + 1, b"hello");
    assert_eq!(drill.receive(), Some(Seen { flags: ACK, seq: iss + 1, ack: 6, payload: 0 }));
    let mut buffer = [0u8; 16];
    assert_eq!(drill.read(conn, buffer.as_mut_ptr().cast(), 16).0, 5);
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!((drill.interface.write)(drill.ud(), conn, b"yes".as_ptr().cast(), 3), 3);
    assert_eq!(drill.receive(), Some(Seen { flags: ACK | PSH, seq: iss + 1, ack: 6, payload: 3 }));
    drill.inject(ACK | FIN, 6, iss + 4, &[]);
    assert_eq!(drill.receive(), Some(Seen { flags: ACK, seq: iss + 4, ack: 7, payload: 0 }));
    assert_eq!(drill.read(conn, buffer.as_mut_ptr().cast(), 16).0, 0);
    assert_eq!((drill.interface.close)(drill.ud(), conn), 0);
    assert_eq!(drill.receive(), Some(Seen { flags: ACK | FIN, seq: iss + 4, ack: 7, payload: 0 }));
    assert_eq!((drill.interface.close)(drill.ud(), conn), -1);
    assert_eq!(errno(), libc::EBADF);
    drill.inject(ACK, 7, iss + 5, &[]);
    assert_eq!(drill.receive(), None, "nothing is left that would ever send");
}

/// A hint, which Linux follows for as long as it likes: taken and no more.
#[test]
fn quick_acks_may_be_asked_for() {
    let drill = Drill::new();
    let fd = drill.listener();
    let one = 1i32;
    let option = (&raw const one).cast();
    assert_eq!((drill.interface.setsockopt)(drill.ud(), fd, libc::SOL_TCP, libc::TCP_QUICKACK, option, 4), 0);
}

/// connect(2) again, once the handshake is complete, tells its outcome as on Linux; the next is EISCONN.
#[test]
fn the_second_connect_tells_the_outcome_of_the_first() {
    let drill = Drill::new();
    let i = &drill.interface;
    let fd = (i.socket)(drill.ud(), libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
    let ours = address(US, 8080);
    assert_eq!((i.bind)(drill.ud(), fd, ours.as_ptr().cast(), 16), 0);
    let peer = address(PEER, 5000);
    let connect = || ((i.connect)(drill.ud(), fd, peer.as_ptr().cast(), 16), errno());
    assert_eq!(connect(), (-1, libc::EINPROGRESS));
    assert_eq!(connect(), (-1, libc::EALREADY));
    drill.answer_syn(SYN | ACK);
    assert_eq!(connect().0, 0);
    assert_eq!(connect(), (-1, libc::EISCONN));
}

/// bind(2): EADDRINUSE, while somebody listens there though both say `SO_REUSEADDR`.
#[test]
fn an_address_is_bound_once() {
    let drill = Drill::new();
    let i = &drill.interface;
    let listener = drill.listener();
    let address = address(US, 8080);
    let one = 1i32;
    let option = (&raw const one).cast();
    let fd = (i.socket)(drill.ud(), libc::AF_INET, libc::SOCK_STREAM, 0);
    for fd in [listener, fd] {
        assert_eq!((i.setsockopt)(drill.ud(), fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, option, 4), 0);
        assert_eq!((i.bind)(drill.ud(), fd, address.as_ptr().cast(), 16), -1);
    }
    assert_eq!(errno(), libc::EADDRINUSE);
    assert_eq!((i.close)(drill.ud(), listener), 0);
    assert_eq!((i.bind)(drill.ud(), fd, address.as_ptr().cast(), 16), 0);
}

/// A reset in CLOSE-WAIT is EPIPE on Linux; reading goes on saying that the peer has closed.
#[test]
fn a_reset_behind_the_fin_ends_our_writing() {
    let drill = Drill::new();
    let fd = drill.listener();
    let iss = drill.handshake();
    let conn = drill.accept(fd);
    drill.inject(ACK | FIN, 1, iss + 1, &[]);
    assert_eq!(drill.receive(), Some(Seen { flags: ACK, seq: iss + 1, ack: 2, payload: 0 }));
    drill.inject(RST, 2, 0, &[]);
    let mut buffer = [0u8; 8];
    assert_eq!(drill.read(conn, buffer.as_mut_ptr().cast(), 8).0, 0);
    assert_eq!((drill.interface.write)(drill.ud(), conn, b"yes".as_ptr().cast(), 3), -1);
    assert_eq!(errno(), libc::EPIPE);
}

/// `IP_TOS` marks what is sent from then on (RFC 9293 MUST-48, SHLD-21).
#[test]
fn the_traffic_class_is_the_connections() {
    let drill = Drill::new();
    let fd = drill.listener();
    drill.handshake();
    let conn = drill.accept(fd);
    let i = &drill.interface;
    let tos = 0x10i32;
    let option = (&raw const tos).cast();
    assert_eq!((i.setsockopt)(drill.ud(), conn, libc::SOL_IP, libc::IP_TOS, option, 4), 0);
    assert_eq!((i.write)(drill.ud(), conn, b"yes".as_ptr().cast(), 3), 3);
    let mut buffer = [0u8; 4096];
    let (mut count, mut time) = (buffer.len(), 0);
    (i.netdev_receive)(drill.ud(), buffer.as_mut_ptr().cast(), &raw mut count, &raw mut time);
    assert_eq!((count, buffer[1]), (43, 0x10));
}

#[test]
fn a_blocked_accept_sleeps_until_the_handshake_is_complete() {
    let drill = Drill::new();
    let fd = drill.listener();
    let start = drill.now_us();
    std::thread::scope(|scope| {
        let (tell, tid) = std::sync::mpsc::channel();
        let drill = &drill;
        let blocked = scope.spawn(move || {
            // SAFETY: it has no arguments and can't fail.
            tell.send(unsafe { libc::gettid() }).expect("somebody listens");
            let conn = drill.accept(fd);
            (conn, drill.now_us())
        });
        let tid = tid.recv().expect("the thread has begun");
        // As packetdrill does it: by the state of the thread.
        let sleeps =
            || std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).is_ok_and(|s| s.contains(") S "));
        while !sleeps() {
            std::thread::yield_now();
        }
        assert_eq!((drill.interface.usleep)(drill.ud(), 100_000), 0);
        drill.handshake();
        // The clock stands still until the call has returned and has asked for the time.
        assert_eq!((drill.interface.usleep)(drill.ud(), 100_000), 0);
        let (conn, at) = blocked.join().expect("no panic");
        assert!(conn >= 0);
        assert!((100_000..100_100).contains(&(at - start)), "it took {} us", at - start);
    });
}

#[test]
fn a_call_that_must_not_block_says_so() {
    let drill = Drill::new();
    let fd = drill.listener();
    assert_eq!((drill.interface.fcntl)(drill.ud(), fd, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK), 0);
    assert_eq!(drill.accept(fd), -1);
    assert_eq!(errno(), libc::EAGAIN);
    // And one that blocks for ever is told at once: the clock has only this thread.
    assert_eq!((drill.interface.fcntl)(drill.ud(), fd, libc::F_SETFL, libc::O_RDWR), 0);
    assert_eq!(drill.accept(fd), -1);
    assert_eq!(errno(), libc::EDEADLK);
}

#[test]
fn bad_buffers_are_efault_and_cost_no_data() {
    let drill = Drill::new();
    let fd = drill.listener();
    let iss = drill.handshake();
    let conn = drill.accept(fd);
    let i = &drill.interface;
    assert_eq!((i.write)(drill.ud(), conn, null(), 1000), -1);
    assert_eq!(errno(), libc::EFAULT);
    drill.inject(ACK, 1, iss + 1, b"data");
    assert_eq!(drill.read(conn, null_mut(), 1000), (-1, libc::EFAULT));
    assert_eq!((i.ioctl)(drill.ud(), conn, libc::FIONREAD, null_mut()), -1);
    assert_eq!(errno(), libc::EFAULT);
    assert_eq!((i.bind)(drill.ud(), fd, null(), 16), -1);
    assert_eq!(errno(), libc::EFAULT);
    let mut buffer = [0u8; 8];
    assert_eq!(drill.read(conn, buffer.as_mut_ptr().cast(), 8).0, 4);
    assert_eq!(&buffer[..4], b"data");
}

#[test]
fn null_pointers_are_refused_where_nothing_else_can_be_done() {
    // SAFETY: null is what it must bear.
    unsafe { packetdrill_interface_init(null(), null_mut()) };
    let drill = Drill::new();
    assert_eq!((drill.interface.socket)(null_mut(), libc::AF_INET, libc::SOCK_STREAM, 0), -1);
    assert_eq!(errno(), libc::EINVAL);
    assert_eq!((drill.interface.netdev_receive)(drill.ud(), null_mut(), null_mut(), null_mut()), 0);
    (drill.interface.free)(null_mut());
}

/// close(2) with `SO_LINGER`: it returns when the FIN is acknowledged, or when the time is over, and with zero at once by a
/// reset.
#[test]
fn a_close_that_lingers_waits_as_long_as_it_was_told() {
    let drill = Drill::new();
    let fd = drill.listener();
    let close = |seconds: i32| {
        let iss = drill.handshake();
        let conn = drill.accept(fd);
        let linger = [1i32, seconds];
        let option = linger.as_ptr().cast();
        assert_eq!((drill.interface.setsockopt)(drill.ud(), conn, libc::SOL_SOCKET, libc::SO_LINGER, option, 8), 0);
        let before = drill.now_us();
        assert_eq!((drill.interface.close)(drill.ud(), conn), 0);
        let sent = drill.receive().expect("something");
        assert_eq!(sent.seq, iss + 1);
        (sent.flags, drill.now_us() - before)
    };
    let (flags, waited) = close(0);
    assert_eq!(flags, RST | ACK);
    assert!(waited < 1000);
    let (flags, waited) = close(2);
    assert_eq!(flags, FIN | ACK);
    assert!((2_000_000..2_001_000).contains(&waited), "it took {waited} us");
}

#[test]
fn time_passes_only_when_asked_for() {
    let drill = Drill::new();
    let before = drill.now_us();
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(drill.now_us(), before + 1);
    assert_eq!((drill.interface.usleep)(drill.ud(), 3_000_000), 0);
    assert_eq!(drill.now_us(), before + 3_000_002);
}

/// RFC 6298 section 2.1: the first retransmission of a SYN comes after a second. The wait for it takes no time.
#[test]
fn waiting_for_a_datagram_jumps_to_the_timer() {
    let drill = Drill::new();
    let i = &drill.interface;
    let fd = (i.socket)(drill.ud(), libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
    let peer = address(PEER, 8080);
    assert_eq!((i.connect)(drill.ud(), fd, peer.as_ptr().cast(), 16), -1);
    assert_eq!(errno(), libc::EINPROGRESS);
    let start = drill.now_us();
    let first = drill.receive().expect("a SYN");
    assert_eq!(drill.receive(), Some(Seen { payload: 0, ..first }));
    assert!((1_000_000..1_001_000).contains(&(drill.now_us() - start)));
    assert_eq!(drill.pending_error(fd), 0);
}

/// tcp_reset of Linux: EPIPE in CLOSE-WAIT alone. Behind our FIN it is ECONNRESET, and reading still says end of file.
#[test]
fn a_reset_behind_both_fins_is_a_reset() {
    let drill = Drill::new();
    let fd = drill.listener();
    let iss = drill.handshake();
    let conn = drill.accept(fd);
    drill.inject(ACK | FIN, 1, iss + 1, &[]);
    assert_eq!((drill.interface.shutdown)(drill.ud(), conn, libc::SHUT_WR), 0);
    drill.inject(RST, 2, 0, &[]);
    let mut buffer = [0u8; 8];
    assert_eq!(drill.read(conn, buffer.as_mut_ptr().cast(), 8).0, 0);
    assert_eq!(drill.pending_error(conn), libc::ECONNRESET);
}

/// accept(2): a connection whose file descriptor nobody is told is closed, and does not stay open for ever.
#[test]
fn what_is_accepted_to_a_bad_address_is_closed() {
    let drill = Drill::new();
    let fd = drill.listener();
    let iss = drill.handshake();
    let (nowhere, mut len) = (8 as *mut sockaddr, 16 as socklen_t);
    assert_eq!((drill.interface.accept)(drill.ud(), fd, nowhere, &raw mut len), -1);
    assert_eq!(errno(), libc::EFAULT);
    assert_eq!(drill.receive(), Some(Seen { flags: ACK | FIN, seq: iss + 1, ack: 1, payload: 0 }));
}

/// readv(2): lengths that add up to more than there are numbers are EINVAL, not a panic.
#[test]
fn lengths_beyond_all_numbers_are_refused() {
    let drill = Drill::new();
    let fd = drill.listener();
    drill.handshake();
    let conn = drill.accept(fd);
    let mut byte = 0u8;
    let piece = |len| libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: len };
    let pieces = [usize::MAX, usize::MAX].map(piece);
    assert_eq!((drill.interface.readv)(drill.ud(), conn, pieces.as_ptr(), 2), -1);
    assert_eq!(errno(), libc::EINVAL);
}

/// A socket whose connect has failed can connect again, and knows nothing of the first time; its flags and its address stay.
#[test]
fn a_socket_connects_anew_after_a_refusal() {
    let drill = Drill::new();
    let i = &drill.interface;
    let fd = (i.socket)(drill.ud(), libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
    let peer = address(PEER, 5000);
    let connect = || ((i.connect)(drill.ud(), fd, peer.as_ptr().cast(), 16), errno());
    assert_eq!(connect(), (-1, libc::EINPROGRESS));
    drill.answer_syn(RST | ACK);
    assert_eq!(connect(), (-1, libc::ECONNREFUSED));
    assert_eq!(connect(), (-1, libc::EINPROGRESS));
    drill.answer_syn(SYN | ACK);
    assert_eq!(connect().0, 0);
    let mut buffer = [0u8; 8];
    assert_eq!(drill.read(fd, buffer.as_mut_ptr().cast(), 8), (-1, libc::EAGAIN), "the peer has not closed");
    assert_eq!((i.write)(drill.ud(), fd, b"yes".as_ptr().cast(), 3), 3);
}

/// connect(2) to AF_UNSPEC: as new, but for what fcntl(2) has set; who listened does so no more.
#[test]
fn a_disconnected_socket_is_as_new() {
    let drill = Drill::new();
    let i = &drill.interface;
    let fd = drill.listener();
    assert_eq!((i.fcntl)(drill.ud(), fd, libc::F_SETFL, libc::O_NONBLOCK), 0);
    let nobody = [0u8; 16];
    assert_eq!((i.connect)(drill.ud(), fd, nobody.as_ptr().cast(), 16), 0);
    assert_eq!((i.fcntl)(drill.ud(), fd, libc::F_GETFL, 0), libc::O_RDWR | libc::O_NONBLOCK);
    drill.inject(SYN, 0, 0, &[]);
    assert_eq!(drill.receive(), Some(Seen { flags: RST | ACK, seq: 0, ack: 1, payload: 0 }), "nobody listens");
    assert_eq!((i.listen)(drill.ud(), fd, 1), 0, "it is bound still");
    drill.handshake();
    assert!(drill.accept(fd) >= 0);
}

/// epoll_ctl(2): a one-shot that was reported is silent until it is armed again, even for what is always waited for.
#[test]
fn a_one_shot_is_reported_once() {
    let drill = Drill::new();
    let i = &drill.interface;
    let fd = drill.listener();
    drill.handshake();
    let conn = drill.accept(fd);
    let epfd = (i.epoll_create)(drill.ud(), 1);
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLONESHOT).cast_unsigned(), u64: 7 };
    assert_eq!((i.epoll_ctl)(drill.ud(), epfd, libc::EPOLL_CTL_ADD, conn, &raw mut event), 0);
    let mut out = libc::epoll_event { events: 0, u64: 0 };
    let mut wait = || (i.epoll_wait)(drill.ud(), epfd, &raw mut out, 1, 0);
    assert_eq!(wait(), 0);
    drill.inject(RST, 1, 0, &[]);
    assert_eq!(wait(), 1);
    assert_eq!(wait(), 0, "it hangs up still, and nobody is to hear of it");
    assert_eq!((i.epoll_ctl)(drill.ud(), epfd, libc::EPOLL_CTL_MOD, conn, &raw mut event), 0);
    assert_eq!(wait(), 1);
}

/// What the stack can't do is said when it is asked for, not remembered and left undone; a bound that was never set is 0.
#[test]
fn options_without_effect_are_refused() {
    let drill = Drill::new();
    let i = &drill.interface;
    let fd = drill.listener();
    drill.handshake();
    let conn = drill.accept(fd);
    const TCP_NOTSENT_LOWAT: c_int = 25;
    let value = 1000i32;
    for name in [libc::TCP_MAXSEG, TCP_NOTSENT_LOWAT] {
        let set = (i.setsockopt)(drill.ud(), conn, libc::SOL_TCP, name, (&raw const value).cast(), 4);
        assert_eq!((set, errno()), (-1, libc::ENOPROTOOPT));
    }
    let sent = (i.send)(drill.ud(), conn, b"yes".as_ptr().cast(), 3, libc::MSG_EOR);
    assert_eq!((sent, errno()), (-1, libc::EOPNOTSUPP));
    let (mut bound, mut len) = (-1i32, 4 as socklen_t);
    let to = (&raw mut bound).cast();
    assert_eq!((i.getsockopt)(drill.ud(), conn, libc::SOL_TCP, TCP_NOTSENT_LOWAT, to, &raw mut len), 0);
    assert_eq!(bound, 0);
}
