use core::fmt;

use crate::SeqNum;

const END_OF_LIST: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The Timestamps option (RFC 7323, section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Timestamps {
    /// TSval: the sender's clock, in ticks of its own choice.
    pub val: u32,
    /// TSecr: the latest TSval it has from us; meaningless without the ACK flag.
    pub ecr: u32,
}

impl Timestamps {
    /// The bytes of the option with the two no-operations before it.
    pub(crate) const LEN: usize = 12;

    #[inline]
    pub(super) fn emit(self, out: &mut [u8; Self::LEN]) {
        out[..4].copy_from_slice(&[NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10]);
        out[4..8].copy_from_slice(&self.val.to_be_bytes());
        out[8..].copy_from_slice(&self.ecr.to_be_bytes());
    }
}

/// The blocks of a SACK option (RFC 2018, section 3): up to four ranges of received data, as the peer ordered them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlocks {
    // What lies at `len` and beyond is always zero, so that the derived equality is the right one.
    blocks: [(SeqNum, SeqNum); Self::MAX],
    len: u8,
}

impl SackBlocks {
    /// The most blocks that 40 bytes of options can hold.
    pub const MAX: usize = 4;
    /// No block.
    pub const NONE: Self = Self { blocks: [(SeqNum::new(0), SeqNum::new(0)); Self::MAX], len: 0 };

    /// Appends the block of data from `start` up to, not including, `end`. Full already: false, and nothing changes.
    #[inline]
    pub fn push(&mut self, start: SeqNum, end: SeqNum) -> bool {
        let Some(block) = self.blocks.get_mut(usize::from(self.len)) else {
            return false;
        };
        *block = (start, end);
        self.len += 1;
        true
    }

    /// The blocks as `(start, end)`, first to last.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SeqNum, SeqNum)> + DoubleEndedIterator + Clone + '_ {
        self.as_slice().iter().copied()
    }

    /// The blocks as a slice of `(start, end)`.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[(SeqNum, SeqNum)] {
        self.blocks.get(..self.len()).unwrap_or(&self.blocks)
    }

    /// How many blocks there are: 0 to [`MAX`](Self::MAX).
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no block, and so no option.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(start, end)| start.value()..end.value())).finish()
    }
}

/// The options of a TCP header that the stack understands (RFC 9293, section 3.2; RFC 7323; RFC 2018).
///
/// Parsing doesn't look at the flags: whoever handles the segment ignores what is only valid in a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum Segment Size, in bytes of data, as sent: possibly 0. Only valid in a SYN.
    pub mss: Option<u16>,
    /// shift.cnt of Window Scale: 0 to 14, a larger one counts as 14 (RFC 7323, section 2.3). Only valid in a SYN.
    pub window_scale: Option<u8>,
    /// SACK-Permitted. Only valid in a SYN.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// The blocks of SACK.
    pub sack: SackBlocks,
    /// An option had an illegal length (RFC 9293, MUST-7); what stood before it was kept. Never sent.
    pub malformed: bool,
}

impl Options {
    /// The most bytes that options can take: 15 words of header less its 20 fixed bytes.
    pub const MAX_LEN: usize = 40;
    /// The largest shift.cnt (RFC 7323, section 2.3).
    pub const MAX_WINDOW_SCALE: u8 = 14;

    /// Makes it empty, as [`Options::default`] does; but what is empty is not written.
    #[inline]
    pub fn clear(&mut self) {
        (self.mss, self.window_scale, self.sack_permitted) = (None, None, false);
        (self.timestamps, self.malformed) = (None, false);
        if !self.sack.is_empty() {
            self.sack = SackBlocks::NONE;
        }
    }

