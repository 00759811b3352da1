//! An allocator that counts, for tests that say what a path costs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks asked for since the process began, new ones and grown ones.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// Octets of all blocks that are not given back yet.
static IN_USE: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting how often it is asked. For `#[global_allocator]` of a test that is
/// alone in its process.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// How often a block was asked for so far, by any thread.
    #[must_use]
    pub fn asked() -> u64 {
        ASKED.load(Ordering::Relaxed)
    }

    /// Octets of all blocks in use, by any thread. What C libraries ask for is not among them.
    #[must_use]
    pub fn in_use() -> u64 {
        IN_USE.load(Ordering::Relaxed)
    }
}

// SAFETY: every call is handed to `System` as it came; counting touches no block.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        IN_USE.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        IN_USE.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        IN_USE.fetch_add(size as u64, Ordering::Relaxed);
        IN_USE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
