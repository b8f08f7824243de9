//! Bytes that were read and not yet understood: the start of a head, or what was pipelined behind a message.

use std::io;

use super::buffers::BufferPool;
use super::transport::Transport;

/// Received bytes; holds a buffer only while there are any.
#[derive(Debug, Default)]
pub struct Inbox {
    buf: Vec<u8>,
    start: usize,
}

/// What [`Inbox::fill`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// This many new bytes.
    Bytes(usize),
    /// Nothing yet.
    NotNow,
    /// The peer closed its side.
    End,
    /// There is no room; what is there must be used first.
    Full,
}

impl Inbox {
    /// The bytes, oldest first.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.start..).unwrap_or_default()
    }

    /// The bytes, oldest first.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buf.get(self.start..).unwrap_or_default()
    }

    /// Nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start >= self.buf.len()
    }

    /// The first `n` bytes were used.
    pub fn consume(&mut self, n: usize, pool: &BufferPool) {
        self.start = self.start.saturating_add(n).min(self.buf.len());
        if self.is_empty() {
            self.start = 0;
            pool.give(std::mem::take(&mut self.buf));
        }
    }

    /// Keeps a copy of `bytes` behind those that are here.
    pub fn append(&mut self, bytes: &[u8], pool: &BufferPool) {
        if bytes.is_empty() {
            return;
        }
        if self.buf.capacity() == 0 {
            self.buf = pool.take();
        }
        if self.start > 0 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        self.buf.extend_from_slice(bytes);
    }

    /// Reads once from `transport` through `scratch`, keeping at most `limit` bytes in all.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn fill(
        &mut self,
        transport: &mut Transport,
        scratch: &mut [u8],
        limit: usize,
        pool: &BufferPool,
    ) -> io::Result<Filled> {
        let room = limit.saturating_sub(self.bytes().len()).min(scratch.len());
        let Some(window) = scratch.get_mut(..room).filter(|window| !window.is_empty()) else {
            return Ok(Filled::Full);
        };
        Ok(match transport.try_read(window)? {
            None => Filled::NotNow,
            Some(0) => Filled::End,
            Some(n) => {
                self.append(window.get(..n).unwrap_or_default(), pool);
                Filled::Bytes(n)
            }
        })
    }
}
