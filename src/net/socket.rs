//! A socket as the data path sees it: readiness from the ring, bytes by direct non-blocking calls.
//!
//! ```text
//!            poll_*()                      completion of the ring poll
//!   Idle ─────────────▶ Armed (in the ring) ─────────────────────────▶ Ready
//!    ▲                                                                   │
//!    └──────────── try_*() moved fewer bytes than asked, or none ────────┘
//! ```
//! Measured (DESIGN §4): a ring `recv` per connection and "ring poll, then `recv(2)` into one scratch buffer"
//! cost the same per request; so an idle connection holds no buffer. A poll may be left armed across message
//! boundaries: the one that notices a client going away is the one that awaits its next request. Nothing is
//! lost when a wait is dropped, because no byte moves before [`Socket::try_read`].

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::net::UnixStream;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use rustix::pipe::{SpliceFlags, splice};

use crate::limits;

use super::splice::Pipe;
use super::tls::session::{Session, Wire};

/// `TIOCOUTQ` of asm-generic/ioctls.h; the same on x86-64, AArch64 and RISC-V.
const TIOCOUTQ: Opcode = 0x5411;

const SPLICE: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// What is known about one direction of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Nothing: ask the ring.
    Idle,
    /// A poll is in the ring.
    Armed,
    /// The last poll completed and nothing has said otherwise since.
    Ready,
    /// The poll itself failed; carried to the next read or write, so that no loop can spin on it.
    Failed,
}

struct Descriptor {
    /// Whatever its family: the runtime polls and closes a descriptor, and its `TcpStream` would keep 72 bytes more.
    stream: UnixStream,
    rx: Cell<Readiness>,
    tx: Cell<Readiness>,
    /// The ring has called it writable and it was not.
    half_closed: Cell<bool>,
}

impl Descriptor {
    /// A write has taken less than there was: the next wait asks the ring again.
    fn took_less(&self, took_any: bool) {
        if !took_any && self.tx.get() == Readiness::Ready {
            self.half_closed.set(true);
        }
        self.tx.set(Readiness::Idle);
    }
}

impl AsFd for Descriptor {
    #[allow(unsafe_code)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self.stream` owns the descriptor and keeps it open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) }
    }
}

/// Polls one direction for ever: each time it is polled while `Armed`, a ring poll is (or gets) in flight.
/// One heap cell per direction for the life of the connection, instead of one future per wait.
type Watch = Pin<Box<dyn Future<Output = Infallible>>>;

