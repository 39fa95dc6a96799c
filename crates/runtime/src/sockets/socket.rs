//! One connection of the kernel's: what there is to tell of it next, and its verbs.

use super::errors;
use super::queue::Queue;
use super::soft::Soft;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt};
use stack::{
    Detail, Duration, Error, Half, IcmpError, Info, Instant, Keepalive, Listing, Profile, Recovery, Sending,
    SocketOption, State, Why,
};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use xdp::sockets::{TcpInfo, octets_before_mark, unacknowledged_bytes};

/// States of linux/tcp_states.h behind the acknowledgment of our FIN.
const FIN_WAIT_2: u8 = 5;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The SYN is sent.
    Connecting,
    Open,
    /// Closed by the application, which waits for the outcome, until then.
    Lingering(Instant),
    /// The end is told.
    Over,
}

/// Something to tell of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Connected,
    /// So many bytes are in the buffer.
    Data(usize),
    Readable,
    Writable,
    /// So many octets up to the end of what is urgent.
    Urgent(u32),
    SoftError(IcmpError),
    PeerClosed,
    Closed(Option<Error>),
}

/// What the application has done with its handle while it looks at data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Hands {
    #[default]
    Off,
    /// It looks at data.
    On,
    /// It has closed the connection meanwhile.
    Closed,
}

