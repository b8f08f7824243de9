//! What is on its way to a receiver: a pool of buffers for what a slow one has not taken yet, and the outbox
//! that fills them, or a pipe.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};

use rustix::io::Errno;

use crate::limits;

use super::splice::{Pipe, PipePool};
use super::transport::Transport;

/// The free buffers and pipes of a worker.
#[derive(Debug)]
pub struct BufferPool {
    /// Pipes to splice through.
    pub pipes: PipePool,
    large: Shelf,
    /// For request heads: a long poll keeps its head until the origin answers.
    small: Shelf,
}

impl BufferPool {
    /// An empty pool with at most `pipes` pipes.
    #[must_use]
    pub fn new(pipes: usize) -> BufferPool {
        BufferPool { pipes: PipePool::new(pipes), large: Shelf::default(), small: Shelf::default() }
    }

    /// An empty buffer with room.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        self.large.take(limits::POOLED_BUFFER_BYTES)
    }

    /// An empty buffer with the room that a request head needs.
    #[must_use]
    pub fn take_small(&self) -> Vec<u8> {
        self.small.take(limits::POOLED_HEAD_BYTES)
    }

    /// Gives a buffer back. One that never held anything, or grew large, is not kept.
    pub fn give(&self, buf: Vec<u8>) {
        match buf.capacity() {
            0 => {}
            capacity if capacity < limits::POOLED_BUFFER_BYTES => self.small.give(buf),
            capacity if capacity <= limits::POOLED_BUFFER_BYTES_MAX => self.large.give(buf),
            _ => {}
        }
    }

    /// Frees half of the buffers that nobody has needed since the last time.
    pub fn trim(&self) {
        self.large.trim();
        self.small.trim();
    }
}

/// Free buffers of one size, the one that was used last on top.
#[derive(Debug, Default)]
struct Shelf {
    free: RefCell<Vec<Vec<u8>>>,
    /// The fewest there were since it was trimmed: the lowest ones were not needed.
    spare: Cell<usize>,
}

impl Shelf {
    /// An empty buffer, a new one of `capacity` bytes if there is none.
    fn take(&self, capacity: usize) -> Vec<u8> {
        let mut free = self.free.borrow_mut();
        let buf = free.pop();
        self.spare.set(self.spare.get().min(free.len()));
        buf.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    fn give(&self, mut buf: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if free.len() < limits::POOLED_BUFFERS_MAX {
            buf.clear();
            free.push(buf);
        }
    }

    fn trim(&self) {
        let mut free = self.free.borrow_mut();
        free.drain(..self.spare.get().div_ceil(2));
        self.spare.set(free.len());
    }
}

/// Bytes on their way to one receiver: `buf`, then what is in `pipe`, then the end of its chunk. Holds a buffer or a pipe
/// only while the receiver is slower than its sender.
#[derive(Debug, Default)]
pub struct Outbox {
    buf: Vec<u8>,
    sent: usize,
    pipe: Option<Pipe>,
    /// What is in the pipe is a chunk, whose end is still to come.
    in_chunk: bool,
}

/// The end of a chunk (RFC 9112 §7.1).
const CHUNK_END: &[u8] = b"\r\n";

/// Most slices of one write: what was staged, and prefix, payload, suffix, end of a body.
const SLICES_MAX: usize = 6;

impl Outbox {
    /// Bytes not yet sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.staged() + self.pipe.as_ref().map_or(0, |pipe| pipe.held) + self.behind().len()
    }

