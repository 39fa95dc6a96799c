//! TCP segments (RFC 9293, section 3.1).

mod flags;
mod options;

use core::net::IpAddr;

use crate::{Malformed, PROTOCOL_TCP, SeqNum, checksum};

pub use flags::Flags;
pub use options::{Options, SackBlocks, Timestamps};

/// A TCP header with its options.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// SEG.SEQ
    pub seq: SeqNum,
    /// SEG.ACK; meaningless without the ACK flag.
    pub ack: SeqNum,
    /// The control bits.
    pub flags: Flags,
    /// The window as it stands in the header: scaling it is the connection's business (RFC 7323, section 2).
    pub window: u16,
    /// SEG.UP, an offset from `seq`; meaningless without the URG flag.
    pub urgent: u16,
    /// The options that are understood.
    pub options: Options,
}

impl Header {
    /// The bytes of a header without options.
    pub const MIN_LEN: usize = 20;
    /// The bytes of a header full of options: as many as Data Offset can express.
    pub const MAX_LEN: usize = Self::MIN_LEN + Options::MAX_LEN;
    /// Where the checksum is, in bytes from the header's start.
    pub const CHECKSUM_AT: u16 = 16;

    /// The header's bytes on the wire: 20 to 60, a multiple of 4.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a header is never empty
    pub fn len(&self) -> usize {
        Self::MIN_LEN + self.options.len()
    }

