//! What sockperf's client expects of its server over TCP: every message back, no longer marked as a client's.
//!
//! A message begins with 14 bytes in network order: sequence number (8), flags (2), length of the whole message (4). Bit 0 of
//! the flags says that a client sent it; a client drops what has it set, so a plain echo server won't do.

const HEADER_BYTES: u32 = 14;
/// The low byte of the flags.
const FLAGS_AT: u32 = 9;
const FROM_CLIENT: u8 = 1;
const LENGTH_AT: u32 = 10;

/// Follows one connection's messages, however they are cut into pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    /// Bytes of the current message that have passed.
    passed: u32,
    /// Its length, as far as its bytes have come.
    length: u32,
}

impl Messages {
    /// Takes the client's mark off the messages in the next bytes of the stream.
    pub(super) fn answer(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            match self.passed {
                FLAGS_AT => *byte &= !FROM_CLIENT,
                LENGTH_AT..HEADER_BYTES => self.length = self.length << 8 | u32::from(*byte),
                _ => {}
            }
            self.passed += 1;
            if self.passed >= HEADER_BYTES && self.passed >= self.length {
                *self = Self::default();
            }
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
    fn the_clients_mark_is_taken_off_every_message_however_it_is_cut() {
        let stream = [message(3, 14), message(3, 20), message(7, 255), message(3, 14)].concat();
        let answer = [message(2, 14), message(2, 20), message(6, 255), message(2, 14)].concat();
        for piece in [1, 3, 14, 100, stream.len()] {
            let (mut bytes, mut messages) = (stream.clone(), Messages::default());
            bytes.chunks_mut(piece).for_each(|piece| messages.answer(piece));
            assert_eq!(bytes, answer, "pieces of {piece}");
        }
    }
}
