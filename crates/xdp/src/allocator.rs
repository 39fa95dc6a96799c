//! The program's memory, of which large areas are in huge pages.
//!
//! Ten million connections are gigabytes, and a segment of one of them touches lines in four or five pages: with pages of 4 KiB
//! each is also a miss in the TLB, and often one in the page tables behind it. Areas that grow must keep their huge pages: the C
//! library moves them to any page, which tears huge ones into small ones. Here they begin at a huge page, before and after.

use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap_fixed, munmap};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

/// Of x86-64, and of arm64 with pages of 4 KiB. Elsewhere it is an alignment that does no harm.
const HUGE: usize = 2 << 20;
/// From here on an area is mapped by itself, and is not copied any more to grow. Below, the C library has it.
const LARGE: usize = 1 << 20;
/// From here on it is in huge pages: the last of them, most of which may be for nothing, is a sixty-fourth at most.
const VAST: usize = 64 * HUGE;

/// An allocator for a program that holds very many connections: areas of 1 MiB and more grow without being copied, and what they
/// have from 128 MiB on is in pages of 2 MiB where the kernel allows it (`/sys/kernel/mm/transparent_hugepage/enabled` is
/// `madvise` or `always`); all others are the system's.
///
/// The price is a longer pause now and then: a huge page is cleared when it is first touched, in 0.1 ms or, where the machine is a
/// virtual one whose host has to find the memory too, in 5 ms (measured; so do its 512 small pages, but one by one). For 9,000
/// connections at rest, or 3,300 at work, there is one. The `fourwave` command does without.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: xdp::Allocator = xdp::Allocator; // fourwave::Allocator
/// # fn main() {}
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct Allocator;

/// Has the C library map areas of 1 MiB and more by themselves from now on, so that they are the kernel's again once they are
/// freed. Else glibc does so with the first one only, and keeps what is freed behind that for whatever comes, in each of its arenas
/// (eight for each core): the ring of a capture is 8 MiB for each shard. For a program to call as it begins, not for a library: it
/// is for all of the process. [`Allocator`] does it anyway; other C libraries do it by themselves.
pub fn map_large_areas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a number within the range that mallopt(3) gives. Memory that there is already stays what it is.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, libc::c_int::try_from(LARGE).unwrap_or(libc::c_int::MAX)) };
}

/// Whether an area is mapped by itself: by what both ends of its life know.
fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= HUGE
}

/// What an area takes up: whole pages, of whatever size the kernel has them.
const fn whole(size: usize) -> usize {
    size.next_multiple_of(64 << 10)
}

/// Addresses for `size` bytes that begin at a huge page; nothing can be read or written there yet.
fn reserve(size: usize) -> Option<NonNull<u8>> {
    let room = size.checked_add(HUGE)?;
    // SAFETY: a new mapping, at a place of the kernel's choice: no memory that anybody knows of changes.
    let start =
        unsafe { mmap_anonymous(null_mut(), room, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE) };
    let start = start.ok()?.cast::<u8>();
    let before = start.align_offset(HUGE);
    let kept = start.wrapping_add(before);
    // SAFETY: the part of the mapping above before what is kept; nobody else knows of it.
    unsafe { release(start, before) };
    // SAFETY: the part behind what is kept.
    unsafe { release(kept.wrapping_add(size), HUGE - before) };
    NonNull::new(kept)
}

/// # Safety
/// `size` bytes from `start` on are whole pages of mappings made here, and nobody uses them any more.
unsafe fn release(start: *mut u8, size: usize) {
    if size > 0 {
        // SAFETY: the caller's word. It can't fail but for want of memory for the kernel's own records: then it stays.
        let _ = unsafe { munmap(start.cast::<c_void>(), size) };
    }
}

/// A new area of `size` bytes, zero all of it.
fn map(size: usize) -> *mut u8 {
    let size = whole(size);
    let Some(area) = reserve(size) else { return null_mut() };
    let start = area.as_ptr().cast::<c_void>();
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
    // SAFETY: it takes the place of what has just been reserved, which nobody else knows of.
    let mapped = unsafe { mmap_anonymous(start, size, access, flags) };
    if mapped.is_err() {
        // SAFETY: as above.
        unsafe { release(area.as_ptr(), size) };
        return null_mut();
    }
    advise(area.as_ptr(), size);
    area.as_ptr()
}

/// Huge pages for what is touched of an area from now on, if it is vast.
fn advise(area: *mut u8, size: usize) {
    if size >= VAST {
        // SAFETY: it changes the size of pages, not what is in them. Where there are no huge ones it fails, and small ones do.
        let _ = unsafe { madvise(area.cast::<c_void>(), size, Advice::LinuxHugepage) };
    }
}

