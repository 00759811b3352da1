//! Memory for keys handed to C: pages of their own, left out of core dumps and of the swap where the
//! system allows, wiped before they are given back.

use std::ptr::{self, NonNull};

use zeroize::Zeroize;

/// In front of the octets stands the size of the mapping, so that the caller's idea of the length
/// does not matter when it comes back.
const HEADER: usize = 64;

/// Copies `octets` into fresh pages. `None` when the system has no memory.
pub(crate) fn give(octets: &[u8]) -> Option<NonNull<u8>> {
    let size = HEADER.checked_add(octets.len())?;
    // SAFETY: a new private mapping anywhere touches nothing that exists.
    let map = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if map == libc::MAP_FAILED {
        return None;
    }
    // Both are a help, not a promise: the limit of locked memory may be zero.
    // SAFETY: the range is the mapping made above.
    unsafe { libc::madvise(map, size, libc::MADV_DONTDUMP) };
    // SAFETY: the same.
    unsafe { libc::mlock(map, size) };
    let base = NonNull::new(map.cast::<u8>())?;
    // SAFETY: the mapping is page-aligned, writable and longer than a usize.
    unsafe { base.cast::<usize>().write(size) };
    // SAFETY: HEADER is below the mapping's size.
    let key = unsafe { base.add(HEADER) };
    // SAFETY: `octets.len()` octets follow the header; a fresh mapping overlaps nothing.
    unsafe { ptr::copy_nonoverlapping(octets.as_ptr(), key.as_ptr(), octets.len()) };
    Some(key)
}

/// Wipes and frees what [`give`] made.
///
/// # Safety
/// `key` came from [`give`] and is not used any more, here or elsewhere.
pub(crate) unsafe fn take_back(key: NonNull<u8>) {
    // SAFETY: the caller's promise: the header is in front of the octets.
    let base = unsafe { key.sub(HEADER) };
    // SAFETY: `give` wrote the size there, aligned.
    let size = unsafe { base.cast::<usize>().read() };
    let octets = size.saturating_sub(HEADER);
    // SAFETY: the mapping holds as many octets behind the header, and nobody else uses them.
    let content = unsafe { std::slice::from_raw_parts_mut(key.as_ptr(), octets) };
    content.zeroize();
    // SAFETY: the mapping's own base and size.
    unsafe { libc::munmap(base.as_ptr().cast(), size) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_sizes() {
        for len in [0usize, 1, 2048, 5000, 1 << 20] {
            let octets = vec![0xa5; len];
            let key = give(&octets).unwrap();
            // SAFETY: `give` made room for as many.
            let seen = unsafe { std::slice::from_raw_parts(key.as_ptr(), len) };
            assert_eq!(seen, octets);
            // SAFETY: from `give`, not used again.
            unsafe { take_back(key) };
        }
    }
}
