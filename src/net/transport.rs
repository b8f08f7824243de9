//! What an exchange reads from and writes to: a socket, or one stream of an HTTP/2 connection that looks like one.
//!
//! Every read and write returns at once, and every wait may be dropped: see [`super::socket`].

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use h2::Reason;

use crate::proxy::error::Failure;

use super::socket::Socket;
use super::splice::Pipe;
use super::tls::session::Session;

/// One message exchange of a multiplexed connection, as the bytes that HTTP/1.1 would have: the engine reads and
/// writes those, and never learns the difference.
pub trait Stream {
    /// Waits until [`Stream::try_read`] has something to say.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Waits until [`Stream::try_write`] makes progress or fails: one that did neither would be asked for ever.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Something to read is here.
    fn is_readable(&self) -> bool;

    /// Takes what has come off the connection that others share, while nobody wants to read it.
    fn absorb(&mut self, cx: &mut Context<'_>);

    /// Reads what is here: `Ok(Some(0))` is the end of a tunnel, `Ok(None)` is "not now".
    ///
    /// # Errors
    /// The peer has reset the stream, or its connection is gone.
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>>;

    /// Takes as many bytes of `slices` as there is room for; 0 is "not now".
    ///
    /// # Errors
    /// As [`Stream::try_read`].
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// No more bytes follow.
    fn shutdown_write(&mut self);

    /// Resets the stream, for a reason.
    fn reset(&mut self, reason: Reason);

    /// Why the peer has reset the stream, if it has.
    fn reset_by_peer(&self) -> Option<Reason>;

    /// Both messages are whole by their framing. What the version has to say beyond that, it may say now.
    fn part(self: Box<Self>);
}

/// An error of a stream that says more than that it broke.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub struct Broken(pub Failure);

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, broken)
    }
}

impl Broken {
    /// The failure inside `error`, if it has one.
    #[must_use]
    pub fn within(error: &io::Error) -> Option<Failure> {
        error.get_ref()?.downcast_ref::<Broken>().map(|broken| broken.0)
    }
}

/// A connection, or a stream of one.
pub enum Transport {
    /// A connection of its own.
    Socket(Socket),
    /// A stream of a connection that others share.
    Stream(Box<dyn Stream>),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Transport::Socket(socket) => socket.fmt(f),
            Transport::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Transport {
        Transport::Socket(socket)
    }
}

impl Transport {
    /// The TLS session, if this is a socket that has one.
    #[must_use]
    pub fn tls(&self) -> Option<&Session> {
        match self {
            Transport::Socket(socket) => socket.tls(),
            Transport::Stream(_) => None,
        }
    }

    /// Bytes can be spliced: they pass as they are.
    #[must_use]
    pub fn splices(&self) -> bool {
        matches!(self, Transport::Socket(socket) if socket.tls().is_none())
    }