/// What is known without asking the kernel.
#[derive(Debug, Default)]
struct Known {
    /// There may be something to read.
    readable: bool,
    /// There may be room to send.
    writable: bool,
    /// A read that is short says nothing: the peer's FIN has arrived.
    ending: bool,
    /// Something urgent has arrived.
    urgent: bool,
    /// There is an error to ask for.
    failing: bool,
    /// The application was refused room.
    wants_room: bool,
    /// The peer's FIN was read, and told.
    eof: bool,
    eof_told: bool,
    write_shut: bool,
    read_shut: bool,
    /// It was read from in this turn.
    was_read: bool,
}

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    pub(super) remote: SocketAddr,
    /// Our address, of which the kernel knows nothing more once it is disconnected.
    local: Option<SocketAddr>,
    phase: Phase,
    known: Known,
    hands: Hands,
    queue: Queue,
    /// Octets the kernel has taken.
    written: u64,
    /// Octets read from the kernel.
    received: u64,
    /// Of what was and will be received, what the peer marked as urgent ends here, as far as that was told.
    mark: u64,
    soft: Soft,
    /// The end that is to be told next.
    verdict: Option<Option<Error>>,
    linger: Option<Duration>,
    opened: Instant,
    since: Instant,
    /// It is in the queue of those that may have something to tell.
    pub(super) ready: bool,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, remote: SocketAddr, connecting: bool, now: Instant) -> Self {
        Self {
            fd,
            remote,
            local: None,
            phase: if connecting { Phase::Connecting } else { Phase::Open },
            known: Known { writable: !connecting, ..Known::default() },
            hands: Hands::Off,
            queue: Queue::default(),
            written: 0,
            received: 0,
            mark: 0,
            soft: Soft::default(),
            verdict: None,
            linger: None,
            opened: now,
            since: now,
            ready: false,
        }
    }

    pub(super) const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether the application's handle is good.
    pub(super) fn lives(&self) -> bool {
        self.hands != Hands::Closed
    }

    pub(super) const fn lingers_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Lingering(until) => Some(until),
            _ => None,
        }
    }

    /// It lingers no longer; until when it would have.
    pub(super) fn end_linger(&mut self) -> Option<Instant> {
        let until = self.lingers_until()?;
        self.phase = Phase::Over;
        Some(until)
    }

    /// It failed before it was known to anybody.
    pub(super) fn doom(&mut self, errno: Errno) {
        self.verdict = Some(Some(errors::connection(errno, true)));
    }

    /// What epoll says.
    pub(super) fn note(&mut self, event: &mio::event::Event) {
        let known = &mut self.known;
        known.readable |= event.is_readable();
        known.writable |= event.is_writable();
        known.ending |= event.is_read_closed();
        known.urgent |= event.is_priority();
        known.failing |= event.is_error() || event.is_write_closed();
    }

    /// It is asked for data that nobody has told of. False: it would not be read from.
    pub(super) fn ask(&mut self, limit: usize) -> bool {
        let asks = self.may_read(limit);
        self.known.readable |= asks;
        asks
    }

    /// A turn begins.
    pub(super) const fn begin_turn(&mut self) {
        self.known.was_read = false;
    }

    /// Whether there is more to do in the next turn.
    pub(super) fn goes_on(&self, limit: usize) -> bool {
        let known = &self.known;
        self.verdict.is_some()
            || self.has_soft_news()
            || (known.writable && known.wants_room)
            || (known.readable && self.may_read(limit))
    }

    fn may_read(&self, limit: usize) -> bool {
        self.phase == Phase::Open && !self.known.eof && self.queue.len() < limit && self.hands == Hands::Off
    }

    /// The next thing to tell; `None`: nothing more in this turn. No more than `limit` bytes are queued.
    pub(super) fn next(&mut self, now: Instant, buffer: &mut [u8], limit: usize) -> Option<News> {
        if let Some(octets) = self.look_for_mark() {
            return Some(News::Urgent(octets));
        }
        match self.phase {
            Phase::Over => return None,
            Phase::Connecting if self.verdict.is_none() => return self.finish_connecting(now),
            Phase::Lingering(until) => self.look_at_linger(now, until),
            _ if self.known.readable && !self.known.was_read && self.may_read(limit) => {
                self.known.was_read = true;
                let room = buffer.len().min(limit - self.queue.len());
                if let Some(news) = self.receive(now, &mut buffer[..room]) {
                    return Some(news);
                }
            }
            _ => {}
        }
        self.look_at_error(buffer, limit);
        if self.verdict.is_none() {
            if let Some(news) = self.smaller_news() {
                return Some(news);
            }
            self.look_at_end();
        }
        let verdict = self.verdict.take()?;
        self.phase = Phase::Over;
        Some(News::Closed(verdict))
    }

    /// Where what is urgent ends, if that is news: before it is read (RFC 9293 MUST-32).
    fn look_for_mark(&mut self) -> Option<u32> {
        if self.phase != Phase::Open || !std::mem::take(&mut self.known.urgent) || self.known.read_shut {
            return None;
        }
        let end = self.received + u64::from(octets_before_mark(self.fd.as_fd()).ok()??) + 1;
        if end <= self.mark {
            return None;
        }
        self.mark = end;
        self.urgent()
    }

    /// Octets from the next one for the application to the mark.
    pub(super) fn urgent(&self) -> Option<u32> {
        let given = self.received - self.queue.len() as u64;
        u32::try_from(self.mark.saturating_sub(given)).ok().filter(|octets| *octets > 0)
    }

    fn smaller_news(&mut self) -> Option<News> {
        let known = &mut self.known;
        if self.phase != Phase::Open {
            None
        } else if known.writable && std::mem::take(&mut known.wants_room) {
            Some(News::Writable)
        } else if let Some(error) = self.soft.take_news() {
            Some(News::SoftError(error))
        } else if known.eof && !std::mem::replace(&mut known.eof_told, known.eof) {
            Some(News::PeerClosed)
        } else {
            None
        }
    }

    fn finish_connecting(&mut self, now: Instant) -> Option<News> {
        if !self.known.writable && !self.known.failing {
            return None;
        }
        match sockopt::socket_error(&self.fd) {
            Ok(Ok(())) => {}
            Ok(Err(errno)) | Err(errno) => {
                self.phase = Phase::Over;
                return Some(News::Closed(Some(errors::connection(errno, true))));
            }
        }
        if net::getpeername(&self.fd).is_err() {
            self.known.writable = false;
            return None;
        }
        (self.phase, self.since) = (Phase::Open, now);
        Some(News::Connected)
    }

    fn receive(&mut self, now: Instant, buffer: &mut [u8]) -> Option<News> {
        match net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => {
                (self.known.eof, self.known.readable, self.since) = (true, false, now);
                None
            }
            Ok((n, _)) => {
                self.received += n as u64;
                // Less than asked for is all there was, or all before the mark; what has come since says so itself.
                self.known.readable = n == buffer.len() || self.known.ending || self.received < self.mark;
                if self.known.read_shut {
                    // As the stack: nobody reads, which the peer must learn.
                    self.disconnect();
                    self.verdict = Some(Some(Error::Reset));
                    return None;
                }
                if self.queue.is_empty() {
                    self.hands = Hands::On;
                    return Some(News::Data(n));
                }
                self.queue.push(&buffer[..n]);
                Some(News::Readable)
            }
            Err(Errno::AGAIN) => {
                self.known.readable = false;
                None
            }
            Err(Errno::INTR) => None,
            Err(errno) => {
                self.fail_unless_soft(errno);
                None
            }
        }
    }

    /// The application has seen the data, and has left `rest` of it. True if it has closed the connection meanwhile.
    pub(super) fn delivered(&mut self, rest: &[u8]) -> bool {
        let closed = std::mem::take(&mut self.hands) == Hands::Closed;
        if closed || !self.known.read_shut {
            self.queue.push(rest);
        }
        if !closed || rest.is_empty() || self.linger.is_none_or(|time| time == Duration::ZERO) {
            return closed;
        }
        // It waits for the outcome, and has thrown away data by closing.
        self.disconnect();
        self.verdict = Some(Some(Error::Aborted));
        false
    }

    /// Whether the connection goes on in spite of an error, which is noted.
    fn is_soft(&mut self, errno: Errno) -> bool {
        if self.phase == Phase::Connecting || !Soft::can_be(errno) {
            return false;
        }
        let goes_on = TcpInfo::of(self.fd.as_fd()).ok().filter(|kernel| kernel.state() != CLOSE);
        goes_on.inspect(|kernel| self.soft.note(errno, kernel.segments_in())).is_some()
    }

    fn fail_unless_soft(&mut self, errno: Errno) {
        if !self.is_soft(errno) {
            self.fail(errno);
        }
    }

    /// What is wrong on the way to the peer.
    pub(super) fn soft_error(&self) -> Option<IcmpError> {
        self.soft_errno().and_then(errors::icmp)
    }

    fn soft_errno(&self) -> Option<Errno> {
        self.soft.at(TcpInfo::of(self.fd.as_fd()).ok()?.segments_in())
    }

    pub(super) fn has_soft_news(&self) -> bool {
        self.phase == Phase::Open && self.soft.is_news()
    }

    fn fail(&mut self, errno: Errno) -> Error {
        let errno = match errno {
            // What was known of the path, as tcp_write_err of the kernel has it.
            Errno::TIMEDOUT => self.soft_errno().unwrap_or(errno),
            // It has ended since.
            soft if Soft::can_be(soft) => sockopt::socket_error(&self.fd).ok().and_then(Result::err).unwrap_or(soft),
            hard => hard,
        };
        let error = errors::connection(errno, self.phase == Phase::Connecting);
        self.verdict.get_or_insert(Some(error));
        error
    }

    /// An error that no read will tell: it is asked for, and what is there to read is kept for the application.
    fn look_at_error(&mut self, buffer: &mut [u8], limit: usize) {
        if !self.known.failing || self.verdict.is_some() || (self.may_read(limit) && self.known.readable) {
            return;
        }
        self.known.failing = false;
        let Ok(Err(errno)) = sockopt::socket_error(&self.fd) else { return };
        if self.is_soft(errno) {
            return;
        }
        self.fail(errno);
        while let Ok((n @ 1.., _)) = net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            self.queue.push(&buffer[..n]);
            self.received += n as u64;
        }
    }

    /// Both directions are closed: it is over once our FIN is acknowledged, and everything read.
    fn look_at_end(&mut self) {
        let closed = self.known.eof && self.known.write_shut && self.phase == Phase::Open;
        if closed && self.queue.is_empty() && self.kernel_state() == CLOSE {
            self.verdict = Some(None);
        }
    }

    fn kernel_state(&self) -> u8 {
        TcpInfo::of(self.fd.as_fd()).map_or(CLOSE, |info| info.state())
    }

    fn look_at_linger(&mut self, now: Instant, until: Instant) {
        if self.verdict.is_some() {
            return;
        }
        if std::mem::take(&mut self.known.readable) {
            match net::recv(&self.fd, &mut [0; 1][..], RecvFlags::empty()) {
                Ok((1.., _)) => {
                    // Linux resets who sends to a socket that lingers.
                    self.disconnect();
                    self.verdict = Some(Some(Error::Aborted));
                    return;
                }
                Err(errno) if !matches!(errno, Errno::AGAIN | Errno::INTR) && !self.is_soft(errno) => {
                    self.fail(errno);
                    return;
                }
                _ => {}
            }
        }
        if let Ok(Err(errno)) = sockopt::socket_error(&self.fd)
            && !self.is_soft(errno)
        {
            self.fail(errno);
        } else if matches!(self.kernel_state(), FIN_WAIT_2 | TIME_WAIT | CLOSE) {
            self.verdict = Some(None);
        } else if now >= until {
            self.verdict = Some(Some(Error::TimedOut));
        }
    }

    /// Resets the connection and keeps the descriptor (RFC 9293 section 3.10.5, as connect(2) to nobody does it).
    fn disconnect(&mut self) {
        self.local = self.local();
        let _ = net::connect_unspec(&self.fd);
    }

    /// To be dropped: by a reset.
    pub(super) fn reset(self) {
        let _ = sockopt::set_socket_linger(&self.fd, Some(std::time::Duration::ZERO));
    }

    // The verbs.

    pub(super) fn send(&mut self, bytes: &[u8], how: Sending) -> Result<usize, Error> {
        let how = match how {
            Sending::Plain => SendFlags::empty(),
            Sending::More => SendFlags::MORE,
            Sending::Urgent => SendFlags::OOB,
        };
        self.write(bytes.len(), |fd| net::send(fd, bytes, how | SendFlags::NOSIGNAL))
    }

    pub(super) fn send_vectored(&mut self, parts: &[&[u8]]) -> Result<usize, Error> {
        /// Parts of one call.
        const MOST: usize = 16;
        let mut taken = 0;
        for parts in parts.chunks(MOST) {
            let mut slices = [IoSlice::new(&[]); MOST];
            slices.iter_mut().zip(parts).for_each(|(slice, part)| *slice = IoSlice::new(part));
            let len = parts.iter().map(|part| part.len()).sum();
            let slices = &slices[..parts.len()];
            let mut nothing = SendAncillaryBuffer::default();
            let n = self.write(len, |fd| net::sendmsg(fd, slices, &mut nothing, SendFlags::NOSIGNAL))?;
            taken += n;
            if n < len {
                break;
            }
        }
        Ok(taken)
    }

    fn write(
        &mut self,
        len: usize,
        mut send: impl FnMut(&OwnedFd) -> rustix::io::Result<usize>,
    ) -> Result<usize, Error> {
        if self.known.write_shut {
            return Err(Error::BrokenPipe);
        }
        if self.phase == Phase::Over || self.lingers_until().is_some() {
            return Err(Error::NotConnected);
        }
        if len == 0 {
            return Ok(0);
        }
        if self.phase == Phase::Connecting || !self.known.writable {
            self.known.wants_room = true;
            return Ok(0);
        }
        let mut sent = send(&self.fd);
        if let Err(errno) = sent
            && self.is_soft(errno)
        {
            // With that it is told.
            sent = send(&self.fd);
        }
        let taken = match sent {
            Ok(n) => n,
            Err(Errno::AGAIN) => 0,
            Err(errno) if errno == Errno::INTR || self.is_soft(errno) => {
                self.known.wants_room = true;
                return Ok(0);
            }
            Err(errno) => return Err(self.fail(errno)),
        };
        self.written += taken as u64;
        if taken < len {
            // The kernel tells when there is room: it was asked for more than it had.
            (self.known.wants_room, self.known.writable) = (true, false);
        }
        Ok(taken)
    }

    pub(super) fn unread(&self) -> &[u8] {
        self.queue.front()
    }

    /// True if there may be something to tell now.
    pub(super) fn skip(&mut self, n: usize) -> bool {
        self.queue.consume(n);
        self.known.readable || self.known.failing || (self.known.eof && self.known.write_shut)
    }

    pub(super) fn shutdown(&mut self, now: Instant, half: Half) {
        if self.phase == Phase::Over {
            return;
        }
        if half != Half::Write && !self.known.read_shut {
            self.known.read_shut = true;
            self.queue.consume(usize::MAX);
            self.discard(rustix::io::ioctl_fionread(&self.fd).unwrap_or(0));
        }
        if half != Half::Read && self.phase == Phase::Connecting {
            // In SYN-SENT that is the end.
            self.disconnect();
            self.verdict = Some(None);
        } else if half != Half::Read && !self.known.write_shut {
            (self.known.write_shut, self.known.wants_room, self.since) = (true, false, now);
            let _ = net::shutdown(&self.fd, Shutdown::Write);
        }
    }

    /// Nobody will read so many bytes, which have arrived. What arrives from now on has come behind that.
    pub(super) fn discard(&mut self, mut left: u64) {
        let mut piece = [0; 4096];
        while self.phase == Phase::Open && left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match net::recv(&self.fd, &mut piece[..most], RecvFlags::empty()) {
                Ok((n @ 1.., _)) => left = left.saturating_sub(n as u64),
                _ => return,
            }
        }
    }

    /// Gives the connection up. True if it is kept: to hear how it ends, or until the application has looked at its data.
    pub(super) fn close(&mut self, now: Instant) -> Closing {
        if self.phase == Phase::Over || self.hands == Hands::On {
            self.hands = Hands::Closed;
            return Closing::Kept;
        }
        if self.lingers_until().is_some() || self.phase == Phase::Connecting {
            return Closing::Drop;
        }
        if !self.queue.is_empty() || self.linger == Some(Duration::ZERO) {
            return Closing::Reset;
        }
        let Some(time) = self.linger.filter(|_| self.kernel_state() != CLOSE) else { return Closing::Drop };
        if rustix::io::ioctl_fionread(&self.fd).is_ok_and(|unread| unread > 0) {
            return Closing::Reset;
        }
        self.shutdown(now, Half::Write);
        self.phase = Phase::Lingering(now + time);
        Closing::Kept
    }

    /// The application is to hear no more. True if the end is told already, and nothing is to be reset.
    pub(super) fn give_up(&mut self) -> bool {
        let over = self.phase == Phase::Over;
        if over {
            self.hands = Hands::Closed;
        }
        over
    }

    pub(super) fn set(&mut self, option: SocketOption) {
        let fd = &self.fd;
        let _ = match option {
            SocketOption::Nodelay(on) => sockopt::set_tcp_nodelay(fd, on),
            SocketOption::QuickAck(on) => sockopt::set_tcp_quickack(fd, on),
            SocketOption::Profile(profile) => set_profile(fd, profile),
            SocketOption::Cork(on) => sockopt::set_tcp_cork(fd, on),
            SocketOption::Linger(time) => {
                self.linger = time;
                Ok(())
            }
            SocketOption::UserTimeout(time) => sockopt::set_tcp_user_timeout(fd, user_timeout_ms(time)),
            SocketOption::Keepalive(None) => sockopt::set_socket_keepalive(fd, false),
            SocketOption::Keepalive(Some(settings)) => set_keepalive(fd, settings),
            SocketOption::SoftErrorReports(on) => {
                self.soft.unreported = !on;
                Ok(())
            }
            SocketOption::TrafficClass(dscp) if self.remote.is_ipv4() => sockopt::set_ip_tos(fd, dscp << 2),
            SocketOption::TrafficClass(dscp) => sockopt::set_ipv6_tclass(fd, u32::from(dscp & 0x3f) << 2),
        };
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local.or_else(|| net::getsockname(&self.fd).ok()?.try_into().ok())
    }

    /// The state as far as the application was told.
    fn state(&self, kernel: u8) -> State {
        use State::{CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, SynSent, TimeWait};
        match (self.phase, self.known.eof) {
            (Phase::Over, _) => Closed,
            (Phase::Connecting, _) => SynSent,
            (_, false) if !self.known.write_shut => Established,
            (_, false) if matches!(kernel, 1 | 4 | 9 | 11) => FinWait1,
            (_, false) => FinWait2,
            (_, true) => match kernel {
                4 | 11 => Closing,
                9 => LastAck,
                FIN_WAIT_2 | TIME_WAIT => TimeWait,
                CLOSE if self.known.write_shut => TimeWait,
                _ => CloseWait,
            },
        }
    }

    pub(super) fn info(&self, limit: usize) -> Info {
        let fd = self.fd.as_fd();
        let kernel = TcpInfo::of(fd).ok();
        let tell = |f: fn(&TcpInfo) -> u32| kernel.as_ref().map_or(0, f);
        let mss = tell(TcpInfo::snd_mss);
        let in_flight = (tell(TcpInfo::unacked) + tell(TcpInfo::retrans))
            .saturating_sub(tell(TcpInfo::sacked) + tell(TcpInfo::lost));
        // Linux's TCP_INFINITE_SSTHRESH.
        let ssthresh = Some(tell(TcpInfo::snd_ssthresh)).filter(|segments| *segments < 0x7fff_ffff);
        Info {
            state: self.state(kernel.as_ref().map_or(CLOSE, TcpInfo::state)),
            send_queue_bytes: unacknowledged_bytes(fd).unwrap_or(0),
            receive_queue_bytes: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            receive_buffer_bytes: u32::try_from(limit).unwrap_or(u32::MAX),
            srtt: Some(tell(TcpInfo::rtt_us)).filter(|us| *us > 0).map(micros),
            cwnd_bytes: tell(TcpInfo::snd_cwnd).saturating_mul(mss),
            send_mss: u16::try_from(mss).unwrap_or(u16::MAX),
            ssthresh_bytes: ssthresh.map(|segments| segments.saturating_mul(mss)),
            in_flight_bytes: in_flight.saturating_mul(mss),
            sacked_bytes: tell(TcpInfo::sacked).saturating_mul(mss),
            lost_bytes: tell(TcpInfo::lost).saturating_mul(mss),
            retransmits: tell(TcpInfo::total_retrans),
            timer: None,
            opened: self.opened,
            since: self.since,
        }
    }

    /// What a listing shows besides. The kernel's own counts have our FIN among the bytes, and what was sent again.
    pub(super) fn listing(&self, info: &Info) -> Option<Listing> {
        let detail = self.detail().ok()?;
        let fin = u32::from(self.known.write_shut);
        let of_written = |left: u32| self.written.saturating_sub(left.saturating_sub(fin).into());
        Some(Listing {
            // Nothing of the kernel's says it, and nobody asks here.
            why: Why::Sending,
            timers: Default::default(),
            rto: detail.rto,
            timeouts: detail.timeouts,
            window_probes: detail.window_probes,
            rttvar: detail.rttvar,
            min_rtt: detail.min_rtt,
            peer_window_bytes: detail.peer_window_bytes,
            unsent_bytes: detail.unsent_bytes.saturating_sub(fin),
            pacing_rate: None,
            bytes_sent: of_written(detail.unsent_bytes),
            bytes_acked: of_written(info.send_queue_bytes),
            bytes_received: self.received + rustix::io::ioctl_fionread(&self.fd).unwrap_or(0),
        })
    }

    pub(super) fn detail(&self) -> Result<Detail, Error> {
        let kernel = TcpInfo::of(self.fd.as_fd()).map_err(|_| Error::NotConnected)?;
        Ok(Detail {
            recovery: match kernel.recovery() {
                1 => Recovery::Disorder,
                2 => Recovery::Reducing,
                3 => Recovery::Recovery,
                4 => Recovery::Loss,
                _ => Recovery::Open,
            },
            rto: micros(kernel.rto_us()),
            backoff: kernel.backoff(),
            timeouts: kernel.timeouts(),
            window_probes: kernel.probes(),
            rttvar: micros(kernel.rttvar_us()),
            min_rtt: micros(Some(kernel.min_rtt_us()).filter(|us| *us < u32::MAX).unwrap_or(0)),
            outstanding: kernel.unacked(),
            sacked: kernel.sacked(),
            lost: kernel.lost(),
            resent: kernel.retrans(),
            reordering: u16::try_from(kernel.reordering()).unwrap_or(u16::MAX),
            reordered: 0,
            peer_window_bytes: kernel.snd_wnd(),
            unsent_bytes: kernel.notsent_bytes(),
            sack: kernel.options() & 2 != 0,
            ecn: kernel.options() & 8 != 0,
            timestamps: kernel.options() & 1 != 0,
            window_scale: (kernel.options() & 4 != 0).then(|| {
                let (theirs, ours) = kernel.window_scale();
                (theirs, ours)
            }),
        })
    }
}

