//! Buffers that the kernel reads into and sends from: their addresses never change, and they are freed at the end.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::ring::Ring;

/// Bytes of one buffer: a small message and its head with room to spare.
pub const BUFFER_BYTES: usize = 8 << 10;
/// Buffers that are provided to the kernel in the mode `multishot`. It uses them in turn, so few stay in the cache.
const PROVIDED: u16 = 512;
/// What the kernel wants a ring of buffers aligned to.
const PAGE_BYTES: usize = 4096;

/// Part of a buffer with something to send.
#[derive(Clone, Copy)]
pub struct Chunk {
    /// The buffer.
    pub buffer: u16,
    /// How much of it.
    pub bytes: usize,
}

/// All buffers.
pub struct Pool {
    buffers: Vec<Box<[u8; BUFFER_BYTES]>>,
    free: Vec<u16>,
}

impl Pool {
    /// None yet: they are made when they are needed.
    #[must_use]
    pub fn new() -> Self {
        Self { buffers: Vec::new(), free: Vec::new() }
    }

    /// A buffer nobody uses: the one that was used last.
    ///
    /// # Errors
    /// When there are as many as have numbers.
    pub fn take(&mut self) -> io::Result<u16> {
        if let Some(buffer) = self.free.pop() {
            return Ok(buffer);
        }
        let buffer = u16::try_from(self.buffers.len()).map_err(|_| io::Error::other("out of buffers"))?;
        self.buffers.push(Box::new([0; BUFFER_BYTES]));
        Ok(buffer)
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: u16) {
        self.free.push(buffer);
    }

    /// The bytes of a buffer; empty for a number that no buffer has.
    pub fn bytes(&mut self, buffer: u16) -> &mut [u8] {
        self.buffers.get_mut(usize::from(buffer)).map_or(&mut [], |bytes| bytes.as_mut_slice())
    }
}

/// The buffers that the kernel picks from, and how they get back to it.
pub struct Provided {
    entries: *mut BufRingEntry,
    tail: u16,
}

impl Provided {
    /// Fills the pool and hands all of it to the kernel.
    ///
    /// # Errors
    /// When the kernel does not know of provided buffers.
    pub fn new(ring: &Ring, pool: &mut Pool) -> io::Result<Self> {
        let bytes = usize::from(PROVIDED) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).map_err(io::Error::other)?;
        // SAFETY: the layout has a size.
        let entries = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        if entries.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: neither the entries nor the pool's buffers are ever freed.
        unsafe { ring.provide(entries, PROVIDED) }?;
        let mut provided = Self { entries, tail: 0 };
        for _ in 0..PROVIDED {
            let buffer = pool.take()?;
            provided.give(pool, buffer);
        }
        Ok(provided)
    }

    /// Gives a buffer back to the kernel.
    pub fn give(&mut self, pool: &mut Pool, buffer: u16) {
        // SAFETY: the mask keeps the index inside the allocation. Entries from head to tail are the kernel's, and this
        // one is not among them, because there are as many entries as buffers.
        let entry = unsafe { &mut *self.entries.add(usize::from(self.tail & (PROVIDED - 1))) };
        entry.set_addr(pool.bytes(buffer).as_mut_ptr() as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the address of the first entry, whose spare field the kernel reads as the tail.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
