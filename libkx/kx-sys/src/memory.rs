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

/// Takes the code that only starting up needed out of this process' resident memory.
///
/// Loading TLS and certificates runs through megabytes of library code that is not run again. The
/// pages stay in the system's page cache; what is needed later comes back by itself, at the cost of
/// one soft page fault each.
///
/// # Errors
/// `/proc/self/maps` cannot be read, or the system refuses.
#[allow(unsafe_code)]
pub fn drop_startup_code() -> std::io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for (start, length) in maps.lines().filter_map(code_of_a_file) {
        // SAFETY: the range is mapped from a file, readable and executable but not writable, so its pages hold
        // nothing that is not in the file: the kernel reads them again when they are touched. No other thread
        // unmaps code (nothing is dlclosed), and a refusal changes nothing.
        let result =
            unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        if result != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Start and length of a line of /proc/self/maps (proc(5)) that maps a file's code.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp";
    let inode = words.nth(2)?;
    if !is_code || inode == "0" {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
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

    #[test]
    fn only_code_that_comes_from_files_is_dropped() {
        let library = "7f00a000-7f00b800 r-xp 00026000 fe:00 2097 /usr/lib/libc.so.6";
        assert_eq!(super::code_of_a_file(library), Some((0x7f00_a000, 0x1800)));
        for other in [
            "7f00a000-7f00b800 rw-p 00026000 fe:00 2097 /usr/lib/libc.so.6",
            "7f00a000-7f00b800 r--p 00026000 fe:00 2097 /usr/lib/libc.so.6",
            "7ffd0000-7ffd2000 r-xp 00000000 00:00 0 [vdso]",
            "nonsense",
        ] {
            assert_eq!(super::code_of_a_file(other), None, "{other}");
        }
    }

    #[test]
    fn the_process_goes_on_without_its_startup_code() {
        super::drop_startup_code().expect("dropped");
        assert!(!std::env::args().next().unwrap_or_default().is_empty());
    }
}