    /// Reads the options between a header's fixed part and its data.
    ///
    /// A kind that isn't known is skipped by its length (MUST-6); one that is known but has a length of another kind is
    /// ignored. A length below 2 or beyond the end stops the parse and sets `malformed`. Of an option that comes twice,
    /// the last counts.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        match *bytes {
            [] => Self::default(),
            // The layout that RFC 7323, appendix A recommends, and that nearly every segment after the SYN has.
            [NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10, v0, v1, v2, v3, e0, e1, e2, e3] => {
                let val = u32::from_be_bytes([v0, v1, v2, v3]);
                let ecr = u32::from_be_bytes([e0, e1, e2, e3]);
                Self { timestamps: Some(Timestamps { val, ecr }), ..Self::default() }
            }
            _ => Self::parse_list(bytes),
        }
    }

    fn parse_list(mut rest: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            match *rest {
                [] | [END_OF_LIST, ..] => return options,
                [NO_OPERATION, ref next @ ..] => rest = next,
                [kind, len, ref next @ ..] => {
                    let Some((data, next)) = usize::from(len).checked_sub(2).and_then(|len| next.split_at_checked(len))
                    else {
                        break;
                    };
                    options.take(kind, data);
                    rest = next;
                }
                [_] => break,
            }
        }
        options.malformed = true;
        options
    }

    /// Keeps one option, if its kind is known and its data has the length of that kind.
    fn take(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (MAXIMUM_SEGMENT_SIZE, &[m0, m1]) => self.mss = Some(u16::from_be_bytes([m0, m1])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(Self::MAX_WINDOW_SCALE)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (SACK, blocks) => {
                let (blocks, []) = blocks.as_chunks::<8>() else {
                    return;
                };
                self.sack = SackBlocks::default();
                for &[s0, s1, s2, s3, e0, e1, e2, e3] in blocks {
                    let start = SeqNum::new(u32::from_be_bytes([s0, s1, s2, s3]));
                    let end = SeqNum::new(u32::from_be_bytes([e0, e1, e2, e3]));
                    self.sack.push(start, end);
                }
            }
            (TIMESTAMPS, &[v0, v1, v2, v3, e0, e1, e2, e3]) => {
                let val = u32::from_be_bytes([v0, v1, v2, v3]);
                let ecr = u32::from_be_bytes([e0, e1, e2, e3]);
                self.timestamps = Some(Timestamps { val, ecr });
            }
            _ => {}
        }
    }

    /// The bytes of the options on the wire: 0 to [`MAX_LEN`](Self::MAX_LEN), padded to a multiple of 4.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        let fixed = self.fixed_len();
        match self.sack_that_fit(fixed) {
            0 => fixed,
            blocks => fixed + 4 + 8 * blocks,
        }
    }

    /// Whether there is no option to send.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The padded bytes of all options but SACK: at most 20.
    #[inline]
    const fn fixed_len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += 12; // SACK-Permitted takes the place of the two no-operations
        } else if self.sack_permitted {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        len
    }

    /// How many SACK blocks there is room for behind `fixed` bytes of other options: three beside Timestamps
    /// (RFC 2018, section 3).
    #[inline]
    const fn sack_that_fit(&self, fixed: usize) -> usize {
        let room = (Self::MAX_LEN - fixed - 4) / 8;
        if self.sack.len() < room { self.sack.len() } else { room }
    }

    /// Writes the options, in Linux's order and padding, into the first [`len`](Self::len) bytes of `buf`.
    ///
    /// The last SACK blocks are left out when all the options together exceed 40 bytes. `buf` must hold the options;
    /// in a shorter one they are cut off.
    pub fn emit(&self, buf: &mut [u8]) {
        let mut out = Writer { rest: buf };
        if let Some(mss) = self.mss {
            let [m0, m1] = mss.to_be_bytes();
            out.put([MAXIMUM_SEGMENT_SIZE, 4, m0, m1]);
        }
        match self.timestamps {
            Some(timestamps) => {
                out.put(if self.sack_permitted { [SACK_PERMITTED, 2] } else { [NO_OPERATION; 2] });
                out.put([TIMESTAMPS, 10]);
                out.put(timestamps.val.to_be_bytes());
                out.put(timestamps.ecr.to_be_bytes());
            }
            None if self.sack_permitted => out.put([NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]),
            None => {}
        }
        if let Some(shift) = self.window_scale {
            out.put([NO_OPERATION, WINDOW_SCALE, 3, shift.min(Self::MAX_WINDOW_SCALE)]);
        }
        let blocks = self.sack_that_fit(self.fixed_len());
        if blocks > 0 {
            // At most 2 + 4 * 8.
            #[allow(clippy::cast_possible_truncation)]
            out.put([NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * blocks as u8]);
            for (start, end) in self.sack.iter().take(blocks) {
                out.put(start.value().to_be_bytes());
                out.put(end.value().to_be_bytes());
            }
        }
    }

    /// Timestamps, if there is nothing else: as in `parse`, what nearly every segment after the SYN has.
    #[inline]
    pub(super) const fn only_timestamps(&self) -> Option<Timestamps> {
        if self.mss.is_none() && self.window_scale.is_none() && !self.sack_permitted && self.sack.is_empty() {
            self.timestamps
        } else {
            None
        }
    }
}

/// Writes one piece after another.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let Some((space, rest)) = core::mem::take(&mut self.rest).split_first_chunk_mut() else {
            debug_assert!(false, "no room for TCP options");
            return;
        };
        *space = bytes;
        self.rest = rest;
    }
}
