//! What a peer sends on a stream, as the HTTP/1.1 bytes that the engine reads.
//!
//! ```text
//!   head ─▶ body, by its framing ─▶ end ─▶ quiet: the message is over
//! ```
//! The window of a stream is given back when the engine has passed on what it read, and comes, or waits, for more.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Write as _};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream};
use http::HeaderMap;

use crate::limits;
use crate::translate::{Body, Malformed, fields};

use super::super::worker::Worker;
use super::broken;

/// A chunk's size line: its digits are filled in when all of it is there.
const SIZE_LINE_BYTES: usize = 10;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It goes on.
    Open,
    /// The peer has ended it; the engine has not been told, where there is something to tell.
    Ending,
    /// Nothing more is said.
    Quiet,
    /// The peer has reset the stream, or its connection is gone.
    Gone,
}

/// One message, received.
#[derive(Debug)]
pub struct Receiving {
    worker: Rc<Worker>,
    /// What the engine has not read of heads, or of trailers.
    text: Vec<u8>,
    read: usize,
    framing: Body,
    body: Option<RecvStream>,
    /// Data that has arrived.
    data: Bytes,
    /// Data behind it, of frames that were taken from the connection ahead of the engine.
    backlog: BytesMut,
    /// Trailers that have arrived.
    trailers: Option<HeaderMap>,
    /// Bytes the engine has read, whose room in the window is not given back.
    owed: usize,
    /// Where the message stands.
    pub stage: Stage,
    /// Why the stream is gone, as far as the peer said.
    pub reason: Option<Reason>,
}

impl Receiving {
    /// A message of which `text` has arrived, and nothing of its body.
    #[must_use]
    pub fn new(worker: Rc<Worker>, text: Vec<u8>) -> Receiving {
        Receiving {
            worker,
            text,
            read: 0,
            framing: Body::None,
            body: None,
            data: Bytes::new(),
            backlog: BytesMut::new(),
            trailers: None,
            owed: 0,
            stage: Stage::Quiet,
            reason: None,
        }
    }

    /// The head is complete: `body` follows, framed as `framing`.
    pub fn begin(&mut self, framing: Body, body: RecvStream) {
        self.stage = if framing == Body::None { Stage::Quiet } else { Stage::Open };
        self.framing = framing;
        self.body = Some(body);
    }

    /// Heads, for the engine to read next.
    pub fn text(&mut self) -> &mut Vec<u8> {
        if self.text.capacity() == 0 {
            self.text = self.worker.pool.take_small();
        }
        &mut self.text
    }

    /// The stream is gone.
    pub fn lose(&mut self, reason: Option<Reason>) {
        self.stage = Stage::Gone;
        self.reason = reason;
    }

