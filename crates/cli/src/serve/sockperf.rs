//! What sockperf's client expects of its server over TCP: the messages that ask for it back, no longer marked as a client's.
//!
//! A message begins with 14 bytes in network order: sequence number (8), flags (2), length of the whole message (4). Bit 0 of
//! the flags says that a client sent it; a client drops what has it set, so a plain echo server won't do. Bit 1 asks for an answer:
//! in a ping-pong each message does, under load one in many, in a throughput test none.

const HEADER_BYTES: usize = 14;
/// The length counts the header, too.
const LEAST: u32 = 14;
/// The low byte of the flags.
const FLAGS_AT: usize = 9;
const FROM_CLIENT: u8 = 1;
const ASKS: u8 = 2;
const LENGTH_AT: usize = 10;

/// Follows one connection's messages, however they are cut into pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    got: usize,
    /// Bytes of the message that are still to come behind it, and whether they go back.
    left: u32,
    asks: bool,
}

impl Messages {
    /// Takes in the next bytes of the stream, and adds to `answer` what goes back.
    pub(super) fn take(&mut self, mut bytes: &[u8], answer: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.got == HEADER_BYTES {
                let part = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                if self.asks {
                    answer.extend_from_slice(&bytes[..part]);
                }
                self.left -= u32::try_from(part).unwrap_or(self.left);
                bytes = &bytes[part..];
            } else {
                let part = bytes.len().min(HEADER_BYTES - self.got);
                self.header[self.got..self.got + part].copy_from_slice(&bytes[..part]);
                self.got += part;
                bytes = &bytes[part..];
                if self.got == HEADER_BYTES {
                    self.begin(answer);
                }
            }
            if self.got == HEADER_BYTES && self.left == 0 {
                self.got = 0;
            }
        }
    }

    /// The header is whole.
    fn begin(&mut self, answer: &mut Vec<u8>) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.header[LENGTH_AT + i]);
        self.left = u32::from_be_bytes([a, b, c, d]).saturating_sub(LEAST);
        self.asks = self.header[FLAGS_AT] & ASKS != 0;
        if self.asks {
            self.header[FLAGS_AT] &= !FROM_CLIENT;
            answer.extend_from_slice(&self.header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u8, length: u8) -> Vec<u8> {
        let mut message = vec![0, 0, 0, 0, 0, 0, 0, 7, 0, flags, 0, 0, 0, length];
        message.resize(usize::from(length).max(14), 0xff);
        message
    }

    #[test]
    fn what_asks_for_it_comes_back_without_the_clients_mark_however_it_is_cut() {
        let stream =
            [message(3, 14), message(1, 30), message(3, 20), message(7, 255), message(5, 14), message(3, 0)].concat();
        let expected = [message(2, 14), message(2, 20), message(6, 255), message(2, 0)].concat();
        for piece in [1, 3, 14, 100, stream.len()] {
            let (mut answer, mut messages) = (Vec::new(), Messages::default());
            stream.chunks(piece).for_each(|piece| messages.take(piece, &mut answer));
            assert_eq!(answer, expected, "pieces of {piece}");
        }
    }
}
