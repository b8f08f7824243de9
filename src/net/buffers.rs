//! Buffers: one scratch per worker for every read, and a pool for what a slow receiver has not taken yet.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use crate::limits;

use super::transport::Transport;

/// The free buffers of a worker.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// An empty buffer with room.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.free.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(limits::POOLED_BUFFER_BYTES))
    }

    /// Gives a buffer back. One that never held anything, or grew large, is not kept.
    pub fn give(&self, mut buf: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        let fits = (1..=limits::POOLED_BUFFER_BYTES_MAX).contains(&buf.capacity());
        if fits && free.len() < limits::POOLED_BUFFERS_MAX {
            buf.clear();
            free.push(buf);
        }
    }
}

/// Bytes on their way to one receiver. Holds a buffer only while the receiver is slower than its sender.
#[derive(Debug, Default)]
pub struct Outbox {
    buf: Vec<u8>,
    sent: usize,
}

/// Most slices of one write: what was staged, and prefix, payload, suffix, end of a body.
const SLICES_MAX: usize = 6;

impl Outbox {
    /// Bytes not yet sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.buf.len() - self.sent
    }

    /// Everything was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unsent() == 0
    }

    /// The buffer to append to; what is appended goes out with the next [`Outbox::send`].
    pub fn stage(&mut self, pool: &BufferPool) -> &mut Vec<u8> {
        if self.buf.capacity() == 0 {
            self.buf = pool.take();
        }
        &mut self.buf
    }

    /// Writes what was staged and then `slices`, in one call; keeps a copy of what was not taken. Returns the
    /// bytes the receiver took.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send(&mut self, to: &mut Transport, pool: &BufferPool, slices: &[&[u8]]) -> io::Result<usize> {
        let staged = self.unsent();
        let mut iov = [IoSlice::new(&[]); SLICES_MAX];
        let mut used = 0;
        let mut all = 0;
        let pending = self.buf.get(self.sent..).unwrap_or_default();
        for bytes in std::iter::once(pending).chain(slices.iter().copied()).filter(|bytes| !bytes.is_empty())
        {
            if let Some(slot) = iov.get_mut(used) {
                *slot = IoSlice::new(bytes);
                used += 1;
                all += bytes.len();
            }
        }
        debug_assert!(slices.len() < SLICES_MAX);
        if all == 0 {
            return Ok(0);
        }
        let taken = to.try_write(iov.get(..used).unwrap_or_default())?;
        self.sent += taken.min(staged);
        if taken == all {
            self.release(pool);
        } else {
            self.keep(taken.saturating_sub(staged), slices, pool);
        }
        Ok(taken)
    }

    fn keep(&mut self, mut skip: usize, slices: &[&[u8]], pool: &BufferPool) {
        let buf = self.stage(pool);
        for bytes in slices {
            let here = skip.min(bytes.len());
            skip -= here;
            buf.extend_from_slice(bytes.get(here..).unwrap_or_default());
        }
    }

    /// Forgets what was not sent and gives the buffer back.
    pub fn release(&mut self, pool: &BufferPool) {
        self.sent = 0;
        pool.give(std::mem::take(&mut self.buf));
    }
}
