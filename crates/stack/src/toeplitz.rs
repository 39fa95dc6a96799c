//! The Toeplitz hash of receive side scaling (Microsoft's RSS specification, "RSS Hashing Functions"): for every bit of the
//! input that is set, 32 bits of the key from that place on, all XORed. So it is linear: the hash of a whole is the XOR of
//! what each byte contributes at its place.

/// What `byte` contributes as byte `at` of the input. The key must be longer than `at` + 4 bytes.
#[allow(clippy::cast_possible_truncation)] // 32 bits of the key
pub(crate) fn contribution(key: &[u8], at: usize, byte: u8) -> u32 {
    let bits = key.iter().skip(at).take(5).fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    let set = (0..8).filter(|bit| byte & (0x80 >> bit) != 0);
    set.fold(0, |hash, bit| hash ^ (bits >> (8 - bit)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every contribution can be read off the key: the first bit's is its first 32 bits, and so on.
    #[test]
    fn a_bit_contributes_the_key_from_its_place_on() {
        let key: [u8; 8] = [0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2];
        assert_eq!(contribution(&key, 0, 0x80), 0x6d5a_56da);
        assert_eq!(contribution(&key, 0, 0x40), 0xdab4_adb4);
        assert_eq!(contribution(&key, 1, 0x80), 0x5a56_da25);
        assert_eq!(contribution(&key, 0, 0), 0);
        assert_eq!(contribution(&key, 0, 0xc0), 0x6d5a_56da ^ 0xdab4_adb4);
    }
}
