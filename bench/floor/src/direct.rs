//! The relay of all modes that read with `recv(2)` and send with `send(2)`: one scratch buffer, no buffer per
//! connection unless its receiver is slower than its sender.

use std::io;
use std::os::fd::OwnedFd;

use crate::sockets::{Door, LISTENER, Table, peer, recv, send, shutdown};

/// Bytes one read takes at most.
const SCRATCH_BYTES: usize = 64 << 10;

/// What happened to a side.
#[derive(Clone, Copy)]
pub struct Event {
    /// Its number.
    pub id: usize,
    /// It may be read.
    pub readable: bool,
    /// It may be written.
    pub writable: bool,
    /// It has ended or failed: reading once more says so, a short read does not mean that it is dry.
    pub ended: bool,
    /// An operation of the kernel's that counted has come to its end.
    pub finished: bool,
}

/// A way to wait for readiness. The answers of the first three are whether an operation is now under way in the
/// kernel that keeps the connection alive until an event is [`Event::finished`].
pub trait Watch {
    /// Waits for something to read from now on.
    ///
    /// # Errors
    /// When the way is broken, as for the others.
    fn start(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool>;
    /// All was read: waits for more. `armed` is whether an operation is under way.
    ///
    /// # Errors
    /// See above.
    fn again(&mut self, id: usize, fd: &OwnedFd, armed: bool) -> io::Result<bool>;
    /// Waits for room to write.
    ///
    /// # Errors
    /// See above.
    fn room(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool>;
    /// Stops to wait for something to read: what is under way ends soon. False when it takes a shutdown to end it.
    ///
    /// # Errors
    /// See above.
    fn stop(&mut self, id: usize) -> io::Result<bool>;
    /// Waits for events.
    ///
    /// # Errors
    /// See above.
    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()>;
}

/// One of two connections.
struct Side {
    fd: OwnedFd,
    /// What its peer has sent and it has not taken yet. While there is some, the peer is not read.
    unsent: Vec<u8>,
    /// Operations under way in the kernel.
    armed: u32,
    /// It will be removed when no operation is under way any more.
    closing: bool,
}

impl Side {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, unsent: Vec::new(), armed: 0, closing: false }
    }
}

struct Relay<W> {
    door: Door,
    watch: W,
    sides: Table<Side>,
    scratch: Box<[u8]>,
}

/// Relays until it is killed.
///
/// # Errors
/// When descriptors run out, the origin has gone or the way of waiting is broken.
pub fn run(door: Door, watch: impl Watch) -> io::Result<()> {
    let scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
    let mut relay = Relay { door, watch, sides: Table::new(), scratch };
    relay.watch.start(LISTENER, &relay.door.listener)?;
    let mut events = Vec::new();
    loop {
        relay.watch.wait(&mut events)?;
        for event in events.drain(..) {
            relay.turn(event)?;
        }
    }
}

impl<W: Watch> Relay<W> {
    fn turn(&mut self, event: Event) -> io::Result<()> {
        if event.id == LISTENER {
            return self.accept(!event.finished);
        }
        let Some(side) = self.sides.side(event.id) else { return Ok(()) };
        side.armed -= u32::from(event.finished);
        if side.closing {
            if side.armed == 0 {
                self.sides.remove(event.id);
            }
            return Ok(());
        }
        if event.writable {
            self.flush(event.id)?;
        }
        if event.readable { self.read(event.id, event.ended) } else { Ok(()) }
    }

    fn accept(&mut self, armed: bool) -> io::Result<()> {
        while let Some(pair) = self.door.next()? {
            let id = self.sides.insert(pair.map(Side::new));
            for id in [id, peer(id)] {
                if let Some(side) = self.sides.side(id) {
                    side.armed += u32::from(self.watch.start(id, &side.fd)?);
                }
            }
        }
        self.watch.again(LISTENER, &self.door.listener, armed).map(drop)
    }

    /// Reads until nothing is left or the peer takes no more.
    fn read(&mut self, id: usize, ended: bool) -> io::Result<()> {
        loop {
            if self.sides.side(peer(id)).is_none_or(|to| !to.unsent.is_empty()) {
                return Ok(());
            }
            let Some(side) = self.sides.side(id) else { return Ok(()) };
            let count = match recv(&side.fd, &mut self.scratch) {
                Some(0) => return self.close(id),
                Some(count) => count,
                None => return self.again(id),
            };
            if !self.forward(peer(id), count)? {
                return Ok(());
            }
            // The socket had less than there was room for: it is dry, and asking again would cost a call.
            if count < SCRATCH_BYTES && !ended {
                return self.again(id);
            }
        }
    }

    fn again(&mut self, id: usize) -> io::Result<()> {
        let Some(side) = self.sides.side(id) else { return Ok(()) };
        side.armed += u32::from(self.watch.again(id, &side.fd, side.armed > 0)?);
        Ok(())
    }

    /// Sends the first bytes of the scratch buffer and keeps what does not fit. False when something was kept, or the
    /// connection is lost.
    fn forward(&mut self, to: usize, count: usize) -> io::Result<bool> {
        let Some(side) = self.sides.side(to) else { return Ok(false) };
        let bytes = self.scratch.get(..count).unwrap_or_default();
        let Some(sent) = send(&side.fd, bytes) else {
            self.close(to)?;
            return Ok(false);
        };
        if sent == count {
            return Ok(true);
        }
        side.unsent.extend_from_slice(bytes.get(sent..).unwrap_or_default());
        side.armed += u32::from(self.watch.room(to, &side.fd)?);
        Ok(false)
    }

    /// Sends what was kept, then reads the peer again.
    fn flush(&mut self, id: usize) -> io::Result<()> {
        let Some(side) = self.sides.side(id) else { return Ok(()) };
        if side.unsent.is_empty() {
            return Ok(());
        }
        let Some(sent) = send(&side.fd, &side.unsent) else { return self.close(id) };
        side.unsent.drain(..sent);
        if side.unsent.is_empty() {
            // What kept no byte keeps no buffer.
            side.unsent = Vec::new();
            return self.read(peer(id), true);
        }
        side.armed += u32::from(self.watch.room(id, &side.fd)?);
        Ok(())
    }

    /// Closes both sides. Nothing is unsent then but what a lost connection was to get: who has ended is read to its
    /// end, and is not read while something of it is unsent.
    fn close(&mut self, id: usize) -> io::Result<()> {
        for id in [id, peer(id)] {
            let Some(side) = self.sides.side(id) else { continue };
            if side.armed == 0 {
                self.sides.remove(id);
            } else if !side.closing {
                side.closing = true;
                // Someone with something unsent waits for room as well.
                if !self.watch.stop(id)? || !side.unsent.is_empty() {
                    shutdown(&side.fd);
                }
            }
        }
        Ok(())
    }
}
