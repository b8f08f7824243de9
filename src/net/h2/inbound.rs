//! A client's stream, as the HTTP/1.1 connection of one request that the engine takes it for.
//!
//! ```text
//!   reading   head ─▶ body ─▶ quiet: the message is over, and only a reset has something to say
//!   writing   interim heads ─▶ final head ─▶ body, by its framing ─▶ over
//! ```
//! Dropping it before the response is over resets the stream (CANCEL); dropping it behind a complete response, while
//! the request is still coming, tells the client to stop without blame (NO_ERROR). Both are what `h2` does itself.

use std::io::{self, ErrorKind, IoSlice, Write as _};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use crate::h1::head::{Parsed, parse_response};
use crate::h1::{BodyDecoder, Framing, Method, ResponseHead};
use crate::limits;
use crate::proxy::forward::Source;
use crate::translate::request::Body;
use crate::translate::{Malformed, fields, response};

use super::super::transport::Stream;
use super::super::worker::Worker;

/// Where reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The request, or a tunnel, goes on.
    Open,
    /// The client has ended its side; the engine has not been told, where there is something to tell.
    Ending,
    /// Nothing more is said.
    Quiet,
    /// The client has reset the stream, or its connection is gone.
    Gone,
}

/// Where writing stands.
#[derive(Debug)]
enum Writing {
    /// Before the final head.
    Heads(SendResponse<Bytes>),
    /// In the body.
    Body(SendStream<Bytes>, BodyDecoder),
    /// In a tunnel.
    Tunnel(SendStream<Bytes>),
    /// The response is over; the handle stays to hear of resets.
    Over(Option<SendStream<Bytes>>),
}

/// A client's stream.
#[derive(Debug)]
pub struct Inbound {
    worker: Rc<Worker>,
    method: Method,
    /// What the engine has not read of the head, or of trailers.
    text: Vec<u8>,
    read: usize,
    framing: Body,
    body: RecvStream,
    /// Data that has arrived.
    data: Bytes,
    /// Trailers that have arrived.
    trailers: Option<HeaderMap>,
    /// Bytes the engine has read, whose room in the window is given back when it comes, or waits, for more.
    owed: usize,
    reading: Reading,
    writing: Writing,
}