    /// The message is a tunnel.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.framing == Body::Tunnel
    }

    /// Something to read is here.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.has_text()
            || !self.data.is_empty()
            || !self.backlog.is_empty()
            || matches!(self.stage, Stage::Ending | Stage::Gone)
    }

    /// All that is here is in the backlog.
    fn is_behind(&self) -> bool {
        self.data.is_empty() && !self.backlog.is_empty() && !self.has_text()
    }

    fn has_text(&self) -> bool {
        self.read < self.text.len()
    }

    /// The peer has not ended the message, whatever the engine takes for its end.
    #[must_use]
    pub fn awaits_end(&self) -> bool {
        let open = matches!(self.stage, Stage::Open | Stage::Quiet);
        open && self.body.as_ref().is_some_and(|body| !body.is_end_stream())
    }

    /// Takes what has come from the connection although the engine does not want it yet. Its window stays shut, so the
    /// bytes are as many as before; but frames would stay frames, and `h2` ends a connection, with all of its streams,
    /// that holds too many small ones.
    pub fn absorb(&mut self, cx: &mut Context<'_>) {
        let Some(body) = self.body.as_mut().filter(|_| self.stage == Stage::Open) else { return };
        // The end, or an error, is still there when the engine asks.
        while let Poll::Ready(Some(Ok(data))) = body.poll_data(cx) {
            self.backlog.extend_from_slice(&data);
        }
    }

    /// Ready when data, the end, or a reset has come.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.backlog.is_empty() {
            self.data = std::mem::take(&mut self.backlog).freeze();
            return Poll::Ready(());
        }
        let Some(body) = &mut self.body else { return Poll::Pending };
        loop {
            match body.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    self.data = data;
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Err(error))) => {
                    self.lose(error.reason());
                    return Poll::Ready(());
                }
                Poll::Ready(None) => break,
            }
        }
        match body.poll_trailers(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(trailers)) => {
                self.trailers = trailers;
                self.stage = Stage::Ending;
            }
            Poll::Ready(Err(error)) => self.lose(error.reason()),
        }
        Poll::Ready(())
    }

    /// Reads what is here; `arrive` looks for more, and is ready when there is.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn try_read(
        &mut self,
        buf: &mut [u8],
        mut arrive: impl FnMut(&mut Receiving, &mut Context<'_>) -> Poll<()>,
    ) -> io::Result<Option<usize>> {
        self.give_window_back()?;
        let mut filled = 0;
        loop {
            // Whoever waits asks again, with a waker of its own.
            if (!self.is_readable() || self.is_behind())
                && arrive(self, &mut Context::from_waker(Waker::noop())).is_pending()
            {
                break;
            }
            let room = buf.get_mut(filled..).unwrap_or_default();
            if self.has_text() {
                filled += self.read_text(room);
                if self.has_text() {
                    break;
                }
                continue;
            }
            match self.stage {
                Stage::Gone if filled == 0 => return Err(ErrorKind::ConnectionReset.into()),
                Stage::Gone => break,
                Stage::Ending if self.data.is_empty() && self.framing == Body::Tunnel => {
                    if filled > 0 {
                        break;
                    }
                    self.stage = Stage::Quiet;
                    return Ok(Some(0));
                }
                Stage::Ending if self.data.is_empty() => self.end().map_err(|malformed| {
                    self.stage = Stage::Gone;
                    io::Error::other(malformed)
                })?,
                Stage::Open | Stage::Ending | Stage::Quiet => match self.hand_over(room, &mut arrive) {
                    0 => break,
                    n => filled += n,
                },
            }
        }
        Ok((filled > 0).then_some(filled))
    }

    /// Writes what has arrived to `out`, framed; the bytes written.
    fn hand_over(
        &mut self,
        out: &mut [u8],
        arrive: &mut impl FnMut(&mut Receiving, &mut Context<'_>) -> Poll<()>,
    ) -> usize {
        match self.framing {
            Body::Chunked => self.hand_over_chunk(out, arrive),
            Body::Length | Body::Tunnel | Body::None => self.hand_over_bytes(out),
        }
    }

    fn hand_over_bytes(&mut self, out: &mut [u8]) -> usize {
        let n = self.data.len().min(out.len());
        take(&mut self.data, out, n);
        self.owed += n;
        n
    }

    /// All that has come is one chunk: a burst of small messages is framed, passed on and framed again as one.
    fn hand_over_chunk(
        &mut self,
        out: &mut [u8],
        arrive: &mut impl FnMut(&mut Receiving, &mut Context<'_>) -> Poll<()>,
    ) -> usize {
        let room = out.len().saturating_sub(limits::CHUNK_FRAME_BYTES_MAX);
        if room == 0 {
            return self.hand_over_piecemeal(out);
        }
        let mut n = 0;
        loop {
            n += self.hand_over_bytes(
                out.get_mut(SIZE_LINE_BYTES + n..SIZE_LINE_BYTES + room).unwrap_or_default(),
            );
            let more = n < room && self.stage == Stage::Open;
            let mut cx = Context::from_waker(Waker::noop());
            if !more || arrive(self, &mut cx).is_pending() || self.data.is_empty() {
                break;
            }
        }
        if n == 0 {
            return 0;
        }
        // There is room: `CHUNK_FRAME_BYTES_MAX` is what a size line and the end of a chunk need.
        let _ = write!(&mut *out, "{n:0width$x}\r\n", width = SIZE_LINE_BYTES - 2);
        let whole = SIZE_LINE_BYTES + n + 2;
        let _ = out.get_mut(whole - 2..whole).map(|end| end.copy_from_slice(b"\r\n"));
        whole
    }

    /// A chunk for a reader with no room for one: whoever reads must get on, however little room it has.
    fn hand_over_piecemeal(&mut self, out: &mut [u8]) -> usize {
        let n = self.data.len().min(limits::CHUNK_FRAME_BYTES_MAX);
        if n == 0 || out.is_empty() {
            return 0;
        }
        let piece = self.data.split_to(n);
        self.owed += n;
        let text = self.text();
        let _ = write!(text, "{n:x}\r\n"); // writing to a Vec cannot fail
        text.extend_from_slice(&piece);
        text.extend_from_slice(b"\r\n");
        self.read_text(out)
    }

    /// The peer has ended the message: what of it the engine must read.
    fn end(&mut self) -> Result<(), Malformed> {
        self.stage = Stage::Quiet;
        if self.framing == Body::Chunked {
            let trailers = self.trailers.take();
            let text = self.text();
            text.extend_from_slice(b"0\r\n");
            if let Some(trailers) = trailers {
                fields::write_trailers(&trailers, text)?;
            }
            text.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn read_text(&mut self, out: &mut [u8]) -> usize {
        let text = self.text.get(self.read..).unwrap_or_default();
        let n = text.len().min(out.len());
        out.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        self.read += n;
        if !self.has_text() {
            self.worker.pool.give(std::mem::take(&mut self.text)); // a stream that waits holds no buffer
            self.read = 0;
        }
        n
    }

    /// Gives back the window for what the engine has read.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn give_window_back(&mut self) -> io::Result<()> {
        let owed = std::mem::take(&mut self.owed);
        match &mut self.body {
            Some(body) if owed > 0 => body.flow_control().release_capacity(owed).map_err(broken),
            Some(_) | None => Ok(()),
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.worker.pool.give(std::mem::take(&mut self.text));
    }
}

/// Keeps a stream, in `poll`, until that is ready, which is when its peer ends it too, or for a moment: its drop would be a
/// reset.
pub fn keep_until(worker: &Rc<Worker>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<()> + 'static) {
    let until = worker.clock.now().after(Some(Duration::from_millis(limits::LINGER_SILENCE_MS)));
    let mut timer = worker.timers.timer();
    let keeper = Rc::clone(worker);
    worker.spawn_stream(poll_fn(move |cx| {
        if keeper.clock.now() >= until {
            return Poll::Ready(());
        }
        timer.arm(until, cx);
        poll(cx)
    }));
}

/// Moves the first `n` bytes of `data` to `out`.
fn take(data: &mut Bytes, out: &mut [u8], n: usize) {
    out.iter_mut().zip(data.get(..n).unwrap_or_default()).for_each(|(to, from)| *to = *from);
    data.advance(n);
}
