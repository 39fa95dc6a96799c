//! The caller's memory. Its pointers come from scripts, some of which pass bad ones on purpose, so none is ever
//! dereferenced here: the kernel copies, and answers EFAULT for what can't be read or written, as a system call does.

use crate::errno::{self, Errno, Result};
use libc::{c_void, iovec};

/// The most that is copied at once.
const LIMIT: usize = 64 << 20;
/// The most that Linux reads or writes in one call (`MAX_RW_COUNT`).
const MOST: usize = 0x7fff_f000;

/// Copies `len` bytes at `from`, [`LIMIT`] at most.
pub(crate) fn read(from: *const c_void, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len.min(LIMIT)];
    let local = iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = iovec { iov_base: from.cast_mut(), iov_len: bytes.len() };
    // SAFETY: `local` is the vector just made, all of it initialized; `remote` is checked by the kernel, and only read.
    let copied = unsafe { libc::process_vm_readv(own_process(), &raw const local, 1, &raw const remote, 1, 0) };
    whole(copied, bytes.len()).map(|()| bytes)
}

/// Copies `bytes` to `to`.
pub(crate) fn write(to: *mut c_void, bytes: &[u8]) -> Result<()> {
    let local = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = iovec { iov_base: to, iov_len: bytes.len() };
    // SAFETY: `local` is only read; `remote` is checked by the kernel, and is the caller's to have written by this call.
    let copied = unsafe { libc::process_vm_writev(own_process(), &raw const local, 1, &raw const remote, 1, 0) };
    whole(copied, bytes.len())
}

fn own_process() -> libc::pid_t {
    libc::pid_t::try_from(std::process::id()).unwrap_or_default()
}

fn whole(copied: isize, wanted: usize) -> Result<()> {
    match usize::try_from(copied) {
        Ok(copied) if copied == wanted => Ok(()),
        Ok(_) => Err(Errno(libc::EFAULT)),
        Err(_) => Err(errno::last()),
    }
}

/// The `N` bytes at `from`.
pub(crate) fn array<const N: usize>(from: *const c_void) -> Result<[u8; N]> {
    let bytes = read(from, N)?;
    bytes.try_into().map_err(|_| Errno(libc::EFAULT))
}

/// The native `int` at `from`.
pub(crate) fn int(from: *const c_void) -> Result<i32> {
    array(from).map(i32::from_ne_bytes)
}

/// The native `size_t` at `from`.
pub(crate) fn word(from: *const c_void) -> Result<usize> {
    array(from).map(usize::from_ne_bytes)
}

/// Pieces of the caller's memory: an address and a length each.
pub(crate) type Pieces = Vec<(*mut c_void, usize)>;

/// The pieces of an `iovec` array. As Linux has it a length that would be negative is refused, and what is beyond [`MOST`] is
/// left out: their sum overflows nothing.
pub(crate) fn pieces(vector: *const iovec, count: usize) -> Result<Pieces> {
    const WORD: usize = size_of::<usize>();
    // UIO_MAXIOV of Linux.
    if count > 1024 {
        return Err(Errno(libc::EINVAL));
    }
    let bytes = read(vector.cast(), count * 2 * WORD)?;
    let word = |at: usize| {
        let mut raw = [0; WORD];
        raw.copy_from_slice(&bytes[at..at + WORD]);
        usize::from_ne_bytes(raw)
    };
    let mut left = MOST;
    let piece = |i: usize| {
        let (base, len) = (word(i * 2 * WORD) as *mut c_void, word(i * 2 * WORD + WORD));
        if isize::try_from(len).is_err() {
            return Err(Errno(libc::EINVAL));
        }
        let len = len.min(left);
        left -= len;
        Ok((base, len))
    };
    (0..count).map(piece).collect()
}

/// The bytes of the pieces, one behind the other, but for the first `skip`; [`LIMIT`] at most.
pub(crate) fn gather(pieces: &Pieces, mut skip: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for (base, len) in pieces {
        let before = skip.min(*len);
        skip -= before;
        all.extend(read(base.wrapping_byte_add(before), (len - before).min(LIMIT - all.len()))?);
    }
    Ok(all)
}

/// Fills the pieces with `bytes`, one behind the other.
pub(crate) fn scatter(pieces: &Pieces, mut bytes: &[u8]) -> Result<()> {
    for (base, len) in pieces {
        let n = bytes.len().min(*len);
        if n > 0 {
            write(*base, &bytes[..n])?;
        }
        bytes = &bytes[n..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_pointers_are_answered_not_followed() {
        assert_eq!(read(std::ptr::null(), 1), Err(Errno(libc::EFAULT)));
        assert_eq!(read(8 as *const c_void, 1000), Err(Errno(libc::EFAULT)));
        assert_eq!(write(std::ptr::null_mut(), &[1]), Err(Errno(libc::EFAULT)));
        let constant: &'static str = "text in a page that is not writable";
        assert_eq!(write(constant.as_ptr().cast_mut().cast(), &[1]), Err(Errno(libc::EFAULT)));
    }

    /// What lies beyond the limit of one copy is had by the next: a caller that asks again comes to the end.
    #[test]
    fn what_is_too_much_for_one_copy_is_had_by_the_next() {
        let mut bytes = vec![1u8; LIMIT + 3];
        bytes[LIMIT..].copy_from_slice(&[2, 3, 4]);
        let at = |i: usize| bytes[i..].as_ptr().cast_mut().cast::<c_void>();
        let pieces = vec![(at(0), 2), (at(2), LIMIT - 1), (at(LIMIT + 1), 2)];
        assert_eq!(gather(&pieces, 0).map(|all| all.len()), Ok(LIMIT));
        assert_eq!(gather(&pieces, LIMIT), Ok(vec![2, 3, 4]));
        assert_eq!(gather(&pieces, LIMIT + 2), Ok(vec![4]));
        assert_eq!(gather(&pieces, LIMIT + 3), Ok(Vec::new()));
    }

    #[test]
    fn good_ones_are() {
        let mut target = [0u8; 4];
        write((&raw mut target).cast(), &[1, 2, 3, 4]).expect("writable");
        assert_eq!(target, [1, 2, 3, 4]);
        assert_eq!(read((&raw const target).cast(), 4), Ok(vec![1, 2, 3, 4]));
        assert_eq!(read(std::ptr::null(), 0), Ok(Vec::new()));
    }
}
