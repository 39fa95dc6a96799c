//! What servers and clients of HTTP/1.1 (RFC 9112) have in common: limits, fields, and bodies to be passed over.

use std::mem::MaybeUninit;

/// Bytes a head may have: as nginx takes by default (4 lines of 8 KiB are its most, one of them is usual).
pub(crate) const MOST_HEAD: usize = 16 << 10;
/// Header fields it may have.
const MOST_FIELDS: usize = 100;
/// Room for them: to clear it costs more than to read the fields of a usual head.
pub(crate) const NO_FIELDS: [MaybeUninit<httparse::Header<'_>>; MOST_FIELDS] =
    [const { MaybeUninit::uninit() }; MOST_FIELDS];
/// Bytes of a line of chunked coding: a length of 16 digits and extensions nobody uses.
pub(crate) const MOST_LINE: u16 = 256;

/// It is no HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What is left of a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Bytes(u64),
    Chunked(Chunk),
}

/// Where in chunked coding the stream is, RFC 9112 section 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the line with its length: as far as that is known, whether the digits are over, and bytes of the line.
    Size {
        size: u64,
        over: bool,
        line: u16,
    },
    Data(u64),
    /// At the line break behind the data.
    Behind,
    /// In the trailer: bytes of the line, line breaks aside.
    Trailer {
        line: u16,
    },
}

const NEXT_CHUNK: Chunk = Chunk::Size { size: 0, over: false, line: 0 };

/// The head of a message, however the stream is cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The beginning of one that came in pieces.
    begun: Vec<u8>,
}

impl Head {
    /// Nothing of a head has come.
    pub(crate) const fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Takes in the next bytes up to the end of the head. How many were taken, and what `parse` makes of the whole; it gives the
    /// head's length with it, or nothing as long as there is more to come.
    pub(crate) fn read<T, E>(
        &mut self,
        bytes: &[u8],
        too_large: E,
        parse: impl FnOnce(&[u8]) -> Result<Option<(usize, T)>, E>,
    ) -> (usize, Result<Option<T>, E>) {
        let before = self.begun.len();
        let taken = bytes.len().min(MOST_HEAD + 1 - before);
        let whole = match before {
            0 => &bytes[..taken],
            _ => {
                self.begun.extend_from_slice(&bytes[..taken]);
                &self.begun[..]
            }
        };
        // A head that comes byte by byte is looked at once, when it may be over.
        if before > 0 && whole.len() <= MOST_HEAD && !may_be_over(&whole[before.saturating_sub(2)..]) {
            return (taken, Ok(None));
        }
        match parse(whole) {
            Ok(Some((length, head))) => {
                self.begun = Vec::new();
                (length - before, Ok(Some(head)))
            }
            Ok(None) if whole.len() > MOST_HEAD => (taken, Err(too_large)),
            Ok(None) => {
                if before == 0 {
                    self.begun = whole.to_vec();
                }
                (taken, Ok(None))
            }
            Err(error) => (taken, Err(error)),
        }
    }
}

/// The last head that was read, and what it means: most are the same as the one before, byte for byte, and need not be read
/// again.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    head: Vec<u8>,
    meaning: Option<T>,
}

impl<T: Copy> Seen<T> {
    /// Bytes of a head that are kept: longer ones are read each time.
    const MOST: usize = 1024;

    /// None.
    pub(crate) const fn new() -> Self {
        Self { head: Vec::new(), meaning: None }
    }

    /// What `bytes` begin with, if that is the same again: its length, and what it means.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(usize, T)> {
        let meaning = self.meaning.filter(|_| bytes.starts_with(&self.head))?;
        Some((self.head.len(), meaning))
    }

    /// Keeps a whole head, with the empty line at its end.
    pub(crate) fn keep(&mut self, head: &[u8], meaning: T) {
        self.head.clear();
        self.meaning = (head.len() <= Self::MOST).then_some(meaning);
        if self.meaning.is_some() {
            self.head.extend_from_slice(head);
        }
    }
}

/// Whether a head may end in here: an empty line.
fn may_be_over(bytes: &[u8]) -> bool {
    let empty_line = |at: usize| matches!(bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
    bytes.iter().enumerate().any(|(at, &byte)| byte == b'\n' && empty_line(at))
}

/// Whether a list of tokens has one, RFC 9110 section 5.6.1.
pub(crate) fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
}

/// A number of digits alone.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(char::from(*digit).to_digit(10)?.into()))
}

impl Body {
    /// In chunks, before the first.
    pub(crate) const fn chunked() -> Self {
        Self::Chunked(NEXT_CHUNK)
    }

    /// Passes over the next bytes. How many were of the body, and whether it is over; `data` is given what is no framing.
    pub(crate) fn pass(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> (usize, Result<bool, Malformed>) {
        match self {
            Self::Bytes(left) => {
                let taken = pass_over(left, bytes);
                data(&bytes[..taken]);
                (taken, Ok(*left == 0))
            }
            Self::Chunked(chunk) => {
                let mut taken = 0;
                while taken < bytes.len() {
                    if let Chunk::Data(left) = chunk {
                        let part = pass_over(left, &bytes[taken..]);
                        data(&bytes[taken..taken + part]);
                        taken += part;
                        if *left == 0 {
                            *chunk = Chunk::Behind;
                        }
                        continue;
                    }
                    let next = chunk.next(bytes[taken]);
                    taken += 1;
                    match next {
                        Ok(Some(next)) => *chunk = next,
                        Ok(None) => return (taken, Ok(true)),
                        Err(malformed) => return (taken, Err(malformed)),
                    }
                }
                (taken, Ok(false))
            }
        }
    }
}

fn pass_over(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= taken as u64;
    taken
}

impl Chunk {
    /// Behind the next byte, which is none of the data; `None`: the body is over.
    fn next(self, byte: u8) -> Result<Option<Self>, Malformed> {
        Ok(Some(match self {
            Self::Size { line, .. } | Self::Trailer { line } if line >= MOST_LINE => return Err(Malformed),
            Self::Size { size, over, line } => match (byte, char::from(byte).to_digit(16)) {
                (b'\n', _) if line == 0 => return Err(Malformed),
                (b'\n', _) if size == 0 => Self::Trailer { line: 0 },
                (b'\n', _) => Self::Data(size),
                (b'\r', _) if line > 0 => Self::Size { size, over: true, line },
                (_, Some(digit)) if !over => {
                    let more = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
                    Self::Size { size: more.ok_or(Malformed)?, over, line: line + 1 }
                }
                (b';' | b' ' | b'\t', _) if line > 0 => Self::Size { size, over: true, line: line + 1 },
                _ if over => Self::Size { size, over, line: line + 1 },
                _ => return Err(Malformed),
            },
            Self::Data(_) => self,
            Self::Behind => match byte {
                b'\r' => self,
                b'\n' => NEXT_CHUNK,
                _ => return Err(Malformed),
            },
            Self::Trailer { line } => match byte {
                b'\n' if line == 0 => return Ok(None),
                b'\n' => Self::Trailer { line: 0 },
                b'\r' => self,
                _ => Self::Trailer { line: line + 1 },
            },
        }))
    }
}
