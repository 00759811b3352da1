//! An allocator that wipes what is freed.
//!
//! Our own buffers for keys wipe themselves; those of a library do not. (The `h2` crate copies up to a
//! kilobyte of an answer into its output buffer.) With this allocator such a copy ends with its buffer.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, wiping each block before it goes back. For `#[global_allocator]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct WipingAllocator;

// SAFETY: every block comes from `System` and goes back to it with the layout it was asked for. Between, only
// the block itself is written, once its owner has given it up. `realloc` is the trait's own: a new block, a
// copy, and the old block given back through `dealloc`, hence wiped.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up a block of this size, so nobody else reads or writes it.
        unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        // SAFETY: the block is one of `System`'s, of this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn blocks_grow_with_their_content() {
        let small = Layout::from_size_align(64, 8).expect("layout");
        let large = Layout::from_size_align(4096, 8).expect("layout");
        // SAFETY: the size is not zero.
        let block = unsafe { WipingAllocator.alloc(small) };
        assert!(!block.is_null());
        // SAFETY: 64 octets are ours to write.
        unsafe { block.write_bytes(7, 64) };
        // SAFETY: the block has this layout; the new size is not zero.
        let block = unsafe { WipingAllocator.realloc(block, small, large.size()) };
        assert!(!block.is_null());
        // SAFETY: the first 64 octets of the new block are those that were written.
        let kept = unsafe { std::slice::from_raw_parts(block, 64) }.to_vec();
        // SAFETY: the block has this layout now, and is not used again.
        unsafe { WipingAllocator.dealloc(block, large) };
        assert_eq!(kept, vec![7; 64]);
    }
}
