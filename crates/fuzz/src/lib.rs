//! What the fuzz targets share. A target is an ordinary `#[test]` beside the others that hands a function of bytes to
//! [`check`]; docs/FUZZING.md tells how they are run.
#![forbid(unsafe_code)]

mod corpus;
mod input;

pub use corpus::{pack, path, unpack};
pub use input::Input;

/// Runs the target `name`, which panics when it finds something.
///
/// In `cargo test` it is given its corpus and some thousand inputs made from that, always the same; under `make fuzz` what
/// libFuzzer comes up with. With `FUZZ_REPLAY=file` it is given that file alone.
///
/// # Panics
/// When `target` does, or when the corpus can't be read.
pub fn check(name: &'static str, target: fn(&[u8])) {
    if let Some(file) = std::env::var_os("FUZZ_REPLAY") {
        return target(&std::fs::read(&file).expect("FUZZ_REPLAY names a file"));
    }
    engine::run(name, target);
}

#[cfg(fuzzing)]
mod engine {
    pub(crate) fn run(name: &'static str, target: fn(&[u8])) {
        bolero::check!(name = name).for_each(move |bytes: &[u8]| target(bytes));
    }
}

#[cfg(not(fuzzing))]
mod engine {
    use crate::corpus;

    /// Inputs beside the corpus.
    const MADE_UP: u32 = 4000;

    pub(crate) fn run(name: &str, target: fn(&[u8])) {
        let corpus = corpus::load(name);
        let mut rng = Rng(0x9E37_79B9_7F4A_7C15);
        for (n, input) in corpus.iter().enumerate() {
            one(&format!("{name}: number {n} of its corpus"), input, target);
        }
        for n in 0..MADE_UP {
            one(&format!("{name}: made-up input {n}"), &rng.input(&corpus), target);
        }
    }

    fn one(what: &str, input: &[u8], target: fn(&[u8])) {
        let shown = Shown { what, input };
        target(input);
        drop(shown);
    }

    /// Says which input it was when the target panics.
    struct Shown<'a> {
        what: &'a str,
        input: &'a [u8],
    }

    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
                eprintln!(
                    "{}, again with: xxd -r -p > input <<< {hex}; FUZZ_REPLAY=$PWD/input cargo test …",
                    self.what
                );
            }
        }
    }

    /// `SplitMix64`: the same inputs every time.
    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        fn below(&mut self, n: usize) -> usize {
            usize::try_from(self.next() % n.max(1) as u64).unwrap_or(0)
        }

        fn byte(&mut self) -> u8 {
            self.next().to_le_bytes()[0]
        }

        /// Nothing but noise, or an input of the corpus with some of it changed.
        fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
            if corpus.is_empty() || self.below(4) == 0 {
                return (0..self.below(120)).map(|_| self.byte()).collect();
            }
            let mut bytes = corpus[self.below(corpus.len())].clone();
            for _ in 0..=self.below(6) {
                let at = self.below(bytes.len());
                match self.below(5) {
                    0 if !bytes.is_empty() => bytes[at] = self.byte(),
                    1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                    2 => bytes.insert(at, self.byte()),
                    3 => bytes.truncate(at),
                    _ => {
                        let other = &corpus[self.below(corpus.len())];
                        bytes.truncate(at);
                        bytes.extend_from_slice(&other[self.below(other.len()).min(other.len())..]);
                    }
                }
            }
            bytes
        }
    }
}
