//! The relay of all modes that send through the ring. A message is in a buffer of its own until it is sent.
//!
//! Each direction has a queue of chunks, of which the first is being sent: order is kept, and a receiver that is
//! slower than its sender stops the sender after [`QUEUE_MAX`] chunks. Not so in the mode `multishot`, where the
//! kernel reads as long as there are buffers and a slow receiver may hold all of them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use crate::pool::{BUFFER_BYTES, Chunk, Pool, Provided};
use crate::ring::{Done, Kind, Ring};
use crate::sockets::{Door, LISTENER, Table, peer, recv, shutdown};

/// Chunks that may wait in one direction: one is sent while the next is read.
const QUEUE_MAX: usize = 2;
/// `POLLIN | POLLRDHUP`.
const READ: i16 = 0x1 | 0x2000;
/// `ENOBUFS`, negated as in a completion: every provided buffer is in use.
const NO_BUFFERS: i32 = -105;
/// `EAGAIN`, negated.
const NOTHING_YET: i32 = -11;

/// Where messages come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A poll in the ring, then `recv(2)`.
    Poll,
    /// A read in the ring.
    Recv,
    /// A read in the ring that goes on by itself, into provided buffers.
    Multishot,
}

/// One of two connections.
struct Side {
    fd: OwnedFd,
    /// What it is to be sent; the first one is under way.
    out: VecDeque<Chunk>,
    /// Whether a read or its poll is under way, and the buffer it was given.
    reading: bool,
    filling: Option<u16>,
    /// Nothing more comes from it.
    ended: bool,
    /// It will be removed when no operation is under way any more.
    closing: bool,
}

impl Side {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, out: VecDeque::new(), reading: false, filling: None, ended: false, closing: false }
    }
}

struct Relay {
    door: Door,
    source: Source,
    ring: Ring,
    pool: Pool,
    provided: Option<Provided>,
    sides: Table<Side>,
    /// Sides whose reading stopped for want of a provided buffer.
    starved: Vec<usize>,
}

/// Relays until it is killed.
///
/// # Errors
/// When descriptors or buffers run out, the origin has gone or the ring is broken.
pub fn run(door: Door, source: Source) -> io::Result<()> {
    let (ring, mut pool) = (Ring::new()?, Pool::new());
    let provided = match source {
        Source::Multishot => Some(Provided::new(&ring, &mut pool)?),
        Source::Poll | Source::Recv => None,
    };
    let mut relay = Relay { door, source, ring, pool, provided, sides: Table::new(), starved: Vec::new() };
    relay.await_clients()?;
    let mut completions = Vec::new();
    loop {
        relay.ring.wait(&mut completions)?;
        for done in completions.drain(..) {
            match (done.id, done.kind) {
                (LISTENER, _) => relay.accept(done)?,
                (_, Kind::Read) => relay.was_read(done)?,
                (_, Kind::Write) => relay.was_sent(done)?,
            }
        }
    }
}

impl Relay {
    fn await_clients(&mut self) -> io::Result<()> {
        self.ring.poll(&self.door.listener, READ, self.source == Source::Multishot, LISTENER, Kind::Read)
    }

    fn accept(&mut self, done: Done) -> io::Result<()> {
        while let Some(pair) = self.door.next()? {
            let id = self.sides.insert(pair.map(Side::new));
            self.read(id)?;
            self.read(peer(id))?;
        }
        if done.more { Ok(()) } else { self.await_clients() }
    }

    /// Starts to read a side, unless it is being read, has ended, or its peer has enough to take.
    fn read(&mut self, id: usize) -> io::Result<()> {
        let waiting = self.sides.side(peer(id)).map_or(0, |to| to.out.len());
        let Some(side) = self.sides.side(id) else { return Ok(()) };
        if side.reading || side.ended || side.closing || waiting >= QUEUE_MAX {
            return Ok(());
        }
        side.reading = true;
        match self.source {
            Source::Poll => self.ring.poll(&side.fd, READ, false, id, Kind::Read),
            Source::Multishot => self.ring.recv_multishot(&side.fd, id),
            Source::Recv => {
                let buffer = self.pool.take()?;
                side.filling = Some(buffer);
                // SAFETY: the buffer is this side's alone until `was_read`, and the pool frees none.
                unsafe { self.ring.recv(&side.fd, self.pool.bytes(buffer), id) }
            }
        }
    }

