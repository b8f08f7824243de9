//! Readiness by polls in a ring: one shot per message, or multishot.

use std::io;
use std::os::fd::OwnedFd;

use crate::direct::{Event, Watch};
use crate::ring::{Done, Kind, Ring};

/// `POLLIN | POLLRDHUP`.
const READ: i16 = 0x1 | 0x2000;
/// `POLLOUT`.
const WRITE: i16 = 0x4;
/// `POLLERR | POLLHUP | POLLRDHUP`.
const ENDED: i32 = 0x8 | 0x10 | 0x2000;

/// The ring, and which kind of poll it is used with.
pub struct Polls {
    ring: Ring,
    multi: bool,
    done: Vec<Done>,
}

impl Polls {
    /// With multishot polls or without.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn new(multi: bool) -> io::Result<Self> {
        Ok(Self { ring: Ring::new()?, multi, done: Vec::new() })
    }
}

impl Watch for Polls {
    fn start(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool> {
        self.ring.poll(fd, READ, self.multi, id, Kind::Read)?;
        Ok(true)
    }

    /// A multishot poll goes on, unless the kernel had no room for its completion.
    fn again(&mut self, id: usize, fd: &OwnedFd, armed: bool) -> io::Result<bool> {
        if self.multi && armed { Ok(false) } else { self.start(id, fd) }
    }

    fn room(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool> {
        self.ring.poll(fd, WRITE, false, id, Kind::Write)?;
        Ok(true)
    }

    /// A multishot poll survives a hang-up.
    fn stop(&mut self, id: usize) -> io::Result<bool> {
        if self.multi {
            self.ring.cancel_poll(id, Kind::Read)?;
        }
        Ok(self.multi)
    }

    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.ring.wait(&mut self.done)?;
        events.extend(self.done.drain(..).map(|done| Event {
            id: done.id,
            readable: done.kind == Kind::Read,
            writable: done.kind == Kind::Write,
            // A poll that failed is taken for the end as well: reading tells.
            ended: done.result < 0 || done.result & ENDED != 0,
            finished: !done.more,
        }));
        Ok(())
    }
}