    /// Waits until [`Transport::try_read`] has something to say: bytes, the end, or an error.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Transport::Socket(socket) => socket.poll_readable(cx),
            Transport::Stream(stream) => stream.poll_readable(cx),
        }
    }

    /// Waits until [`Transport::try_write`] may make progress.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Transport::Socket(socket) => socket.poll_writable(cx),
            Transport::Stream(stream) => stream.poll_writable(cx),
        }
    }

    /// While nobody wants to read: see [`Stream::absorb`]. A socket keeps its bytes to itself.
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        if let Transport::Stream(stream) = self {
            stream.absorb(cx);
        }
    }

    /// Ready when an idle connection is spoken on, or ends: see [`Socket::poll_disturbed`].
    pub fn poll_disturbed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Transport::Socket(socket) => socket.poll_disturbed(cx),
            Transport::Stream(stream) => stream.poll_readable(cx),
        }
    }

    /// Whether bytes wait, by asking now. What waits of a shared connection's stream is in its hands, and it says so itself.
    pub fn has_bytes(&mut self) -> bool {
        match self {
            Transport::Socket(socket) => matches!(socket.try_peek(&mut [0]), Ok(Some(1..))),
            Transport::Stream(stream) => stream.is_readable(),
        }
    }

    /// Something to read is here, and has not been drained.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        match self {
            Transport::Socket(socket) => socket.is_readable(),
            Transport::Stream(stream) => stream.is_readable(),
        }
    }

    /// Lets every other task run before more is read. A stream has no need: its connection yields.
    pub fn yield_read(&mut self) {
        if let Transport::Socket(socket) = self {
            socket.yield_read();
        }
    }

    /// Reads what is there: `Ok(Some(0))` is the end, `Ok(None)` is "not now".
    ///
    /// # Errors
    /// The connection or the stream is broken.
    pub fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Transport::Socket(socket) => socket.try_read(buf),
            Transport::Stream(stream) => stream.try_read(buf),
        }
    }

    /// Writes as many bytes of `slices` as are taken now; 0 is "not now".
    ///
    /// # Errors
    /// The connection or the stream is broken.
    pub fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Socket(socket) => socket.try_write(slices),
            Transport::Stream(stream) => stream.try_write(slices),
        }
    }

    /// Moves at most `max` bytes that have arrived into `pipe`: see [`Socket::splice_in`].
    ///
    /// # Errors
    /// As there; `Unsupported` for a stream.
    pub fn splice_in(&mut self, pipe: &mut Pipe, max: usize) -> io::Result<Option<usize>> {
        match self {
            Transport::Socket(socket) => socket.splice_in(pipe, max),
            Transport::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Moves as much of what is in `pipe` as the socket takes now; 0 is "not now".
    ///
    /// # Errors
    /// The connection is broken; `Unsupported` for a stream.
    pub fn splice_out(&mut self, pipe: &mut Pipe) -> io::Result<usize> {
        match self {
            Transport::Socket(socket) => socket.splice_out(pipe),
            Transport::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What is written from now on is the last of it: see [`Socket::hold_for_end`]. A stream's end is no packet.
    pub fn hold_for_end(&mut self) {
        if let Transport::Socket(socket) = self {
            socket.hold_for_end();
        }
    }

    /// Announces the end of what we say, where that needs words: see [`Socket::goodbye`].
    pub fn goodbye(&mut self) -> bool {
        match self {
            Transport::Socket(socket) => socket.goodbye(),
            Transport::Stream(_) => true,
        }
    }

    /// Tells the peer that no more bytes follow. Errors mean that it has gone, which the next read says too.
    pub fn shutdown_write(&mut self) {
        match self {
            Transport::Socket(socket) => socket.shutdown_write(),
            Transport::Stream(stream) => stream.shutdown_write(),
        }
    }

    /// Bytes sent that the peer has not acknowledged; 0 where that cannot be told.
    #[must_use]
    pub fn unacknowledged(&self) -> u32 {
        match self {
            Transport::Socket(socket) => socket.unacknowledged(),
            Transport::Stream(_) => 0,
        }
    }

    /// Makes the coming close a reset. A stream that has not ended is reset in any case.
    pub fn reset_on_close(&mut self) {
        if let Transport::Socket(socket) = self {
            socket.reset_on_close();
        }
    }

    /// Resets a stream, for a reason. A connection of its own is closed or reset by whoever owns it.
    pub fn reset_stream(&mut self, reason: Reason) {
        if let Transport::Stream(stream) = self {
            stream.reset(reason);
        }
    }

    /// Why the peer has reset this stream, if it is one and has been.
    #[must_use]
    pub fn reset_by_peer(&self) -> Option<Reason> {
        match self {
            Transport::Socket(_) => None,
            Transport::Stream(stream) => stream.reset_by_peer(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::buffers::{BufferPool, Outbox};
    use crate::net::thread::runtime;
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as StdUnixStream;

    fn pair() -> (Transport, StdUnixStream) {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Transport::from(Socket::new(ours).unwrap()), theirs)
    }

    async fn read(transport: &mut Transport, buf: &mut [u8]) -> usize {
        loop {
            poll_fn(|cx| transport.poll_readable(cx)).await;
            if let Some(n) = transport.try_read(buf).unwrap() {
                return n;
            }
        }
    }

    /// Goal: a wait that is dropped loses nothing. Method: a wait is begun and dropped before, between and
    /// after the arrival of each of many bytes, which must all come, in order.
    #[test]
    fn a_dropped_wait_loses_no_byte() {
        runtime().unwrap().block_on(async {
            let (mut transport, mut peer) = pair();
            for byte in 0..=255 {
                let begin_and_drop = |transport: &mut Transport| {
                    let mut cx = Context::from_waker(std::task::Waker::noop());
                    let _ = transport.poll_readable(&mut cx);
                };
                begin_and_drop(&mut transport);
                peer.write_all(&[byte]).unwrap();
                begin_and_drop(&mut transport);
                let mut buf = [0; 8];
                assert_eq!(read(&mut transport, &mut buf).await, 1);
                assert_eq!(buf[0], byte);
            }
            drop(peer);
            assert_eq!(read(&mut transport, &mut [0; 8]).await, 0, "then the end");
        });
    }

    /// Goal: what a slow receiver does not take is kept, in order, and its buffer goes back. Method: more
    /// than a socket holds is sent in one call, and read by a peer that starts late.
    #[test]
    fn what_is_not_taken_is_kept_and_then_released() {
        runtime().unwrap().block_on(async {
            let (mut transport, mut peer) = pair();
            let pool = BufferPool::new(0);
            let mut outbox = Outbox::default();
            outbox.stage(&pool).extend_from_slice(b"head ");
            let body: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
            let taken = outbox.send(&mut transport, &pool, &[&body, b" tail"]).unwrap();
            assert!(taken < body.len() && !outbox.is_empty(), "the socket took it all");
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                peer.read_to_end(&mut all).unwrap();
                all
            });
            while !outbox.is_empty() {
                poll_fn(|cx| transport.poll_writable(cx)).await;
                outbox.send(&mut transport, &pool, &[]).unwrap();
            }
            transport.shutdown_write();
            let expected = [b"head ".as_slice(), &body, b" tail"].concat();
            assert!(reader.join().unwrap() == expected, "bytes were lost or out of order");
        });
    }

    #[test]
    fn writing_to_a_peer_that_has_gone_is_an_error_and_no_signal() {
        runtime().unwrap().block_on(async {
            let (mut transport, peer) = pair();
            drop(peer);
            assert!(transport.try_write(&[IoSlice::new(b"x")]).is_err());
        });
    }
}