    /// A read has completed, or its poll.
    fn was_read(&mut self, done: Done) -> io::Result<()> {
        let Some(side) = self.sides.side(done.id) else { return Ok(()) };
        side.reading = done.more;
        let (buffer, closing) = (side.filling.take().or(done.buffer), side.closing);
        if closing {
            buffer.map(|buffer| self.give(buffer)).transpose()?;
            return self.sweep(done.id);
        }
        let (count, buffer) = match self.source {
            Source::Poll => self.take(done.id)?,
            Source::Recv | Source::Multishot => (done.result, buffer),
        };
        match (count, buffer) {
            (NO_BUFFERS, _) => self.starved.push(done.id),
            (NOTHING_YET, None) => self.read(done.id)?,
            (1.., Some(buffer)) => {
                self.queue(peer(done.id), Chunk { buffer, bytes: count.unsigned_abs() as usize })?;
                self.read(done.id)?;
            }
            (_, buffer) => {
                buffer.map(|buffer| self.give(buffer)).transpose()?;
                self.end(done.id)?;
            }
        }
        Ok(())
    }

    /// Reads what a poll has told of.
    fn take(&mut self, id: usize) -> io::Result<(i32, Option<u16>)> {
        let buffer = self.pool.take()?;
        let read = self.sides.side(id).map_or(Some(0), |side| recv(&side.fd, self.pool.bytes(buffer)));
        let Some(count) = read else {
            self.pool.give(buffer);
            return Ok((NOTHING_YET, None));
        };
        debug_assert!(count <= BUFFER_BYTES);
        Ok((count as i32, Some(buffer)))
    }

    fn queue(&mut self, to: usize, chunk: Chunk) -> io::Result<()> {
        let Some(side) = self.sides.side(to) else { return self.give(chunk.buffer) };
        side.out.push_back(chunk);
        if side.out.len() == 1 { self.send(to) } else { Ok(()) }
    }

    /// Sends the first chunk of a side.
    fn send(&mut self, id: usize) -> io::Result<()> {
        let Some(side) = self.sides.side(id) else { return Ok(()) };
        let Some(chunk) = side.out.front() else { return Ok(()) };
        let bytes = self.pool.bytes(chunk.buffer).get(..chunk.bytes).unwrap_or_default();
        // SAFETY: the buffer belongs to the chunk until `was_sent`, and the pool frees none.
        unsafe { self.ring.send(&side.fd, bytes, id) }
    }

    fn was_sent(&mut self, done: Done) -> io::Result<()> {
        let Some(side) = self.sides.side(done.id) else { return Ok(()) };
        let Some(chunk) = side.out.pop_front() else { return Ok(()) };
        let (closing, dry) = (side.closing, side.out.is_empty());
        self.give(chunk.buffer)?;
        if closing {
            return self.sweep(done.id);
        }
        if usize::try_from(done.result).ok() != Some(chunk.bytes) {
            return self.close(done.id);
        }
        if dry && self.sides.side(peer(done.id)).is_some_and(|from| from.ended) {
            return self.close(done.id);
        }
        self.send(done.id)?;
        self.read(peer(done.id))
    }

    /// Returns a buffer to whoever has use for it.
    fn give(&mut self, buffer: u16) -> io::Result<()> {
        let Some(provided) = &mut self.provided else {
            self.pool.give(buffer);
            return Ok(());
        };
        provided.give(&mut self.pool, buffer);
        self.starved.pop().map_or(Ok(()), |id| self.read(id))
    }

    /// Nothing more comes from a side: closes the pair when its peer has got all.
    fn end(&mut self, id: usize) -> io::Result<()> {
        if let Some(side) = self.sides.side(id) {
            side.ended = true;
        }
        if self.sides.side(peer(id)).is_none_or(|to| to.out.is_empty()) { self.close(id) } else { Ok(()) }
    }

    /// Closes both sides, each when no operation is under way on it any more.
    fn close(&mut self, id: usize) -> io::Result<()> {
        for id in [id, peer(id)] {
            let Some(side) = self.sides.side(id) else { continue };
            if !side.closing {
                side.closing = true;
                // All but the first, which is under way, go back.
                let queued: Vec<Chunk> = side.out.drain(1.min(side.out.len())..).collect();
                if side.reading || !side.out.is_empty() {
                    shutdown(&side.fd);
                }
                queued.into_iter().try_for_each(|chunk| self.give(chunk.buffer))?;
            }
            self.sweep(id)?;
        }
        Ok(())
    }

    fn sweep(&mut self, id: usize) -> io::Result<()> {
        if self.sides.side(id).is_some_and(|side| side.closing && !side.reading && side.out.is_empty()) {
            self.sides.remove(id);
        }
        Ok(())
    }
}