    fn behind(&self) -> &'static [u8] {
        if self.in_chunk { CHUNK_END } else { &[] }
    }

    fn staged(&self) -> usize {
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
            self.buf = pool.take_small();
        }
        &mut self.buf
    }

    /// Writes what was staged and then `slices`, in one call; keeps a copy of what was not taken. Returns the
    /// bytes the receiver took.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send(&mut self, to: &mut Transport, pool: &BufferPool, slices: &[&[u8]]) -> io::Result<usize> {
        if self.pipe.is_some() {
            debug_assert!(slices.iter().all(|bytes| bytes.is_empty()), "nothing is read behind a full pipe");
            return self.send_piped(to, pool);
        }
        // A small body rides in the room behind its head: one plain send costs less than a gathering one.
        let extra: usize = slices.iter().map(|bytes| bytes.len()).sum();
        if self.staged() > 0 && extra <= self.buf.capacity() - self.buf.len() {
            slices.iter().for_each(|bytes| self.buf.extend_from_slice(bytes));
            return self.send_staged(to, pool);
        }
        let staged = self.staged();
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
            self.release(pool);
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

    /// Puts payload that has arrived from `from` into a pipe, for the next [`Outbox::send`]. Everything before
    /// it was sent. `Ok(None)` is "not now"; an `Unsupported` error asks to copy instead.
    ///
    /// # Errors
    /// The sender's connection is broken; or `Unsupported`: there is no pipe, or no way to splice.
    pub fn fill_pipe(
        &mut self,
        from: &mut Transport,
        pool: &BufferPool,
        max: u64,
    ) -> io::Result<Option<usize>> {
        debug_assert!(self.is_empty());
        let mut pipe = pool.pipes.take().ok_or(io::ErrorKind::Unsupported)?;
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(limits::PIPE_BYTES);
        let filled = from.splice_in(&mut pipe, max);
        if pipe.held > 0 {
            self.pipe = Some(pipe);
        } else {
            pool.pipes.give(pipe);
        }
        filled.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => io::ErrorKind::Unsupported.into(),
            _ => error,
        })
    }

    /// What is in the pipe is a chunk, if it has a `head`.
    pub fn frame_pipe(&mut self, head: &[u8], pool: &BufferPool) {
        self.in_chunk = !head.is_empty();
        if self.in_chunk {
            self.stage(pool).extend_from_slice(head);
        }
    }

    fn send_piped(&mut self, to: &mut Transport, pool: &BufferPool) -> io::Result<usize> {
        let mut taken = self.send_staged(to, pool)?;
        if self.staged() > 0 {
            return Ok(taken);
        }
        let Some(pipe) = &mut self.pipe else { return Ok(taken) };
        taken += to.splice_out(pipe)?;
        if pipe.held == 0 {
            self.pipe.take().into_iter().for_each(|pipe| pool.pipes.give(pipe));
            if std::mem::take(&mut self.in_chunk) {
                self.stage(pool).extend_from_slice(CHUNK_END);
                taken += self.send_staged(to, pool)?;
            }
        }
        Ok(taken)
    }

    fn send_staged(&mut self, to: &mut Transport, pool: &BufferPool) -> io::Result<usize> {
        let staged = self.buf.get(self.sent..).filter(|staged| !staged.is_empty());
        let Some(staged) = staged else { return Ok(0) };
        let taken = to.try_write(&[IoSlice::new(staged)])?;
        self.sent += taken;
        if self.staged() == 0 {
            self.sent = 0;
            pool.give(std::mem::take(&mut self.buf));
        }
        Ok(taken)
    }

    fn keep(&mut self, mut skip: usize, slices: &[&[u8]], pool: &BufferPool) {
        let all: usize = slices.iter().map(|bytes| bytes.len()).sum();
        let room = self.buf.capacity() - self.buf.len();
        if all.saturating_sub(skip) > room && self.buf.capacity() < limits::POOLED_BUFFER_BYTES {
            // A small one that grew would be a large one from then on, and each response would add one to those.
            let mut large = pool.take();
            large.extend_from_slice(self.buf.get(self.sent..).unwrap_or_default());
            pool.give(std::mem::replace(&mut self.buf, large));
            self.sent = 0;
        }
        for bytes in slices {
            let here = skip.min(bytes.len());
            skip -= here;
            self.buf.extend_from_slice(bytes.get(here..).unwrap_or_default());
        }
    }

    /// Forgets what was not sent and gives the buffer back.
    pub fn release(&mut self, pool: &BufferPool) {
        self.sent = 0;
        self.in_chunk = false;
        pool.give(std::mem::take(&mut self.buf));
        self.pipe.take().into_iter().for_each(|pipe| pool.pipes.give(pipe));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(shelf: &Shelf) -> usize {
        shelf.free.borrow().len()
    }

    /// Goal: what is needed now and then stays, and what is not goes, all of it in the end. Method: forty buffers of which
    /// twenty are taken and given back between two times.
    #[test]
    fn buffers_that_nobody_needs_are_freed() {
        let shelf = Shelf::default();
        let take = |count| (0..count).map(|_| shelf.take(16)).collect::<Vec<_>>();
        take(40).into_iter().for_each(|buf| shelf.give(buf));
        shelf.trim();
        assert_eq!(lengths(&shelf), 40, "all of them were needed");
        for left in [30, 25, 22, 21, 20, 20] {
            take(20).into_iter().for_each(|buf| shelf.give(buf));
            shelf.trim();
            assert_eq!(lengths(&shelf), left);
        }
        (0..5).for_each(|_| shelf.trim());
        assert_eq!(lengths(&shelf), 0);
    }

    /// Goal: however many small buffers overflow, there are as many large ones as were needed at once. Method: a response
    /// whose head was sent with some of its body, again and again.
    #[test]
    fn overflow_does_not_fill_the_pool() {
        let pool = BufferPool::new(0);
        for _ in 0..50 {
            let mut outbox = Outbox::default();
            outbox.stage(&pool).extend_from_slice(b"head");
            outbox.sent = 1;
            outbox.keep(2, &[&[b'x'; 5], &[b'y'; 40_000]], &pool);
            assert_eq!(outbox.staged(), 3 + 3 + 40_000);
            assert!(outbox.buf.starts_with(b"eadxxxy"));
            outbox.release(&pool);
        }
        assert_eq!((lengths(&pool.large), lengths(&pool.small)), (1, 1));
    }
}
