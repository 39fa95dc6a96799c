//! A histogram as text: base64 of HdrHistogram's V2 encoding, as in a line of an interval log. What is read may be anything, so
//! it is checked before the decoder sees it: what it claims must not take memory, and its counts must add up.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// <https://github.com/HdrHistogram/HdrHistogram>, `AbstractHistogram`.
const V2: u32 = 0x1c84_9313;
const V2_COMPRESSED: u32 = 0x1c84_9314;
/// Cookie and length of the compressed bytes.
const ENVELOPE: usize = 8;
/// Cookie, length, offset, figures, lowest and highest value, ratio.
const HEAD: usize = 40;
/// Far more than one of five figures and of all 64 bits has that counts anything: most of it is zeros, in a few bytes.
const MOST_BYTES: u64 = 16 << 20;
/// Sums of counts stay exact in floating point, and can be added up many times.
const MOST_COUNTS: u64 = 1 << 53;
/// Values stay far from the end of 64 bits, where the bounds of a bucket overflow: 146 years, of nanoseconds.
const HIGHEST: u64 = 1 << 62;

/// Why a text is no histogram.
pub(super) type Reason = &'static str;

/// Reads it, of whatever bounds and figures.
pub(super) fn decode(text: &str) -> Result<Histogram<u64>, Reason> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "is cut off, or is not base64")?;
    let bytes = inflated(&bytes)?;
    check(&bytes)?;
    let decoded = Deserializer::new().deserialize::<u64, _>(&mut &bytes[..]);
    let histogram = decoded.map_err(|_| "has values outside of its own bounds")?;
    if histogram.max() > HIGHEST {
        return Err("has values beyond 2^62");
    }
    Ok(histogram)
}

/// As decoders of other tools read it, too.
pub(super) fn encode(histogram: &Histogram<u64>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    written.map_err(|error| anyhow::anyhow!("a histogram can't be written: {error}"))?;
    Ok(STANDARD.encode(bytes))
}

/// Without the compression.
fn inflated(bytes: &[u8]) -> Result<Vec<u8>, Reason> {
    match number(bytes, 0).ok_or("is cut off")? {
        V2 => Ok(bytes.to_vec()),
        V2_COMPRESSED => {
            let mut out = Vec::new();
            let packed = &bytes[ENVELOPE.min(bytes.len())..];
            ZlibDecoder::new(packed)
                .take(MOST_BYTES + 1)
                .read_to_end(&mut out)
                .map_err(|_| "is cut off, or damaged")?;
            if out.len() as u64 > MOST_BYTES { Err("is larger than a histogram can be") } else { Ok(out) }
        }
        _ => Err("is of an encoding that is not HdrHistogram's V2"),
    }
}

/// What the decoder takes on trust.
fn check(bytes: &[u8]) -> Result<(), Reason> {
    let head = |at| number(bytes, at).ok_or("is cut off");
    if head(0)? != V2 {
        return Err("is of an encoding that is not HdrHistogram's V2");
    }
    let payload = bytes.get(HEAD..).and_then(|payload| payload.get(..head(4).ok()? as usize));
    let (mut rest, mut sum) = (payload.ok_or("is cut off")?, 0u64);
    while let Some((word, behind)) = varint(rest) {
        rest = behind;
        // Zig-zag: odd numbers are below zero, and count empty places.
        if word & 1 == 0 {
            sum = sum.saturating_add(word >> 1);
        } else if word >> 1 >= u64::from(u32::MAX) {
            return Err("has values outside of its own bounds");
        }
    }
    if !rest.is_empty() {
        return Err("is cut off");
    }
    if sum > MOST_COUNTS { Err("has counts beyond 2^53") } else { Ok(()) }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// Seven bits a byte, the lowest first; the ninth has eight. None at the end, or within a number that is cut off.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        let bits = if index == 8 { *byte } else { byte & 0x7f };
        value |= u64::from(bits) << (7 * index);
        if index == 8 || byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        histogram
    }

    /// Without compression: a head that says what it likes, and numbers.
    fn raw(low: u64, high: u64, figures: u32, payload: &[u8]) -> String {
        let mut bytes = V2.to_be_bytes().to_vec();
        for word in [u32::try_from(payload.len()).unwrap(), 0, figures] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([low, high, 1f64.to_bits()].into_iter().flat_map(u64::to_be_bytes));
        bytes.extend(payload);
        STANDARD.encode(bytes)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let histogram = of(&[1, 5, 5, 1_000_000, 3_600_000_000_000]);
        assert_eq!(decode(&encode(&histogram).unwrap()).unwrap(), histogram);
        assert!(decode(&encode(&of(&[])).unwrap()).unwrap().is_empty());
    }

    /// 2 counts (zig-zag: 4) at the third place, behind two empty ones (zig-zag of -2: 3).
    #[test]
    fn it_may_be_without_compression() {
        let histogram = decode(&raw(1, 1000, 3, &[3, 4])).unwrap();
        assert_eq!((histogram.len(), histogram.min(), histogram.max()), (2, 2, 2));
    }

    #[test]
    fn any_part_of_one_is_a_reason_and_no_panic() {
        let text = encode(&of(&(1..3000).map(|n| n * n).collect::<Vec<_>>())).unwrap();
        for end in 0..text.len() {
            assert!(decode(&text[..end]).is_err(), "{end} of {}", text.len());
        }
    }

    /// Every byte of it changed in turn, and bytes by chance: an error or a histogram whose figures can be asked for.
    #[test]
    fn damage_is_a_reason_and_no_panic() {
        let whole = STANDARD.decode(encode(&of(&[1, 77, 100_000])).unwrap()).unwrap();
        let plain = inflated(&whole).unwrap();
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()
        };
        for bytes in [&whole, &plain] {
            for at in 0..bytes.len() {
                for _ in 0..8 {
                    let mut damaged = bytes.clone();
                    let (len, junk) = (damaged.len(), next());
                    damaged[at..len.min(at + 1 + usize::from(junk[1] % 8))].fill(junk[0]);
                    if let Ok(histogram) = decode(&STANDARD.encode(damaged)) {
                        let mut sum = of(&[3]);
                        sum.auto(true);
                        assert!(sum.add(&histogram).is_ok() && sum.value_at_quantile(0.5) <= sum.max());
                    }
                }
            }
        }
    }

    #[test]
    fn claims_take_no_memory() {
        let nines = [0xff; 9];
        for text in [
            raw(1, u64::MAX, 5, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            raw(1, u64::MAX, 5, &nines),
            raw(1, 1000, 3, &nines),
            raw(0, 0, 9, &[4]),
            raw(u64::MAX, u64::MAX, 3, &[4]),
            "HISTiQAAAB5".to_owned(),
            String::new(),
            "HISTFAAAACF42pNpmSzMwMDAxQABzFCaEUzOmNZg/wEi8JaRCQA=".repeat(3),
        ] {
            assert!(decode(&text).is_err(), "{text}");
        }
        let mut bomb = V2_COMPRESSED.to_be_bytes().to_vec();
        bomb.extend([0; 4]);
        let zeros = vec![0; 40 << 20];
        flate2::read::ZlibEncoder::new(&zeros[..], flate2::Compression::fast()).read_to_end(&mut bomb).unwrap();
        assert_eq!(decode(&STANDARD.encode(bomb)), Err("is larger than a histogram can be"));
    }
}