impl Inbound {
    /// A stream whose head is `head` in HTTP/1.1, of a request of this method; its body is framed as `framing`.
    #[must_use]
    pub fn new(
        worker: Rc<Worker>,
        method: Method,
        head: Vec<u8>,
        framing: Body,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> Inbound {
        Inbound {
            worker,
            method,
            text: head,
            read: 0,
            framing,
            body,
            data: Bytes::new(),
            trailers: None,
            owed: 0,
            reading: if framing == Body::None { Reading::Quiet } else { Reading::Open },
            writing: Writing::Heads(respond),
        }
    }

    fn has_text(&self) -> bool {
        self.read < self.text.len()
    }

    /// Looks for data, the end, or a reset.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.reading {
            Reading::Open => self.poll_body(cx),
            Reading::Quiet => self.poll_reset(cx),
            Reading::Ending | Reading::Gone => Poll::Ready(()),
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.body.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    self.data = data;
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Err(_))) => {
                    self.reading = Reading::Gone;
                    return Poll::Ready(());
                }
                Poll::Ready(None) => break,
            }
        }
        match self.body.poll_trailers(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(trailers)) => {
                self.trailers = trailers;
                self.reading = Reading::Ending;
            }
            Poll::Ready(Err(_)) => self.reading = Reading::Gone,
        }
        Poll::Ready(())
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.writing {
            Writing::Heads(respond) => respond.poll_reset(cx),
            Writing::Body(send, _) | Writing::Tunnel(send) | Writing::Over(Some(send)) => send.poll_reset(cx),
            Writing::Over(None) => return Poll::Pending,
        };
        reset.map(|_| self.reading = Reading::Gone)
    }

    /// Writes what has arrived to `out`, framed; the bytes written.
    fn hand_over(&mut self, out: &mut [u8]) -> usize {
        match self.framing {
            Body::Chunked => self.hand_over_chunk(out),
            Body::Length | Body::Tunnel | Body::None => {
                let n = self.data.len().min(out.len());
                take(&mut self.data, out, n);
                self.owed += n;
                n
            }
        }
    }

    fn hand_over_chunk(&mut self, out: &mut [u8]) -> usize {
        let room = out.len().saturating_sub(limits::CHUNK_FRAME_BYTES_MAX);
        let n = self.data.len().min(room);
        if n == 0 {
            return self.hand_over_piecemeal(out);
        }
        let whole = out.len();
        let mut rest = out;
        // There is room: `CHUNK_FRAME_BYTES_MAX` is what a size line and the end of a chunk need.
        let _ = write!(rest, "{n:x}\r\n");
        let Some((payload, behind)) = rest.split_at_mut_checked(n) else { return 0 };
        take(&mut self.data, payload, n);
        self.owed += n;
        let mut rest = behind;
        let _ = rest.write_all(b"\r\n");
        whole - rest.len()
    }

    /// A chunk for a reader with no room for one: whoever reads must get on, however little room it has.
    fn hand_over_piecemeal(&mut self, out: &mut [u8]) -> usize {
        let n = self.data.len().min(limits::CHUNK_FRAME_BYTES_MAX);
        if n == 0 {
            return 0;
        }
        if self.text.capacity() == 0 {
            self.text = self.worker.pool.take_small();
        }
        let _ = write!(self.text, "{n:x}\r\n"); // writing to a Vec cannot fail
        self.text.extend_from_slice(&self.data.split_to(n));
        self.text.extend_from_slice(b"\r\n");
        self.owed += n;
        self.read_text(out)
    }

    /// The client has ended its side: what of it the engine must read.
    fn end(&mut self) -> io::Result<Option<usize>> {
        self.reading = Reading::Quiet;
        match self.framing {
            Body::Tunnel => Ok(Some(0)),
            Body::None | Body::Length => Ok(None),
            Body::Chunked => {
                self.text = self.worker.pool.take_small();
                self.text.extend_from_slice(b"0\r\n");
                if let Some(trailers) = self.trailers.take() {
                    fields::write_trailers(&trailers, &mut self.text).map_err(|error| self.refuse(error))?;
                }
                self.text.extend_from_slice(b"\r\n");
                Ok(None)
            }
        }
    }

    /// What came behind the head is malformed (RFC 9113 §8.1.1).
    fn refuse(&mut self, error: Malformed) -> io::Error {
        self.reading = Reading::Gone;
        match &mut self.writing {
            Writing::Heads(respond) => respond.send_reset(Reason::PROTOCOL_ERROR),
            Writing::Body(send, _) | Writing::Tunnel(send) | Writing::Over(Some(send)) => {
                send.send_reset(Reason::PROTOCOL_ERROR);
            }
            Writing::Over(None) => {}
        }
        io::Error::other(error)
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

    fn give_window_back(&mut self) -> io::Result<()> {
        let owed = std::mem::take(&mut self.owed);
        if owed > 0 {
            self.body.flow_control().release_capacity(owed).map_err(broken)?;
        }
        Ok(())
    }

    /// Takes the heads that `bytes` begins with, up to and with the final one; how many bytes they are.
    fn take_heads(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        let mut fields = self.worker.fields.borrow_mut();
        while let Writing::Heads(respond) = &mut self.writing {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let parsed = parse_response(rest, &self.worker.shared.config.message, self.method, &mut fields);
            let Parsed::Complete(head) = parsed.map_err(io::Error::other)? else {
                return Err(ErrorKind::InvalidData.into()); // the engine writes heads whole
            };
            let translated = response::read_head(&head, Source { bytes: rest, fields: &fields });
            let translated = translated.map_err(io::Error::other)?;
            taken += head.bytes;
            if head.status < 200 && head.status != 101 {
                respond.send_informational(translated).map_err(broken)?;
                continue;
            }
            let over = ends(&head, self.method);
            let send = respond.send_response(translated, over).map_err(broken)?;
            self.writing = match head.status {
                101 => Writing::Tunnel(send),
                _ if over => Writing::Over(Some(send)),
                _ => Writing::Body(send, BodyDecoder::new(head.framing)),
            };
        }
        Ok(taken)
    }

    /// Takes body bytes from `slices`, from `skip` on, as far as the windows allow; how many.
    fn take_body(&mut self, slices: &[IoSlice<'_>], skip: usize) -> io::Result<usize> {
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let waiting = all.saturating_sub(skip);
        let (send, decoder) = match &mut self.writing {
            Writing::Body(send, decoder) => (send, Some(decoder)),
            Writing::Tunnel(send) => (send, None),
            Writing::Over(_) => return Ok(waiting), // nothing follows a complete response
            Writing::Heads(_) => return Ok(0),
        };
        if waiting == 0 {
            return Ok(0);
        }
        send.reserve_capacity(waiting.min(limits::H2_SEND_BUFFER_BYTES));
        let room = send.capacity().min(waiting);
        // The end of a chunked body is framing alone, and needs no window.
        let room = if room == 0 && decoder.as_ref().is_some_and(|decoder| decoder.bulk() == 0) {
            waiting.min(limits::CHUNK_FRAME_BYTES_MAX)
        } else {
            room
        };
        if room == 0 {
            return Ok(0);
        }
        let mut bytes = gather(slices, skip, room);
        let Some(decoder) = decoder else {
            send.send_data(Bytes::from(bytes), false).map_err(broken)?;
            return Ok(room);
        };
        let decoded = decoder.decode(&mut bytes).map_err(io::Error::other)?;
        bytes.truncate(decoded.payload);
        let trailers =
            if decoded.done { fields::read_trailers(decoder.trailers()) } else { HeaderMap::new() };
        let last = decoded.done && trailers.is_empty();
        if !bytes.is_empty() || last {
            send.send_data(Bytes::from(bytes), last).map_err(broken)?;
        }
        if decoded.done {
            if !trailers.is_empty() {
                send.send_trailers(trailers).map_err(broken)?;
            }
            self.finish();
        }
        Ok(decoded.consumed)
    }

    fn finish(&mut self) {
        self.writing = match std::mem::replace(&mut self.writing, Writing::Over(None)) {
            Writing::Body(send, _) | Writing::Tunnel(send) => Writing::Over(Some(send)),
            other => other,
        };
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.worker.pool.give(std::mem::take(&mut self.text));
    }
}

impl Stream for Inbound {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_readable() {
            return Poll::Ready(());
        }
        if self.give_window_back().is_err() {
            self.reading = Reading::Gone;
        }
        self.poll_arrival(cx)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.writing {
            Writing::Heads(_) | Writing::Over(_) => Poll::Ready(()),
            Writing::Body(send, _) | Writing::Tunnel(send) => {
                if send.capacity() > 0 {
                    return Poll::Ready(());
                }
                // The end of the stream, or an error, is for the next write to find.
                send.poll_capacity(cx).map(|_| ())
            }
        }
    }

    fn is_readable(&self) -> bool {
        self.has_text() || !self.data.is_empty() || matches!(self.reading, Reading::Ending | Reading::Gone)
    }

    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if self.has_text() {
            return Ok(Some(self.read_text(buf)));
        }
        self.give_window_back()?;
        let mut filled = 0;
        loop {
            if self.data.is_empty() && self.poll_arrival(&mut Context::from_waker(Waker::noop())).is_pending()
            {
                break; // whoever waits asks again, with a waker of its own
            }
            match self.reading {
                Reading::Gone => return Err(ErrorKind::ConnectionReset.into()),
                Reading::Ending if self.data.is_empty() && filled > 0 => break,
                Reading::Ending if self.data.is_empty() => {
                    let end = self.end()?;
                    return if self.has_text() { Ok(Some(self.read_text(buf))) } else { Ok(end) };
                }
                Reading::Open | Reading::Ending | Reading::Quiet => {}
            }
            match self.hand_over(buf.get_mut(filled..).unwrap_or_default()) {
                0 => break,
                n => filled += n,
            }
        }
        Ok((filled > 0).then_some(filled))
    }

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        if matches!(self.writing, Writing::Heads(_)) {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            taken = self.take_heads(first)?;
        }
        loop {
            match self.take_body(slices, taken)? {
                0 => return Ok(taken),
                n => taken += n,
            }
        }
    }

    fn shutdown_write(&mut self) {
        if let Writing::Tunnel(send) = &mut self.writing {
            let _ = send.send_data(Bytes::new(), true); // a stream that is gone needs no end
            self.finish();
        }
    }
}

/// Whether nothing follows this head.
fn ends(head: &ResponseHead, method: Method) -> bool {
    method == Method::Head || matches!(head.framing, Framing::None | Framing::Length(0)) && head.status != 101
}

/// Moves the first `n` bytes of `data` to `out`.
fn take(data: &mut Bytes, out: &mut [u8], n: usize) {
    out.iter_mut().zip(data.get(..n).unwrap_or_default()).for_each(|(to, from)| *to = *from);
    data.advance(n);
}

/// At most `most` bytes of `slices` from byte `skip` on.
fn gather(slices: &[IoSlice<'_>], mut skip: usize, most: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(most);
    for slice in slices {
        let rest = slice.get(skip.min(slice.len())..).unwrap_or_default();
        skip = skip.saturating_sub(slice.len());
        let here = rest.len().min(most - bytes.len());
        bytes.extend_from_slice(rest.get(..here).unwrap_or_default());
    }
    bytes
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, error)
}
