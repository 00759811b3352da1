//! Memory that a process and its children see alike.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// Words in memory that stays shared over a fork. All are 0 at first, and cost nothing until they
/// are touched.
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory belongs to this value until it is dropped, and is only seen as atomics.
#[allow(unsafe_code)]
unsafe impl Send for SharedWords {}
// SAFETY: as above; atomics may be used by several threads.
#[allow(unsafe_code)]
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Room for `count` words.
    ///
    /// # Errors
    /// The system's; 0 words.
    #[allow(unsafe_code)]
    pub fn new(count: usize) -> io::Result<SharedWords> {
        let octets = count
            .checked_mul(size_of::<AtomicU64>())
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at a place of the system's choice touches nothing that is there.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                octets,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedWords { start, count })
    }

    /// The words.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, as long as said, all zeros at first, which is a
        // valid value, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        let octets = self.count * size_of::<AtomicU64>();
        // SAFETY: exactly what was mapped, and nobody has a reference any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), octets) };
    }
}

impl std::fmt::Debug for SharedWords {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SharedWords({})", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn words_begin_with_zero_and_keep_what_is_stored() {
        let shared = SharedWords::new(10_000).expect("mapped");
        assert_eq!(shared.words().len(), 10_000);
        assert_eq!(shared.words()[9_999].load(Ordering::Relaxed), 0);
        shared.words()[9_999].store(7, Ordering::Relaxed);
        assert_eq!(shared.words()[9_999].load(Ordering::Relaxed), 7);
        assert!(SharedWords::new(0).is_err());
        assert!(SharedWords::new(usize::MAX).is_err());
    }
}
