//! Non-blocking connections and the epoll set they are in: what the origin and the load generator share.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::time::{ClockId, Timespec};

use crate::limits::{LINKS_MAX, QUEUE_MAX, RECORD_BYTES_MAX, TURN_MAX};
use crate::session::Session;
use crate::tls::{self, Connector, Handshakes};

/// `CLOCK_MONOTONIC` in nanoseconds: the same for every process of the machine, so it can travel in an event.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// One connection.
struct Link {
    fd: OwnedFd,
    tls: Option<tls::Session>,
    out: VecDeque<Rc<[u8]>>,
    sent: usize,
    interest: EventFlags,
    generation: u32,
    paused: bool,
    connecting: bool,
    closing: bool,
}

/// What epoll said about one descriptor.
#[derive(Clone, Copy)]
pub struct Ready {
    /// The connection, or the token of a descriptor added with [`Links::watch`].
    pub id: usize,
    /// It can be read, or has ended.
    pub readable: bool,
    /// It can be written, or has ended.
    pub writable: bool,
    generation: u32,
}

/// All connections of a process.
pub struct Links {
    epoll: OwnedFd,
    links: Vec<Option<Link>>,
    events: Vec<Event>,
    generation: u32,
    /// Connections whose establishment is not known yet.
    pub opening: usize,
    tls: Option<Connector>,
    /// What was read before it is decrypted.
    ciphertext: Vec<u8>,
    /// Of TLS, since they were last set to zero.
    pub handshakes: Handshakes,
}

