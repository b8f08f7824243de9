//! A socket as the `h2` crate wants it: tokio's traits, over readiness from the ring.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits;

use super::super::socket::Socket;
use super::super::tls::greeting::Greeting;
use super::super::tls::session::Session;
use super::watch::Watch;

/// A socket that yields to its neighbours: after [`limits::TURN_BYTES_MAX`] bytes the ring is asked again, whatever
/// is there.
#[derive(Debug)]
pub struct Io {
    socket: Socket,
    spent: usize,
    /// What was read before it was known to be HTTP/2.
    before: Vec<u8>,
    watch: Rc<RefCell<Watch>>,
}

impl Io {
    /// Wraps a connection. `before` was read from it already.
    #[must_use]
    pub fn new(socket: Socket, before: Vec<u8>) -> Io {
        Io { socket, spent: 0, before, watch: Rc::default() }
    }

    /// Wraps our connection to an origin.
    #[must_use]
    pub fn of_origin(socket: Socket) -> Io {
        let watch = Rc::new(RefCell::new(Watch::of_server()));
        Io { socket, spent: 0, before: Vec::new(), watch }
    }

    /// What is known of the peer's frames.
    #[must_use]
    pub fn watch(&self) -> Rc<RefCell<Watch>> {
        Rc::clone(&self.watch)
    }

    /// Whether what has come may be looked at by anyone.
    fn verdict(&self) -> io::Result<()> {
        if self.watch.borrow().is_rude() { Err(ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    /// What the TLS handshake said of the client.
    #[must_use]
    pub fn greeting(&self) -> Option<&Rc<Greeting>> {
        self.socket.tls().and_then(Session::greeting)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.before.is_empty() {
            let n = this.before.len().min(buf.remaining());
            this.before.drain(..n).for_each(|byte| {
                this.watch.borrow_mut().saw(&[byte]);
                buf.put_slice(&[byte]);
            });
            return Poll::Ready(this.verdict());
        }
        if this.spent >= limits::TURN_BYTES_MAX {
            this.spent = 0;
            this.socket.yield_read();
        }
        loop {
            ready!(this.socket.poll_readable(cx));
            let room = buf.initialize_unfilled();
            if let Some(n) = this.socket.try_read(room)? {
                this.watch.borrow_mut().saw(room.get(..n).unwrap_or_default());
                this.spent += n;
                buf.advance(n);
                return Poll::Ready(this.verdict());
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.socket.try_write(bufs)? {
                0 if bufs.iter().any(|buf| !buf.is_empty()) => ready!(self.socket.poll_writable(cx)),
                n => {
                    self.watch.borrow_mut().wrote(n);
                    return Poll::Ready(Ok(n));
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // bytes count as written when they are with the kernel
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