/// Gives an area another size, and another place if it grows.
///
/// # Safety
/// `area` is one of `map` or `resize`, of `old` bytes, and nobody uses it but through what is returned, unless that is null.
unsafe fn resize(area: *mut u8, old: usize, new: usize) -> *mut u8 {
    let (old, new) = (whole(old), whole(new));
    if new <= old {
        // SAFETY: the end of the area, by the caller's word.
        unsafe { release(area.wrapping_add(new), old - new) };
        return area;
    }
    let Some(place) = reserve(new) else { return null_mut() };
    // SAFETY: what is at the new place was reserved for this; what is at the old one is the caller's.
    let moved =
        unsafe { mremap_fixed(area.cast::<c_void>(), old, new, MremapFlags::MAYMOVE, place.as_ptr().cast::<c_void>()) };
    if moved.is_err() {
        // SAFETY: the reservation, unused.
        unsafe { release(place.as_ptr(), new) };
        return null_mut();
    }
    advise(place.as_ptr(), new);
    place.as_ptr()
}

// SAFETY: areas of the system's go back to the system, mapped ones are unmapped: `is_large` says which by the layout, which the
// caller must give again as it was. A mapped area is aligned to 2 MiB, at least as large as was asked for, zero where it is new,
// and moves with what is in it. Nothing here unwinds.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        if is_large(layout) { map(layout.size()) } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        if is_large(layout) { map(layout.size()) } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, area: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: the caller's: it was made with this layout, so by `map` or `resize`, and is not used any more.
            unsafe { release(area, whole(layout.size())) };
        } else {
            // SAFETY: the caller's: it is one of the system's.
            unsafe { System.dealloc(area, layout) };
        }
    }

    unsafe fn realloc(&self, area: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's: `size` is one that a layout may have.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            // SAFETY: the caller's.
            (false, false) => unsafe { System.realloc(area, layout, size) },
            // SAFETY: the caller's.
            (true, true) => unsafe { resize(area, layout.size(), size) },
            _ => {
                // SAFETY: the caller's: neither size is zero.
                let new = unsafe { self.alloc(wanted) };
                if !new.is_null() {
                    // SAFETY: both areas are at least as long as what is copied, and the new one is nobody's yet.
                    unsafe { new.copy_from_nonoverlapping(area, size.min(layout.size())) };
                    // SAFETY: the caller's: it is not used any more, now that there is another.
                    unsafe { self.dealloc(area, layout) };
                }
                new
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Allocator, HUGE, LARGE, VAST};

    /// Of all tests of this crate.
    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    /// Grows and shrinks across all borders: the bytes stay, and what is large begins at a huge page.
    #[test]
    fn an_area_keeps_its_bytes_whatever_its_size_becomes() {
        let sizes =
            [100, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 5, 9 * LARGE, LARGE + 4097, LARGE, 5000, 2 * LARGE, 1];
        let byte = |at: usize| u8::try_from(at * 7 % 251).unwrap();
        let mut area: Vec<u8> = Vec::new();
        for size in sizes {
            let kept = area.len().min(size);
            area.truncate(kept);
            area.shrink_to(size);
            area.reserve_exact(size - kept);
            assert_eq!(area.capacity(), size);
            assert!(area.iter().enumerate().all(|(at, found)| *found == byte(at)), "{size}");
            assert!(size < LARGE || area.as_ptr().align_offset(HUGE) == 0, "{size}");
            area.extend((kept..size).map(byte));
        }
    }

    #[test]
    fn what_is_asked_for_as_zero_is_zero_though_it_was_used_before() {
        for _ in 0..3 {
            let mut area = vec![0_u8; 2 * LARGE];
            assert!(area.iter().all(|byte| *byte == 0));
            area.fill(1);
        }
    }

    /// Bytes of an area in pages of 2 MiB, by the kernel's account.
    fn huge_bytes(area: &[u8]) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", area.as_ptr().addr());
        let lines = maps.lines().skip_while(|line| !line.starts_with(&start));
        let kib = lines.filter_map(|line| line.strip_prefix("AnonHugePages:")).next().expect("the area's line");
        kib.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// What an area has of huge pages it still has when it has grown. One that is not vast has none: of many such ones half of
    /// the last page would be for nothing.
    #[test]
    fn a_vast_area_has_huge_pages_and_keeps_them_when_it_grows() {
        let allowed = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap();
        let mut area = Vec::with_capacity(8 * HUGE);
        area.resize(8 * HUGE, 1_u8);
        assert!(huge_bytes(&area) == 0 || allowed.contains("[always]"), "{allowed}");
        area.reserve_exact(VAST);
        area.resize(16 * HUGE, 1);
        let before = huge_bytes(&area);
        assert!(before > 0 || allowed.contains("[never]"), "{allowed}");
        area.reserve_exact(2 * VAST);
        assert!(huge_bytes(&area) >= before, "{before} bytes before");
        assert!(area.iter().all(|byte| *byte == 1));
    }
}
