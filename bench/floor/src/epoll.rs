//! Readiness by an edge-triggered epoll set: waited for as usual, or through a poll of the set in a ring.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event as Raw, EventData, EventFlags};
use rustix::io::Errno;

use crate::direct::{Event, Watch};
use crate::ring::{Done, Kind, Ring};

/// Events taken at once.
const EVENTS_MAX: usize = 512;
/// `POLLIN`.
const READ: i16 = 0x1;
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The set.
pub struct Set {
    fd: OwnedFd,
    raw: Vec<Raw>,
}

impl Set {
    /// An empty set.
    ///
    /// # Errors
    /// When the kernel has none to give.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(CreateFlags::CLOEXEC)?, raw: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Takes the events that are there; without a `timeout`, waits for one. Whether it took all it can at once.
    fn take(&mut self, events: &mut Vec<Event>, timeout: Option<&Timespec>) -> io::Result<bool> {
        self.raw.clear();
        match epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut self.raw), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        events.extend(self.raw.iter().map(told));
        Ok(self.raw.len() == EVENTS_MAX)
    }
}

fn told(raw: &Raw) -> Event {
    let flags = raw.flags;
    let ended = flags.intersects(EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP);
    Event {
        id: raw.data.u64() as usize,
        readable: ended || flags.contains(EventFlags::IN),
        writable: ended || flags.contains(EventFlags::OUT),
        ended,
        finished: false,
    }
}

impl Watch for Set {
    fn start(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool> {
        let wanted = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.fd, fd, EventData::new_u64(id as u64), wanted)?;
        Ok(false)
    }

    /// The next edge comes by itself.
    fn again(&mut self, _: usize, _: &OwnedFd, _: bool) -> io::Result<bool> {
        Ok(false)
    }

    /// From now on edges of both kinds come: who was blocked once is a large transfer.
    fn room(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool> {
        let wanted = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::modify(&self.fd, fd, EventData::new_u64(id as u64), wanted)?;
        Ok(false)
    }

    /// Closing is enough, and nothing is ever under way.
    fn stop(&mut self, _: usize) -> io::Result<bool> {
        Ok(true)
    }

    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.take(events, None).map(drop)
    }
}

/// The set, with a ring that does nothing but wait for it: what a program that has a ring for other things would do.
pub struct SetInRing {
    set: Set,
    ring: Ring,
    done: Vec<Done>,
    armed: bool,
}

impl SetInRing {
    /// An empty set.
    ///
    /// # Errors
    /// As [`Set::new`] and [`Ring::new`].
    pub fn new() -> io::Result<Self> {
        Ok(Self { set: Set::new()?, ring: Ring::new()?, done: Vec::new(), armed: false })
    }
}

impl Watch for SetInRing {
    fn start(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool> {
        self.set.start(id, fd)
    }

    fn again(&mut self, id: usize, fd: &OwnedFd, armed: bool) -> io::Result<bool> {
        self.set.again(id, fd, armed)
    }

    fn room(&mut self, id: usize, fd: &OwnedFd) -> io::Result<bool> {
        self.set.room(id, fd)
    }

    fn stop(&mut self, id: usize) -> io::Result<bool> {
        self.set.stop(id)
    }

    fn wait(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        if !self.armed {
            self.ring.poll(&self.set.fd, READ, false, 0, Kind::Read)?;
            self.armed = true;
        }
        self.ring.wait(&mut self.done)?;
        self.armed = self.done.is_empty();
        self.done.clear();
        while self.set.take(events, Some(&NOW))? {}
        Ok(())
    }
}
