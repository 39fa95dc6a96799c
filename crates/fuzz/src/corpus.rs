//! A target's corpus is one file, so that the repository doesn't hold thousands: each input with its length before it, two
//! bytes, the high one first.

use std::{fs, io, path::PathBuf};

/// The most bytes an input may have.
const MAX_INPUT: usize = u16::MAX as usize;

/// Where the corpus of a target lies.
#[must_use]
pub fn path(target: &str) -> PathBuf {
    PathBuf::from(format!("{}/corpus/{target}.bin", env!("CARGO_MANIFEST_DIR")))
}

/// The inputs of a target's corpus; a target that has none yet has no file.
#[cfg(not(fuzzing))]
pub(crate) fn load(target: &str) -> Vec<Vec<u8>> {
    match fs::read(path(target)) {
        Ok(packed) => split(&packed).unwrap_or_else(|| panic!("{} is damaged", path(target).display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{}: {error}", path(target).display()),
    }
}

/// Writes the inputs of a corpus into a folder, one file each. Returns how many.
///
/// # Errors
/// What reading and writing gives; `InvalidData` when the file is damaged.
pub fn unpack(target: &str, folder: &str) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    let packed = match fs::read(path(target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let inputs = split(&packed).ok_or(io::ErrorKind::InvalidData)?;
    for (n, input) in inputs.iter().enumerate() {
        fs::write(format!("{folder}/{n:04}"), input)?;
    }
    Ok(inputs.len())
}

/// Makes the files of a folder a target's corpus, the shortest first, up to `most` inputs and `bytes` in all. Returns how many.
///
/// # Errors
/// What reading and writing gives.
pub fn pack(target: &str, folder: &str, most: usize, bytes: usize) -> io::Result<usize> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder)? {
        inputs.push(fs::read(entry?.path())?);
    }
    inputs.retain(|input| input.len() <= MAX_INPUT);
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    // Evenly from short to long, where there are too many.
    let step = inputs.len().div_ceil(most.max(1)).max(1);
    let mut packed = Vec::new();
    let mut kept = 0;
    for input in inputs.iter().step_by(step) {
        let Ok(len) = u16::try_from(input.len()) else { continue };
        if packed.len() + 2 + input.len() > bytes {
            break;
        }
        packed.extend_from_slice(&len.to_be_bytes());
        packed.extend_from_slice(input);
        kept += 1;
    }
    fs::write(path(target), packed)?;
    Ok(kept)
}

fn split(mut packed: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut inputs = Vec::new();
    while !packed.is_empty() {
        let (len, rest) = packed.split_first_chunk()?;
        let (input, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        inputs.push(input.to_vec());
        packed = rest;
    }
    Some(inputs)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_packed_corpus_comes_apart() {
        assert_eq!(split(&[0, 1, 7, 0, 0, 0, 2, 8, 9]), Some(vec![vec![7], vec![], vec![8, 9]]));
        assert_eq!(split(&[0, 2, 7]), None);
        assert_eq!(split(&[0]), None);
    }
}