    /// Writes the header into the first [`len`](Self::len) bytes of `buf`, and the checksum over all of `buf`: the
    /// payload must already be in place behind the header.
    ///
    /// `buf` must hold at least the header; into a shorter one nothing is written, and a debug build asserts.
    #[inline]
    pub fn emit(&self, src: IpAddr, dst: IpAddr, buf: &mut [u8]) {
        if self.emit_all(buf) {
            let checksum = whole_checksum(src, dst, buf);
            buf[16..18].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    /// As [`emit`](Self::emit), with the checksum left to who sends the segment: in its place is the sum of the
    /// pseudo-header, so that the checksum of `buf` as it is then is the segment's. The payload may come later.
    #[inline(never)] // so that what both have in common is in `emit` where that goes
    pub fn emit_unfinished(&self, src: IpAddr, dst: IpAddr, buf: &mut [u8]) {
        if self.emit_all(buf) {
            let len = u32::try_from(buf.len()).unwrap_or(u32::MAX);
            let sum = !checksum::finish(checksum::pseudo_header(src, dst, PROTOCOL_TCP, len));
            buf[16..18].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// The running sum of all that segments have in common which differ in their sequence numbers and their `payload_len`
    /// bytes alone: of the pseudo-header, and of this header but for its sequence number. For [`renumber`].
    #[must_use]
    pub fn common_sum(&self, src: IpAddr, dst: IpAddr, payload_len: usize) -> u64 {
        let (mut head, header_len) = ([0; Self::MAX_LEN], self.len());
        Self { seq: SeqNum::default(), ..*self }.emit_all(&mut head);
        let len = u32::try_from(header_len + payload_len).unwrap_or(u32::MAX);
        checksum::sum(checksum::pseudo_header(src, dst, PROTOCOL_TCP, len), &head[..header_len])
    }

    /// Header and options, with a checksum of zero; false if there is no room.
    #[inline]
    fn emit_all(&self, buf: &mut [u8]) -> bool {
        if let Some(timestamps) = self.options.only_timestamps()
            && let Some((head, rest)) = buf.split_first_chunk_mut()
            && let Some(options) = rest.first_chunk_mut()
        {
            self.emit_fixed(Self::MIN_LEN + Timestamps::LEN, head);
            timestamps.emit(options);
            return true;
        }
        self.emit_any(buf)
    }

    /// [`emit_all`](Self::emit_all), whatever the options are.
    fn emit_any(&self, buf: &mut [u8]) -> bool {
        let header_len = self.len();
        let Some((head, options)) = buf.get_mut(..header_len).and_then(<[u8]>::split_first_chunk_mut) else {
            debug_assert!(false, "no room for a TCP header");
            return false;
        };
        self.emit_fixed(header_len, head);
        self.options.emit(options);
        true
    }

    /// The 20 bytes every header has, with a checksum of zero.
    #[inline]
    fn emit_fixed(&self, header_len: usize, head: &mut [u8; Self::MIN_LEN]) {
        head[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        head[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        head[4..8].copy_from_slice(&self.seq.value().to_be_bytes());
        head[8..12].copy_from_slice(&self.ack.value().to_be_bytes());
        // A header is at most 60 bytes long: 15 words fit the upper half of the byte.
        #[allow(clippy::cast_possible_truncation)]
        {
            head[12] = (header_len as u8 / 4) << 4;
        }
        head[13] = self.flags.bits();
        head[14..16].copy_from_slice(&self.window.to_be_bytes());
        head[16..18].copy_from_slice(&[0, 0]);
        head[18..20].copy_from_slice(&self.urgent.to_be_bytes());
    }
}

/// Gives a segment another sequence number, where a copy of another's header stands before its payload, and the checksum
/// with it: `common` is what it has [in common](Header::common_sum) with that one. Without `common` the checksum stays as it
/// is, which is right where it was left [unfinished](Header::emit_unfinished).
///
/// `segment` must hold the header, of `header_len` bytes; into a shorter one nothing is written, and a debug build asserts.
#[inline]
pub fn renumber(segment: &mut [u8], header_len: usize, seq: SeqNum, common: Option<u64>) {
    let Some((head, payload)) = segment.split_at_mut_checked(header_len) else {
        debug_assert!(false, "no room for a TCP header");
        return;
    };
    let Some(head) = head.first_chunk_mut::<{ Header::MIN_LEN }>() else {
        debug_assert!(false, "no TCP header is that short");
        return;
    };
    head[4..8].copy_from_slice(&seq.value().to_be_bytes());
    if let Some(common) = common {
        let checksum = checksum::finish_with(common + u64::from(seq.value()), payload);
        head[16..18].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// A segment whose bounds and checksum have been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// The header.
    pub header: Header,
    /// The data, possibly none.
    pub payload: &'a [u8],
}

/// What nearly all segments of an open connection are: one that has no other option than timestamps, if it has any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain<'a> {
    /// SEG.SEQ
    pub seq: SeqNum,
    /// SEG.ACK; meaningless without the ACK flag.
    pub ack: SeqNum,
    /// The control bits.
    pub flags: Flags,
    /// The window as it stands in the header.
    pub window: u16,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// The data, possibly none.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The segment without the options that a [plain](Plain) one has not, and without ports and urgent pointer.
    #[inline]
    #[must_use]
    pub const fn plain(&self) -> Plain<'a> {
        let Header { seq, ack, flags, window, options: Options { timestamps, .. }, .. } = self.header;
        Plain { seq, ack, flags, window, timestamps, payload: self.payload }
    }

    /// Reads a segment that fills `bytes`, sent from `src` to `dst`.
    ///
    /// # Errors
    /// [`Malformed::TcpTruncated`], [`Malformed::TcpDataOffset`], [`Malformed::TcpChecksum`], tried in this order.
    /// Malformed options are no error, see [`Options::malformed`].
    #[inline]
    pub fn parse(bytes: &'a [u8], src: IpAddr, dst: IpAddr) -> Result<Self, Malformed> {
        let head = bytes.first_chunk::<{ Header::MIN_LEN }>().ok_or(Malformed::TcpTruncated)?;
        let [sp0, sp1, dp0, dp1, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, u0, u1] = *head;
        let (head, payload) = bytes.split_at_checked(usize::from(offset >> 4) * 4).ok_or(Malformed::TcpDataOffset)?;
        let options = head.get(Header::MIN_LEN..).ok_or(Malformed::TcpDataOffset)?;
        if whole_checksum(src, dst, bytes) != 0 {
            return Err(Malformed::TcpChecksum);
        }
        let header = Header {
            src_port: u16::from_be_bytes([sp0, sp1]),
            dst_port: u16::from_be_bytes([dp0, dp1]),
            seq: SeqNum::new(u32::from_be_bytes([s0, s1, s2, s3])),
            ack: SeqNum::new(u32::from_be_bytes([a0, a1, a2, a3])),
            flags: Flags::from_bits(flags),
            window: u16::from_be_bytes([w0, w1]),
            urgent: u16::from_be_bytes([u0, u1]),
            options: Options::parse(options),
        };
        Ok(Self { header, payload })
    }

    /// SEG.LEN: the sequence numbers the segment occupies, counting SYN and FIN (RFC 9293, section 3.4).
    #[inline]
    #[must_use]
    pub fn len(&self) -> u32 {
        let controls =
            u32::from(self.header.flags.contains(Flags::SYN)) + u32::from(self.header.flags.contains(Flags::FIN));
        u32::try_from(self.payload.len()).unwrap_or(u32::MAX).saturating_add(controls)
    }

    /// Whether the segment occupies no sequence number: a bare ACK or RST.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sequence number after the segment's last: SEG.SEQ + SEG.LEN.
    #[inline]
    #[must_use]
    pub fn end(&self) -> SeqNum {
        self.header.seq + self.len()
    }
}

/// The checksum over the pseudo-header and all of a segment; of one that has its checksum in place, 0 if it arrived intact.
#[inline]
fn whole_checksum(src: IpAddr, dst: IpAddr, segment: &[u8]) -> u16 {
    let len = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    checksum::finish_with(checksum::pseudo_header(src, dst, PROTOCOL_TCP, len), segment)
}
