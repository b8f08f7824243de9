//! Payload moved from socket to socket inside the kernel: splice(2) through a pipe, without passing through
//! this process.
//!
//! Never through the ring: `IORING_OP_SPLICE` is always handed to a kernel worker thread, and a parked stream
//! would hold one (measured, DESIGN §4). The poll is in the ring; these calls are direct and non-blocking.
//! No SPLICE_F_MORE: at the tail of what is available now it would hold the last bytes back (promise 1).

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::limits;

/// A pipe and the payload that is in it.
#[derive(Debug)]
pub struct Pipe {
    /// Where payload is taken out.
    pub(super) read: OwnedFd,
    /// Where payload is put in.
    pub(super) write: OwnedFd,
    /// Bytes in it.
    pub(super) held: usize,
}

/// The pipes of a worker that nobody uses.
#[derive(Debug)]
pub struct PipePool {
    free: RefCell<Vec<Pipe>>,
    /// Pipes in use.
    lent: Cell<usize>,
    /// Pipes there may be.
    most: usize,
}

impl PipePool {
    /// A pool of at most `most` pipes.
    #[must_use]
    pub fn new(most: usize) -> PipePool {
        let most = most.min(limits::PIPES_LENT_MAX);
        PipePool { free: RefCell::new(Vec::new()), lent: Cell::new(0), most }
    }

    /// An empty pipe; `None` when there is none to be had (descriptors, or the bound), and copying must do.
    pub fn take(&self) -> Option<Pipe> {
        let pooled = self.free.borrow_mut().pop();
        let pipe = match pooled {
            Some(pipe) => pipe,
            None if self.lent.get() < self.most => make().ok()?,
            None => return None,
        };
        self.lent.set(self.lent.get() + 1);
        Some(pipe)
    }

    /// Takes a pipe back. One that still holds bytes is closed with them: they are no business of the next user.
    pub fn give(&self, pipe: Pipe) {
        self.lent.set(self.lent.get().saturating_sub(1));
        let mut free = self.free.borrow_mut();
        if pipe.held == 0 && free.len() < limits::PIPES_FREE_MAX.min(self.most) {
            free.push(pipe);
        }
    }
}

fn make() -> io::Result<Pipe> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Refused (EPERM) where the user's pipes together are over /proc/sys/fs/pipe-user-pages-soft; the
    // default size still works.
    let _ = fcntl_setpipe_size(&write, limits::PIPE_BYTES);
    Ok(Pipe { read, write, held: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_holds_bytes_is_never_lent_again() {
        let pool = PipePool::new(2);
        let clean = pool.take().unwrap();
        let mut dirty = pool.take().unwrap();
        rustix::io::write(&dirty.write, b"of another").unwrap();
        dirty.held = 10;
        pool.give(dirty);
        pool.give(clean);
        assert_eq!(pool.free.borrow().len(), 1);
        let next = pool.take().unwrap();
        assert_eq!(rustix::io::read(&next.read, &mut [0; 16]), Err(rustix::io::Errno::AGAIN), "not empty");
    }

    #[test]
    fn pipes_are_bounded() {
        let pool = PipePool::new(1);
        let pipe = pool.take().unwrap();
        assert!(pool.take().is_none());
        pool.give(pipe);
        assert!(pool.take().is_some());
    }
}
