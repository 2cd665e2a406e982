//! Buffers that the kernel picks from: the provided-buffer ring of io_uring.

use anyhow::{Context, Result};
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::atomic::{AtomicU16, Ordering::Release};

pub(super) const GROUP: u16 = 0;
/// A power of two, as the ring wants it.
const COUNT: u16 = 1024;
pub(super) const EACH_BYTES: u32 = 8192;
/// The ring's address must be that of a page.
const PAGE_BYTES: usize = 4096;

/// The ring of free buffers, and the buffers.
///
/// A buffer belongs to the kernel from `recycle` until a completion names it, and to us until it is
/// recycled again. `memory` never moves or shrinks.
pub(super) struct Buffers {
    ring: *mut BufRingEntry,
    tail: u16,
    memory: Box<[u8]>,
}

impl Buffers {
    /// Registers the ring; `uring` must be dropped before the buffers are.
    pub(super) fn register(uring: &IoUring) -> Result<Self> {
        let layout = Self::layout();
        // SAFETY: the layout is not of size zero.
        let ring = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        if ring.is_null() {
            handle_alloc_error(layout);
        }
        let memory = vec![0; usize::from(COUNT) * EACH_BYTES as usize].into_boxed_slice();
        let mut buffers = Buffers { ring, tail: 0, memory };
        // SAFETY: the ring is COUNT entries of zeroed, page-aligned memory, and outlives `uring` by
        // the contract of this function.
        unsafe { uring.submitter().register_buf_ring_with_flags(ring as u64, COUNT, GROUP, 0) }
            .context("the kernel refuses a ring of provided buffers (Linux 5.19 has it)")?;
        (0..COUNT).for_each(|id| buffers.recycle(id));
        Ok(buffers)
    }

    fn layout() -> Layout {
        Layout::from_size_align(usize::from(COUNT) * size_of::<BufRingEntry>(), PAGE_BYTES)
            .expect("a power of two and a small size")
    }

    fn start_of(id: u16) -> usize {
        usize::from(id) * EACH_BYTES as usize
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn recycle(&mut self, id: u16) {
        let slot = usize::from(self.tail & (COUNT - 1));
        let address = self.memory[Self::start_of(id)..].as_ptr();
        // SAFETY: `slot` is below COUNT; the kernel does not read entries at or past the tail, and the
        // tail is published after the entry is written.
        unsafe {
            let entry = &mut *self.ring.add(slot);
            entry.set_addr(address as u64);
            entry.set_len(EACH_BYTES);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the ring's first entry, is aligned, and is only accessed atomically.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring).cast_mut()) }.store(self.tail, Release);
    }

    /// What a completion has put into a buffer.
    pub(super) fn bytes(&self, id: u16, from: u32, to: u32) -> &[u8] {
        let start = Self::start_of(id);
        &self.memory[start + from as usize..start + to as usize]
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the io_uring that used it is gone.
        unsafe { dealloc(self.ring.cast(), Self::layout()) };
    }
}