/// What is to become of a socket that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// It is needed still.
    Kept,
    /// The kernel closes it in order.
    Drop,
    Reset,
}

fn micros(us: u32) -> Duration {
    Duration::from_micros(us.into())
}

/// Milliseconds; 0 is the kernel's default, so that for ever is the longest there is: 24 days.
fn user_timeout_ms(time: Option<Duration>) -> u32 {
    let most = u32::try_from(i32::MAX).unwrap_or(u32::MAX);
    time.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(most).clamp(1, most))
}

fn set_profile(fd: &OwnedFd, profile: Profile) -> rustix::io::Result<()> {
    sockopt::set_tcp_cork(fd, false)?;
    sockopt::set_tcp_nodelay(fd, profile == Profile::Latency)?;
    sockopt::set_tcp_quickack(fd, profile != Profile::Throughput)
}

fn set_keepalive(fd: &OwnedFd, settings: Keepalive) -> rustix::io::Result<()> {
    // The kernel's limits: 1 to 32767 seconds, 1 to 127 probes.
    let whole = |time: Duration| std::time::Duration::from_secs(time.as_millis().div_ceil(1000).clamp(1, 32_767));
    sockopt::set_tcp_keepidle(fd, whole(settings.idle))?;
    sockopt::set_tcp_keepintvl(fd, whole(settings.interval))?;
    sockopt::set_tcp_keepcnt(fd, settings.probes.clamp(2, 127).into())?;
    sockopt::set_socket_keepalive(fd, true)
}