fn watch(
    fd: Rc<Descriptor>,
    direction: impl Fn(&Descriptor) -> &Cell<Readiness> + 'static,
    read: bool,
) -> Watch {
    Box::pin(async move {
        loop {
            let polled = match read {
                true => fd.stream.readable(true).await,
                false if fd.half_closed.get() => writable_at_last(&fd).await,
                false => fd.stream.writable(true).await,
            };
            let state = direction(&fd);
            state.set(if polled.is_ok() { Readiness::Ready } else { Readiness::Failed });
            poll_fn(|_| if state.get() == Readiness::Armed { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    })
}

/// Waits until a socket takes bytes whose peer has ended its side. To a poll in the ring that is an end of its own
/// (`IO_POLL_UNMASK` of the kernel's io_uring/poll.c has EPOLLRDHUP in it), so whoever had more to send would ask and try for
/// ever. An epoll set reports what it was asked for, and the ring can wait for the set.
async fn writable_at_last(fd: &Descriptor) -> io::Result<()> {
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&set, fd, EventData::new_u64(0), EventFlags::OUT)?;
    UnixStream::from_std(StdUnixStream::from(set))?.readable(true).await
}

/// A connection: TCP or Unix, in the clear or with TLS. Every read and write returns at once.
pub struct Socket {
    fd: Rc<Descriptor>,
    /// Encrypts what passes. Taken out while it works, so that its own reads and writes meet the bare socket.
    tls: Option<Box<Session>>,
    rx: Watch,
    /// Made when a write first has to wait; most connections never do.
    tx: Option<Watch>,
    /// What is written from now on waits for the end.
    holding: bool,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("fd", &self.fd.as_fd()).finish_non_exhaustive()
    }
}

impl Socket {
    /// A connected stream socket, or one that connects.
    ///
    /// # Errors
    /// The runtime does not accept the descriptor.
    pub fn new(stream: impl Into<OwnedFd>) -> io::Result<Socket> {
        let stream = UnixStream::from_std(StdUnixStream::from(stream.into()))?;
        let (rx, tx) = (Cell::new(Readiness::Idle), Cell::new(Readiness::Idle));
        let fd = Rc::new(Descriptor { stream, rx, tx, half_closed: Cell::new(false) });
        Ok(Socket { rx: watch(Rc::clone(&fd), |s| &s.rx, true), fd, tls: None, tx: None, holding: false })
    }

    /// From now on, what passes is encrypted.
    #[must_use]
    pub fn secured(mut self, session: Session) -> Socket {
        self.tls = Some(Box::new(session));
        self
    }

    /// The session, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&Session> {
        self.tls.as_deref()
    }

    /// Waits until [`Socket::try_read`] has something to say: bytes, the end, or an error.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tls.is_some() && self.poll_tls(cx).is_ready() {
            return Poll::Ready(());
        }
        poll_direction(&self.fd.rx, &mut self.rx, cx)
    }

    /// Ready when the session has something to say. What it still has to send leaves meanwhile.
    fn poll_tls(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.tls.as_ref().is_some_and(|tls| tls.wants_write()) && self.poll_writable(cx).is_ready() {
            if !matches!(self.with_tls(|tls, socket| tls.flush(socket)), Some(Ok(false))) {
                break; // all is sent; or the socket is broken, and readable too
            }
            self.fd.tx.set(Readiness::Idle);
        }
        if self.tls.as_ref().is_some_and(|tls| tls.has_news()) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn with_tls<T>(&mut self, work: impl FnOnce(&mut Session, &mut Socket) -> T) -> Option<T> {
        let mut tls = self.tls.take()?;
        let done = work(&mut tls, self);
        self.tls = Some(tls);
        Some(done)
    }

    /// Ready when a connection on which nobody should speak is spoken on, or ends. What TLS says by itself
    /// (session tickets, key updates) does not count.
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..limits::TLS_QUIET_READS_MAX {
            if self.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            if !self.with_tls(|tls, socket| tls.is_quiet(socket)).unwrap_or(false) {
                break;
            }
        }
        Poll::Ready(())
    }

    /// Waits until [`Socket::try_write`] may make progress.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let watch = self.tx.get_or_insert_with(|| watch(Rc::clone(&self.fd), |s| &s.tx, false));
        poll_direction(&self.fd.tx, watch, cx)
    }

    /// The last poll for reading completed and its bytes have not been drained.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        matches!(self.fd.rx.get(), Readiness::Ready | Readiness::Failed)
            || self.tls.as_ref().is_some_and(|tls| tls.has_news())
    }

    /// Forgets readiness: the next wait asks the ring again, and so lets every other task run first.
    pub fn yield_read(&mut self) {
        self.fd.rx.set(Readiness::Idle);
    }

    /// Reads what is there: `Ok(Some(0))` is the end of the stream, `Ok(None)` is "not now".
    ///
    /// # Errors
    /// The connection is broken. With TLS, `UnexpectedEof` is an end that the peer did not announce.
    pub fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if self.tls.is_some() {
            return self.with_tls(|tls, socket| tls.read(socket, buf)).unwrap_or(Ok(None));
        }
        let state = &self.fd.rx;
        if state.get() == Readiness::Failed {
            return Err(io::Error::other("waiting for the socket failed"));
        }
        match rustix::net::recv(&*self.fd, &mut *buf, RecvFlags::DONTWAIT) {
            Ok((n, _)) => {
                if n < buf.len() && n > 0 {
                    state.set(Readiness::Idle); // drained: the next poll tells the truth
                }
                Ok(Some(n))
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                state.set(Readiness::Idle);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Socket::try_read`], below any TLS, and what is there stays there.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let state = &self.fd.rx;
        if state.get() == Readiness::Failed {
            return Err(io::Error::other("waiting for the socket failed"));
        }
        match rustix::net::recv(&*self.fd, buf, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((n, _)) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => {
                state.set(Readiness::Idle);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes as many of `slices` as the socket takes now; 0 is "not now".
    ///
    /// # Errors
    /// The connection is broken.
    pub fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.tls.is_some() {
            return self.with_tls(|tls, socket| tls.write(socket, slices)).unwrap_or(Ok(0));
        }
        if self.fd.tx.get() == Readiness::Failed {
            return Err(io::Error::other("waiting for the socket failed"));
        }
        let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, self.holding);
        let sent = match slices {
            [one] => rustix::net::send(&*self.fd, one, flags),
            many => rustix::net::sendmsg(&*self.fd, many, &mut SendAncillaryBuffer::default(), flags),
        };
        match sent {
            Ok(n) => {
                let all: usize = slices.iter().map(|slice| slice.len()).sum();
                if n < all {
                    self.fd.took_less(n > 0);
                }
                Ok(n)
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.fd.took_less(false);
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves at most `max` bytes that have arrived into `pipe`: `Ok(Some(0))` is the end of the stream,
    /// `Ok(None)` is "not now".
    ///
    /// # Errors
    /// The connection is broken, or its kind cannot be spliced (EINVAL).
    pub fn splice_in(&mut self, pipe: &mut Pipe, max: usize) -> io::Result<Option<usize>> {
        if self.tls.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let state = &self.fd.rx;
        if state.get() == Readiness::Failed {
            return Err(io::Error::other("waiting for the socket failed"));
        }
        match splice(&*self.fd, None, &pipe.write, None, max, SPLICE) {
            Ok(n) => {
                pipe.held += n;
                Ok(Some(n))
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                state.set(Readiness::Idle);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Moves as much of what is in `pipe` as the socket takes now; 0 is "not now".
    ///
    /// # Errors
    /// The connection is broken.
    pub fn splice_out(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        if self.tls.is_some() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if self.fd.tx.get() == Readiness::Failed {
            return Err(io::Error::other("waiting for the socket failed"));
        }
        let mut moved = 0;
        while pipe.held > 0 {
            match splice(&pipe.read, None, &*self.fd, None, pipe.held, SPLICE) {
                Ok(0) | Err(Errno::AGAIN | Errno::INTR) => {
                    self.fd.took_less(moved > 0);
                    break;
                }
                Ok(n) => {
                    pipe.held -= n;
                    moved += n;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(moved)
    }

    /// What is written from now on is the last of it, and [`Socket::goodbye`] or [`Socket::shutdown_write`] follows at
    /// once: both leave in one packet. Measured: a segment for the end alone costs 3 µs of the 33 that a request with its
    /// connection needs.
    pub fn hold_for_end(&mut self) {
        self.holding = true;
    }

    /// Announces the end of what we say, where that is done in so many words: close_notify. Sends what is held. True
    /// when it is with the kernel, or there is nothing to announce.
    pub fn goodbye(&mut self) -> bool {
        let said = self.with_tls(|tls, socket| tls.close(socket, false)).unwrap_or(true);
        if said && std::mem::take(&mut self.holding) {
            let _ = rustix::net::shutdown(&*self.fd, Shutdown::Write);
        }
        said
    }

    /// Tells the peer that no more bytes follow. Errors mean that it has gone, which the next read says too.
    pub fn shutdown_write(&mut self) {
        if self.tls.is_some() {
            self.with_tls(|tls, socket| tls.close(socket, true));
            return;
        }
        let _ = rustix::net::shutdown(&*self.fd, Shutdown::Write);
    }

    /// Bytes sent that the peer has not acknowledged (TIOCOUTQ, tcp(7)); 0 where that cannot be told.
    #[must_use]
    pub fn unacknowledged(&self) -> u32 {
        // SAFETY: TIOCOUTQ writes one int, which is what this getter makes room for (ioctl_tty(2), tcp(7)).
        #[allow(unsafe_code)]
        let outq = unsafe { Getter::<{ TIOCOUTQ }, std::ffi::c_int>::new() };
        // SAFETY: the descriptor is a socket of ours, and the operation reads its state only.
        #[allow(unsafe_code)]
        let bytes = unsafe { ioctl(&*self.fd, outq) };
        bytes.ok().and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(0)
    }

    /// Makes the coming close a reset: for a response whose end is the end of the connection, and which must
    /// not look complete.
    pub fn reset_on_close(&mut self) {
        let _ = rustix::net::sockopt::set_socket_linger(&*self.fd, Some(Duration::ZERO));
    }

    /// Our end's address; `None` for a Unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(rustix::net::getsockname(&*self.fd).ok()?).ok()
    }

    /// The error of a connection attempt that has ended, if it failed.
    ///
    /// # Errors
    /// Why the connection could not be made.
    pub fn connect_result(&self) -> io::Result<()> {
        rustix::net::sockopt::socket_error(&*self.fd)?.map_err(io::Error::from)
    }
}

/// What a TLS session sees of its connection: while it works it is taken out, so these meet the bare socket.
impl Wire for Socket {
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        Socket::try_read(self, buf)
    }

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Socket::try_write(self, slices)
    }

    fn shutdown_write(&mut self) {
        Socket::shutdown_write(self);
    }

    fn yield_read(&mut self) {
        Socket::yield_read(self);
    }
}

fn poll_direction(state: &Cell<Readiness>, watch: &mut Watch, cx: &mut Context<'_>) -> Poll<()> {
    match state.get() {
        Readiness::Ready | Readiness::Failed => return Poll::Ready(()),
        Readiness::Idle => state.set(Readiness::Armed),
        Readiness::Armed => {}
    }
    // The watch never ends; it reports through `state`.
    let _ = watch.as_mut().poll(cx);
    match state.get() {
        Readiness::Ready | Readiness::Failed => Poll::Ready(()),
        Readiness::Idle | Readiness::Armed => Poll::Pending,
    }
}
