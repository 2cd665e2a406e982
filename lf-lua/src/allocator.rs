//! mimalloc, because Lua allocates all the time, and small.
//!
//! The `mimalloc` package asks for an alignment with every block, which costs as much as the block; nearly all of them need none
//! that mimalloc does not give anyway.
#![allow(unsafe_code, reason = "an allocator is an unsafe trait")]

use libmimalloc_sys as ffi;
use std::alloc::{GlobalAlloc, Layout};

/// Whether mimalloc aligns a block of that size so anyway: to 8 bytes, and to 16 from this size on.
const fn aligns_anyway(size: usize, align: usize) -> bool {
    align <= 8 || (align <= 16 && size >= 16)
}

/// The allocator of this program.
pub(crate) struct Mimalloc;

// SAFETY: mimalloc gives blocks of at least the size and alignment that are asked for, and knows the size of each by its address.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: a layout has a power of two as its alignment, and a size that is not 0.
        unsafe {
            if aligns_anyway(layout.size(), layout.align()) {
                ffi::mi_malloc(layout.size()).cast()
            } else {
                ffi::mi_malloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if aligns_anyway(layout.size(), layout.align()) {
                ffi::mi_zalloc(layout.size()).cast()
            } else {
                ffi::mi_zalloc_aligned(layout.size(), layout.align()).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the block is one of ours.
        unsafe { ffi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the block is one of ours, with this alignment.
        unsafe {
            if aligns_anyway(size, layout.align()) {
                ffi::mi_realloc(block.cast(), size).cast()
            } else {
                ffi::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_as_they_are_asked_for() {
        for align in (0..=12).map(|power| 1_usize << power) {
            for size in (1..200).chain([1 << 10, 5000, 1 << 16, 3 << 20]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout is valid, and blocks are used within their size and freed once.
                unsafe {
                    let mut block = Mimalloc.alloc_zeroed(layout);
                    assert_eq!(block.addr() % align, 0, "{layout:?}");
                    assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == 0), "{layout:?}");
                    block.write_bytes(0xa5, size);
                    for (old, new) in [(size, 3 * size), (3 * size, size.div_ceil(2))] {
                        block = Mimalloc.realloc(block, Layout::from_size_align(old, align).unwrap(), new);
                        assert_eq!(block.addr() % align, 0, "{layout:?}, {old} to {new}");
                        let kept = std::slice::from_raw_parts(block, size.div_ceil(2));
                        assert!(kept.iter().all(|byte| *byte == 0xa5), "{layout:?}, {old} to {new}");
                    }
                    Mimalloc.dealloc(block, Layout::from_size_align(size.div_ceil(2), align).unwrap());
                    let block = Mimalloc.alloc(layout);
                    assert_eq!(block.addr() % align, 0, "{layout:?}");
                    Mimalloc.dealloc(block, layout);
                }
            }
        }
    }
}
