//! A socket as the `h2` crate wants it: tokio's traits, over readiness from the ring.
//!
//! `h2` writes each frame of a body by itself, 16 KiB at most. What it writes while the connection's driver polls it is
//! therefore gathered, and leaves in one send of up to [`limits::H2_GATHER_BYTES`] when the driver is done
//! ([`Tap::poll_flush`]): a response of 1 MiB is 16 sends instead of 64, and small responses of many streams one.

use std::cell::{RefCell, RefMut};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits;

use super::super::socket::Socket;
use super::super::tls::greeting::Greeting;
use super::super::tls::session::Session;
use super::super::worker::Worker;
use super::watch::Watch;

/// A connection, between `h2` and whoever drives it.
struct Wire {
    worker: Rc<Worker>,
    socket: Socket,
    watch: Watch,
    /// What was read before it was known to be HTTP/2.
    before: Vec<u8>,
    /// Bytes read in this turn: after [`limits::TURN_BYTES_MAX`] the ring is asked again, whatever is there.
    spent: usize,
    /// Writes are gathered: somebody flushes.
    corked: bool,
    unsent: Vec<u8>,
    sent: usize,
}

/// The connection, for `h2`.
pub struct Io(Rc<RefCell<Wire>>);

/// The connection, for its driver.
pub struct Tap(Rc<RefCell<Wire>>);

impl Io {
    /// A client's connection. `before` was read from it already.
    #[must_use]
    pub fn of_client(worker: Rc<Worker>, socket: Socket, before: Vec<u8>) -> Io {
        Io::new(worker, socket, before, Watch::default())
    }

    /// Our connection to an origin.
    #[must_use]
    pub fn of_origin(worker: Rc<Worker>, socket: Socket) -> Io {
        Io::new(worker, socket, Vec::new(), Watch::of_server())
    }

    fn new(worker: Rc<Worker>, socket: Socket, before: Vec<u8>, watch: Watch) -> Io {
        let (unsent, sent) = (Vec::new(), 0);
        let wire = Wire { worker, socket, watch, before, spent: 0, corked: false, unsent, sent };
        Io(Rc::new(RefCell::new(wire)))
    }

    /// The driver's side of it.
    #[must_use]
    pub fn tap(&self) -> Tap {
        Tap(Rc::clone(&self.0))
    }
}

impl Tap {
    /// What is known of the peer's frames.
    #[must_use]
    pub fn watch(&self) -> RefMut<'_, Watch> {
        RefMut::map(self.0.borrow_mut(), |wire| &mut wire.watch)
    }

    /// What the TLS handshake said of the peer.
    #[must_use]
    pub fn greeting(&self) -> Option<Rc<Greeting>> {
        self.0.borrow().socket.tls().and_then(Session::greeting).cloned()
    }

    /// From here on writes are gathered, and whoever polls `h2` flushes behind it.
    pub fn cork(&self) {
        self.0.borrow_mut().corked = true;
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }
}

impl Wire {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let n = self.before.len().min(buf.remaining());
            let rest = self.before.split_off(n);
            let bytes = std::mem::replace(&mut self.before, rest);
            self.watch.saw(&bytes);
            buf.put_slice(&bytes);
            return Poll::Ready(self.verdict());
        }
        if self.spent >= limits::TURN_BYTES_MAX {
            self.spent = 0;
            self.socket.yield_read();
        }
        loop {
            ready!(self.socket.poll_readable(cx));
            // By way of the scratch: `buf` would have to be zeroed, 8 KiB at every read, and that memory kept.
            let mut scratch = self.worker.scratch.borrow_mut();
            let room = buf.remaining().min(scratch.len());
            let Some(n) = self.socket.try_read(scratch.get_mut(..room).unwrap_or_default())? else {
                continue;
            };
            let bytes = scratch.get(..n).unwrap_or_default();
            self.watch.saw(bytes);
            self.spent += n;
            buf.put_slice(bytes);
            return Poll::Ready(self.verdict());
        }
    }

    /// Whether what has come may be looked at by anyone.
    fn verdict(&self) -> io::Result<()> {
        if self.watch.is_rude() { Err(ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.corked {
            if self.unsent.len() >= limits::H2_GATHER_BYTES {
                ready!(self.poll_send(cx))?;
            }
            return Poll::Ready(Ok(self.gather(bufs)));
        }
        loop {
            match self.socket.try_write(bufs)? {
                0 if bufs.iter().any(|buf| !buf.is_empty()) => ready!(self.socket.poll_writable(cx)),
                n => return Poll::Ready(Ok(n)),
            }
        }
    }

    fn gather(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        if self.unsent.capacity() == 0 {
            self.unsent = self.worker.pool.take();
        }
        let before = self.unsent.len();
        for buf in bufs {
            let room = limits::H2_GATHER_BYTES.saturating_sub(self.unsent.len()).min(buf.len());
            self.unsent.extend_from_slice(buf.get(..room).unwrap_or_default());
        }
        self.unsent.len() - before
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.try_write(&[IoSlice::new(rest)])? {
                0 => ready!(self.socket.poll_writable(cx)),
                n => {
                    self.sent += n;
                    self.watch.wrote(n);
                }
            }
        }
        self.worker.pool.give(std::mem::take(&mut self.unsent)); // an idle connection holds no buffer
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // bytes count as written when they are with the kernel, or gathered
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        ready!(wire.poll_send(cx))?;
        wire.socket.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