impl Links {
    /// None yet.
    ///
    /// # Errors
    /// When the kernel has no epoll instance to give.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            links: Vec::new(),
            events: Vec::with_capacity(TURN_MAX),
            generation: 0,
            opening: 0,
            tls: None,
            ciphertext: Vec::new(),
            handshakes: Handshakes::default(),
        })
    }

    /// Encrypts every connection opened from now on.
    pub fn encrypt(&mut self, connector: Connector) {
        self.tls = Some(connector);
    }

    /// Watches a descriptor that is no connection, under a token above all connections.
    ///
    /// # Errors
    /// When epoll refuses it.
    pub fn watch(&self, fd: BorrowedFd<'_>, token: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64((LINKS_MAX + token) as u64), EventFlags::IN)?)
    }

    /// Waits until `until_ns` at the latest and fills `ready`.
    ///
    /// # Errors
    /// When epoll fails.
    pub fn wait(&mut self, until_ns: u64, ready: &mut Vec<Ready>) -> io::Result<()> {
        let left = until_ns.saturating_sub(now_ns());
        let timeout =
            Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        ready.clear();
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data.u64());
            let ended = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                id: (data & 0xffff_ffff) as usize,
                generation: (data >> 32) as u32,
                readable: ended || flags.contains(EventFlags::IN),
                writable: ended || flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }

    /// Whether `ready` is about the connection that has its number now.
    #[must_use]
    pub fn is_current(&self, ready: Ready) -> bool {
        self.link(ready.id).is_some_and(|link| link.generation == ready.generation)
    }

    /// Starts to connect under the number `id`. The receive buffer keeps its default without `buffer_bytes`.
    ///
    /// # Errors
    /// What the kernel says; a refusal may also come later, through [`Links::flush`].
    pub fn open(&mut self, id: usize, to: SocketAddrV4, buffer_bytes: Option<usize>) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        if let Some(bytes) = buffer_bytes {
            sockopt::set_socket_recv_buffer_size(&fd, bytes)?;
        }
        match net::connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let tls = self.tls.as_ref().map(Connector::session).transpose()?;
        self.insert(id, fd, tls, true)
    }

    /// Takes over an accepted connection and numbers it.
    ///
    /// # Errors
    /// When there are too many, or epoll refuses it.
    pub fn adopt(&mut self, fd: OwnedFd) -> io::Result<usize> {
        let id = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        self.insert(id, fd, None, false).map(|()| id)
    }

    fn insert(
        &mut self,
        id: usize,
        fd: OwnedFd,
        tls: Option<tls::Session>,
        connecting: bool,
    ) -> io::Result<()> {
        if id >= LINKS_MAX {
            return Err(io::Error::other("too many connections"));
        }
        sockopt::set_tcp_nodelay(&fd, true)?;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let interest = if connecting { EventFlags::OUT } else { EventFlags::IN };
        epoll::add(&self.epoll, &fd, data(id, generation), interest)?;
        if self.links.len() <= id {
            self.links.resize_with(id + 1, || None);
        }
        self.opening += usize::from(connecting);
        let (out, sent, paused, closing) = (VecDeque::new(), 0, false, false);
        let link = Link { fd, tls, out, sent, interest, generation, paused, connecting, closing };
        if let Some(slot) = self.links.get_mut(id) {
            *slot = Some(link);
        }
        Ok(())
    }

    /// Closes a connection; nothing happens when it is closed already.
    pub fn close(&mut self, id: usize) {
        if let Some(link) = self.links.get_mut(id).and_then(Option::take) {
            self.opening -= usize::from(link.connecting);
        }
    }

    /// Whether the connection is there.
    #[must_use]
    pub fn is_open(&self, id: usize) -> bool {
        self.link(id).is_some()
    }

    fn link(&self, id: usize) -> Option<&Link> {
        self.links.get(id).and_then(Option::as_ref)
    }

    fn link_mut(&mut self, id: usize) -> Option<&mut Link> {
        self.links.get_mut(id).and_then(Option::as_mut)
    }

    /// Stops reading: from now on bytes are taken by [`Links::read`] alone.
    pub fn pause(&mut self, id: usize) {
        if let Some(link) = self.link_mut(id) {
            link.paused = true;
        }
        self.update(id);
    }

    /// Closes once everything is sent.
    pub fn close_when_sent(&mut self, id: usize) {
        let Some(link) = self.link_mut(id) else { return };
        link.closing = true;
        if link.out.is_empty() {
            self.close(id);
        }
    }

    /// Sends, now or when the connection takes it. False when the connection is lost.
    #[must_use]
    pub fn send(&mut self, id: usize, bytes: Rc<[u8]>) -> bool {
        let Some(link) = self.link_mut(id) else { return false };
        if link.out.len() >= QUEUE_MAX || !link.queue(bytes) {
            return false;
        }
        link.connecting || link.out.len() != 1 || self.flush(id)
    }

    /// Sends what an HTTP/2 session has to say. False when the connection is lost.
    #[must_use]
    pub fn say(&mut self, id: usize, session: &mut Session) -> bool {
        session.output().is_none_or(|bytes| self.send(id, bytes))
    }

    /// Sends what waits. False when the connection is lost.
    #[must_use]
    pub fn flush(&mut self, id: usize) -> bool {
        let Some(link) = self.link_mut(id) else { return false };
        if link.connecting {
            if !matches!(sockopt::socket_error(&link.fd), Ok(Ok(()))) {
                return false;
            }
            link.connecting = false;
            self.opening -= 1;
        }
        let Some(link) = self.link_mut(id) else { return false };
        if !link.write() {
            return false;
        }
        if link.closing && link.out.is_empty() {
            self.close(id);
        } else {
            self.update(id);
        }
        true
    }

    /// Tells epoll when what we want to know has changed.
    fn update(&mut self, id: usize) {
        let epoll = self.epoll.as_fd();
        let Some(link) = self.links.get_mut(id).and_then(Option::as_mut) else { return };
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, !link.paused && !link.connecting);
        interest.set(EventFlags::OUT, link.connecting || !link.out.is_empty());
        if interest != link.interest {
            link.interest = interest;
            // Modifying a registered descriptor cannot fail but for want of memory; the next event shows it.
            let _ = epoll::modify(epoll, &link.fd, data(id, link.generation), interest);
        }
    }

    /// Reads what is there: `Ok(None)` when nothing is, `Ok(Some(0))` at the end. With TLS, `into` must be larger than
    /// a record.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn read(&mut self, id: usize, into: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(link) = self.links.get_mut(id).and_then(Option::as_mut) else { return Ok(None) };
        let Some(tls) = &mut link.tls else { return read(&link.fd, into) };
        // Room for the record whose beginning came with an earlier read.
        self.ciphertext.resize(into.len().saturating_sub(RECORD_BYTES_MAX), 0);
        let count = match read(&link.fd, &mut self.ciphertext)? {
            Some(count) if count > 0 => count,
            nothing => return Ok(nothing),
        };
        let received = self.ciphertext.get(..count).unwrap_or_default();
        let plain = tls.decrypt(received, into, &mut self.handshakes)?;
        if !link.queue_output() || !self.flush(id) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok((plain > 0).then_some(plain))
    }
}

fn read(fd: &OwnedFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::read(fd, into) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Link {
    /// Puts bytes at the end of what waits, encrypted if need be. False when they cannot be.
    fn queue(&mut self, bytes: Rc<[u8]>) -> bool {
        match &mut self.tls {
            Some(tls) => tls.encrypt(&bytes).is_ok() && self.queue_output(),
            None => {
                self.out.push_back(bytes);
                true
            }
        }
    }

    /// The same for what TLS itself has to say.
    fn queue_output(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return true };
        let Ok(output) = tls.output() else { return false };
        if !output.is_empty() {
            self.out.push_back(output.into());
        }
        true
    }

    fn write(&mut self) -> bool {
        while let Some(front) = self.out.front() {
            match net::send(&self.fd, front.get(self.sent..).unwrap_or_default(), SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => continue,
                Err(_) => return false,
            }
            if self.sent >= front.len() {
                self.sent = 0;
                self.out.pop_front();
            }
        }
        true
    }
}

fn data(id: usize, generation: u32) -> EventData {
    EventData::new_u64(id as u64 | u64::from(generation) << 32)
}
