//! An io_uring with the flags that a thread of its own allows, and the operations that the modes use.
//!
//! Every operation gets a token of a number and a [`Kind`], which comes back with its completion.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, opcode, types};

use crate::sockets::NOBODY;

/// Operations that wait for the next submission; when there are more, they are submitted at once.
const SUBMISSIONS_MAX: u32 = 4096;
/// Completions the kernel keeps before it takes the slow path.
const COMPLETIONS_MAX: u32 = 16_384;
/// The only group of provided buffers.
const GROUP: u16 = 0;
/// `IORING_RECVSEND_POLL_FIRST`: wait without trying first.
const POLL_FIRST: u16 = 1;
/// `MSG_WAITALL | MSG_NOSIGNAL`: a send completes when all is sent, or the connection is lost.
const SEND_ALL: i32 = 0x100 | 0x4000;

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Waits for something to read, or reads.
    Read,
    /// Waits for room, or sends.
    Write,
}

/// A completion.
#[derive(Clone, Copy)]
pub struct Done {
    /// The number of the token.
    pub id: usize,
    /// The kind of the token.
    pub kind: Kind,
    /// Bytes, or events, or a negative error number.
    pub result: i32,
    /// Whether the operation goes on: more completions come.
    pub more: bool,
    /// The provided buffer that was used.
    pub buffer: Option<u16>,
}

/// The ring.
pub struct Ring {
    ring: IoUring,
}

impl Ring {
    /// A new ring, for the calling thread alone.
    ///
    /// # Errors
    /// When the kernel has no io_uring, forbids it, or is older than 6.1.
    pub fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(COMPLETIONS_MAX);
        Ok(Self { ring: builder.build(SUBMISSIONS_MAX)? })
    }

    /// Waits for events (`poll(2)`): once, or until it is cancelled.
    ///
    /// # Errors
    /// When the ring is broken.
    pub fn poll(&mut self, fd: &OwnedFd, events: i16, multi: bool, id: usize, kind: Kind) -> io::Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), events as u32).multi(multi).build();
        // SAFETY: a poll refers to no memory.
        unsafe { self.push(entry, id, kind) }
    }

    /// Ends a poll: it completes as cancelled. This itself completes with the number [`NOBODY`].
    ///
    /// # Errors
    /// When the ring is broken.
    pub fn cancel_poll(&mut self, id: usize, kind: Kind) -> io::Result<()> {
        let entry = opcode::PollRemove::new(token(id, kind)).build();
        // SAFETY: it refers to no memory.
        unsafe { self.push(entry, NOBODY, kind) }
    }

    /// Reads into a buffer. What the buffer is for comes mostly after a round trip, so the kernel waits first.
    ///
    /// # Safety
    /// The buffer stays where it is, and is used by nobody else, until this completes.
    ///
    /// # Errors
    /// When the ring is broken.
    pub unsafe fn recv(&mut self, fd: &OwnedFd, buffer: *mut [u8], id: usize) -> io::Result<()> {
        let entry = opcode::Recv::new(types::Fd(fd.as_raw_fd()), buffer.cast(), buffer.len() as u32);
        // SAFETY: the caller keeps the buffer.
        unsafe { self.push(entry.ioprio(POLL_FIRST).build(), id, Kind::Read) }
    }

    /// Reads into provided buffers, again and again.
    ///
    /// # Errors
    /// When the ring is broken.
    pub fn recv_multishot(&mut self, fd: &OwnedFd, id: usize) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(types::Fd(fd.as_raw_fd()), GROUP).build();
        // SAFETY: the buffers were provided with `provide`, whose caller keeps them.
        unsafe { self.push(entry, id, Kind::Read) }
    }

    /// Sends all of a slice.
    ///
    /// # Safety
    /// As for [`Ring::recv`].
    ///
    /// # Errors
    /// When the ring is broken.
    pub unsafe fn send(&mut self, fd: &OwnedFd, bytes: *const [u8], id: usize) -> io::Result<()> {
        let entry = opcode::Send::new(types::Fd(fd.as_raw_fd()), bytes.cast(), bytes.len() as u32);
        // SAFETY: the caller keeps the bytes.
        unsafe { self.push(entry.flags(SEND_ALL).build(), id, Kind::Write) }
    }

    /// Registers a ring of provided buffers.
    ///
    /// # Safety
    /// `entries` and the buffers that are put there stay where they are until the ring has gone.
    ///
    /// # Errors
    /// When the kernel is older than 5.19.
    pub unsafe fn provide(&self, entries: *const types::BufRingEntry, count: u16) -> io::Result<()> {
        // SAFETY: the caller keeps the memory.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(entries as u64, count, GROUP, 0) }
    }

    /// Submits, waits for at least one completion and takes all there are.
    ///
    /// # Errors
    /// When the ring is broken.
    pub fn wait(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        if let Err(error) = self.ring.submit_and_wait(1)
            // EBUSY: completions overflowed; taking some makes room.
            && !matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy)
        {
            return Err(error);
        }
        done.extend(self.ring.completion().map(|entry| told(&entry)));
        Ok(())
    }

    unsafe fn push(&mut self, entry: Entry, id: usize, kind: Kind) -> io::Result<()> {
        let entry = entry.user_data(token(id, kind));
        // SAFETY: the caller keeps what the entry refers to.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }
}

fn token(id: usize, kind: Kind) -> u64 {
    (id as u64) << 1 | u64::from(kind == Kind::Write)
}

fn told(entry: &cqueue::Entry) -> Done {
    let token = entry.user_data();
    Done {
        id: (token >> 1) as usize,
        kind: if token & 1 == 1 { Kind::Write } else { Kind::Read },
        result: entry.result(),
        more: cqueue::more(entry.flags()),
        buffer: cqueue::buffer_select(entry.flags()),
    }
}
