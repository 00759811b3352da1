//! The allocator's knobs, as far as a long-running server wants them: how many arenas there are
//! and when freed memory goes back. GNU C library only; elsewhere every call is a no-op.

/// Gives freed memory back to the system, as far as whole pages are free.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    {
        // SAFETY: takes a number, touches only the allocator's own state, and is thread-safe.
        unsafe { libc::malloc_trim(0) };
    }
}

/// At most `count` arenas. To be called before threads start: an arena once made stays.
pub fn limit_arenas(count: u16) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    option(libc::M_ARENA_MAX, i32::from(count));
    let _ = count;
}

/// Memory at the top of the heap above this many octets is given back at once when freed.
/// Setting it switches the library's own adaption off.
pub fn set_trim_threshold(octets: u32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    option(
        libc::M_TRIM_THRESHOLD,
        i32::try_from(octets).unwrap_or(i32::MAX),
    );
    let _ = octets;
}

/// Allocations from this many octets on are mapped on their own and unmapped when freed.
/// Setting it switches the library's own adaption off.
pub fn set_mmap_threshold(octets: u32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    option(
        libc::M_MMAP_THRESHOLD,
        i32::try_from(octets).unwrap_or(i32::MAX),
    );
    let _ = octets;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn option(name: i32, value: i32) {
    // SAFETY: takes two numbers; an unknown option or a value out of range is refused with 0.
    unsafe { libc::mallopt(name, value) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_works_on_after_every_knob() {
        super::limit_arenas(2);
        super::set_trim_threshold(128 * 1024);
        super::set_mmap_threshold(128 * 1024);
        let block = vec![7u8; 4 << 20];
        assert_eq!(block.iter().filter(|&&octet| octet == 7).count(), 4 << 20);
        drop(block);
        super::trim();
    }
}
