//! A frame in a ring, and on its way to who asked: a header of 24 bytes, what was kept of the frame, and its comment.

/// Bytes of a header.
pub(super) const HEADER: usize = 24;
/// Bytes of a comment at most.
pub(super) const MOST_COMMENT: usize = 1000;

/// What is known of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Nanoseconds on the loops' clock, which nobody sets.
    pub(super) at: u64,
    /// How long it was.
    pub(super) len: u32,
    /// Bytes that were kept.
    pub(super) kept: u32,
    /// Frames that were dropped since the last one that was not.
    pub(super) lost: u32,
    /// Bytes of its comment.
    pub(super) comment: u16,
    /// It was sent; otherwise it came in.
    pub(super) sent: bool,
}

impl Header {
    pub(super) fn write(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (at, rest) = bytes.split_at_mut(8);
        at.copy_from_slice(&self.at.to_le_bytes());
        for (place, word) in rest.chunks_mut(4).zip([self.len, self.kept, self.lost]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        rest[12..14].copy_from_slice(&self.comment.to_le_bytes());
        rest[14] = self.sent.into();
        bytes
    }

    /// The first of what lies in `bytes`; `None` if that is not all there.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (words, rest) = rest.split_first_chunk::<12>()?;
        let [a, b, sent, _] = *rest.first_chunk()?;
        let [len, kept, lost] = [0, 4, 8].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|n| words[at + n])));
        let header =
            Self { at: u64::from_le_bytes(*at), len, kept, lost, comment: u16::from_le_bytes([a, b]), sent: sent != 0 };
        (bytes.len() >= header.whole()).then_some(header)
    }

    /// Bytes of the whole record.
    pub(super) const fn whole(&self) -> usize {
        HEADER + self.kept as usize + self.comment as usize
    }
}
