//! A client's stream, as the HTTP/1.1 connection of one request that the engine takes it for.
//!
//! ```text
//!   reading   head ─▶ body ─▶ quiet: the message is over, and only a reset has something to say
//!   writing   interim heads ─▶ final head ─▶ body, by its framing ─▶ over
//! ```
//! Dropping it before the response is over resets the stream (CANCEL); dropping it behind a complete response, while
//! the request is still coming, tells the client to stop without blame (NO_ERROR). Both are what `h2` does itself. A
//! request that is whole by its length has nothing to stop: its end is awaited for a moment.

use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};

use crate::h1::head::{Parsed, parse_response};
use crate::h1::{BodyDecoder, Framing, Method, ResponseHead};
use crate::proxy::forward::Source;
use crate::translate::{Body, Malformed, own_heads, response};

use super::super::transport::Stream;
use super::super::worker::Worker;
use super::broken;
use super::receiving::{Receiving, Stage, keep_until};
use super::sending::{Rest, Sending};

/// Where writing stands.
#[derive(Debug)]
enum Writing {
    /// Before the final head.
    Heads(SendResponse<Bytes>),
    /// Behind it.
    Rest(Sending),
}

/// A client's stream.
#[derive(Debug)]
pub struct Inbound {
    worker: Rc<Worker>,
    method: Method,
    receiving: Receiving,
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
        let mut receiving = Receiving::new(Rc::clone(&worker), head);
        receiving.begin(framing, body);
        Inbound { worker, method, receiving, writing: Writing::Heads(respond) }
    }

    /// Takes the heads that `bytes` begins with, up to and with the final one; how many bytes they are.
    fn take_heads(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limits = own_heads(&self.worker.views.latest().config.message);
        let mut taken = 0;
        let mut fields = self.worker.fields.borrow_mut();
        while let Writing::Heads(respond) = &mut self.writing {
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let parsed = parse_response(rest, &limits, self.method, &mut fields);
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
            let stream = respond.send_response(translated, over).map_err(broken)?;
            let rest = match head.status {
                101 => Rest::Tunnel,
                _ if over => Rest::Nothing,
                _ => Rest::Body(BodyDecoder::new(head.framing)),
            };
            self.writing = Writing::Rest(Sending::new(stream, rest));
        }
        Ok(taken)
    }
}

/// Looks for data, the end, or a reset.
fn poll_arrival(receiving: &mut Receiving, writing: &mut Writing, cx: &mut Context<'_>) -> Poll<()> {
    match receiving.stage {
        Stage::Open => receiving.poll_body(cx),
        Stage::Quiet => {
            let reset = match writing {
                Writing::Heads(respond) => respond.poll_reset(cx).map(Result::ok),
                Writing::Rest(sending) => sending.poll_reset(cx),
            };
            reset.map(|reason| receiving.lose(reason))
        }
        Stage::Ending | Stage::Gone => Poll::Ready(()),
    }
}

impl Stream for Inbound {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.receiving.is_readable() {
            return Poll::Ready(());
        }
        if self.receiving.give_window_back().is_err() {
            self.receiving.lose(None);
        }
        poll_arrival(&mut self.receiving, &mut self.writing, cx)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.writing {
            Writing::Heads(_) => Poll::Ready(()),
            Writing::Rest(sending) => sending.poll_writable(cx),
        }
    }

    fn is_readable(&self) -> bool {
        self.receiving.is_readable()
    }

    fn absorb(&mut self, cx: &mut Context<'_>) {
        self.receiving.absorb(cx);
    }

    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let Inbound { receiving, writing, .. } = self;
        let read = receiving.try_read(buf, |receiving, cx| poll_arrival(receiving, writing, cx));
        if read.as_ref().is_err_and(|error| error.get_ref().is_some_and(|why| why.is::<Malformed>())) {
            self.reset(Reason::PROTOCOL_ERROR); // trailers: RFC 9113 §8.1.1
        }
        read
    }

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        if matches!(self.writing, Writing::Heads(_)) {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            taken = self.take_heads(first)?;
        }
        match &mut self.writing {
            Writing::Heads(_) => Ok(taken),
            Writing::Rest(sending) => Ok(taken + sending.take(slices, taken)?),
        }
    }

    fn shutdown_write(&mut self) {
        if let Writing::Rest(sending) = &mut self.writing {
            sending.end_tunnel();
        }
    }

    fn reset(&mut self, reason: Reason) {
        match &mut self.writing {
            Writing::Heads(respond) => respond.send_reset(reason),
            Writing::Rest(sending) => sending.reset(reason),
        }
    }

    fn reset_by_peer(&self) -> Option<Reason> {
        self.receiving.reason
    }

    /// A request is over with END_STREAM, which may come behind the last byte that its length announced. A reset before that,
    /// without blame though it is, breaks clients that are about to send it: httpx for one, which sends it in a frame of
    /// its own, behind each body, and fails the request whose response it has.
    fn part(mut self: Box<Self>) {
        let over = matches!(&self.writing, Writing::Rest(sending) if sending.is_over());
        if over && !self.receiving.is_tunnel() && self.receiving.awaits_end() {
            let worker = Rc::clone(&self.worker);
            keep_until(&worker, move |cx| self.receiving.poll_body(cx));
        }
    }
}

/// Whether nothing follows this head.
fn ends(head: &ResponseHead, method: Method) -> bool {
    method == Method::Head || matches!(head.framing, Framing::None | Framing::Length(0)) && head.status != 101
}
