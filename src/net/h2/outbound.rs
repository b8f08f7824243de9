//! An origin's stream, as the HTTP/1.1 connection that the engine takes it for.
//!
//! ```text
//!   writing   head ─▶ body, by its framing ─▶ over
//!   reading   interim heads ─▶ final head ─▶ body ─▶ end
//! ```
//! Dropping it before both messages are over resets the stream (CANCEL), and gives its seat on the connection back.

use std::future::Future as _;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::Response;
use tungstenite::handshake::derive_accept_key;

use crate::h1::head::{Parsed, parse_request};
use crate::h1::{BodyDecoder, Framing, Method};
use crate::proxy::error::Failure;
use crate::proxy::forward::Source;
use crate::translate::{Body, Malformed, own_heads, request, response};

use super::super::transport::{Broken, Stream};
use super::super::worker::Worker;
use super::link::Seat;
use super::receiving::{Receiving, Stage, keep_until};
use super::sending::{Rest, Sending};

/// A request whose head is out.
#[derive(Debug)]
struct Asked {
    method: Method,
    /// The answer to the key of the WebSocket that was asked for.
    accept: Option<String>,
    response: ResponseFuture,
}

/// Where the exchange on this stream stands.
#[derive(Debug)]
enum Talk {
    /// Nothing was said.
    Fresh,
    /// The response head is awaited.
    Asked(Asked),
    /// It has come.
    Answered,
    /// It failed in a way that has a name.
    Failed(Failure),
}

/// What is said on the stream, beside what is received. The seat is last: it is given back behind the stream's handles.
#[derive(Debug)]
struct Dialog {
    talk: Talk,
    sending: Option<Sending>,
    seat: Seat,
}

/// An origin's stream.
#[derive(Debug)]
pub struct Outbound {
    worker: Rc<Worker>,
    receiving: Receiving,
    dialog: Dialog,
}

impl Outbound {
    /// A stream about to be opened.
    #[must_use]
    pub fn new(worker: Rc<Worker>, seat: Seat) -> Outbound {
        let receiving = Receiving::new(Rc::clone(&worker), Vec::new());
        Outbound { worker, receiving, dialog: Dialog { talk: Talk::Fresh, sending: None, seat } }
    }

    /// Opens the stream with the head that `bytes` begins with; how many bytes that is.
    fn ask(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        if let Some(named) = request::with_authority(bytes, self.dialog.seat.authority()) {
            return self.ask(&named).map(|taken| taken - (named.len() - bytes.len()));
        }
        let mut fields = self.worker.fields.borrow_mut();
        let limits = own_heads(&self.worker.views.latest().config.message);
        let Ok(Parsed::Complete(head)) = parse_request(bytes, &limits, &mut fields) else {
            return Err(refused(Malformed::Head)); // the engine writes heads whole
        };
        let source = Source { bytes, fields: &fields };
        let tunnel = request::opens_tunnel(&head, source);
        let seat = &mut self.dialog.seat;
        if tunnel && !seat.has_tunnels() {
            return Err(Failure::NoTunnel);
        }
        let request = request::read_head(&head, source, seat.scheme()).map_err(refused)?;
        let over = !tunnel && matches!(head.framing, Framing::None | Framing::Length(0));
        let (response, stream) = seat.open(request, over)?;
        let accept = tunnel.then(|| accept_key(source));
        let rest = match over {
            true => Rest::Nothing,
            false if tunnel => Rest::Tunnel,
            false => Rest::Body(BodyDecoder::new(head.framing)),
        };
        self.dialog.talk = Talk::Asked(Asked { method: head.method, accept, response });
        self.dialog.sending = Some(Sending::new(stream, rest));
        Ok(head.bytes)
    }
}

impl Dialog {
    /// Looks for heads, data, the end, or a reset.
    fn poll_arrival(&mut self, receiving: &mut Receiving, cx: &mut Context<'_>) -> Poll<()> {
        match (&mut self.talk, receiving.stage) {
            (Talk::Fresh, _) | (Talk::Answered, Stage::Quiet) => Poll::Pending,
            (Talk::Asked(asked), _) => match ready!(asked.poll(receiving, cx)) {
                Ok(true) => {
                    self.talk = Talk::Answered;
                    // An answer that is no tunnel ends what would have been our side of it.
                    match &mut self.sending {
                        Some(sending) if !receiving.is_tunnel() => sending.end_tunnel(),
                        Some(_) | None => {}
                    }
                    Poll::Ready(())
                }
                Ok(false) => Poll::Ready(()),
                Err(error) => {
                    let named = match error {
                        Unanswered::Malformed(malformed) => {
                            Some(Failure::BadResponse(malformed.head_error()))
                        }
                        Unanswered::Broken(error) => {
                            receiving.lose(error.reason());
                            self.seat.failure(&error)
                        }
                    };
                    receiving.stage = Stage::Gone;
                    if let Some(failure) = named {
                        self.talk = Talk::Failed(failure);
                    }
                    Poll::Ready(())
                }
            },
            (Talk::Answered, Stage::Open) => receiving.poll_body(cx),
            (Talk::Answered, Stage::Ending | Stage::Gone) | (Talk::Failed(_), _) => Poll::Ready(()),
        }
    }
}

/// Why there is no response head.
enum Unanswered {
    Malformed(Malformed),
    Broken(h2::Error),
}

impl Asked {
    /// Hands the next head on; true when it was the final one.
    fn poll(&mut self, receiving: &mut Receiving, cx: &mut Context<'_>) -> Poll<Result<bool, Unanswered>> {
        if let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            let written = response::write_interim(&interim.into_parts().0, receiving.text());
            return Poll::Ready(written.map(|()| false).map_err(Unanswered::Malformed));
        }
        let answer = ready!(Pin::new(&mut self.response).poll(cx)).map_err(Unanswered::Broken)?;
        Poll::Ready(self.answered(answer, receiving).map(|()| true).map_err(Unanswered::Malformed))
    }

    fn answered(&self, answer: Response<RecvStream>, receiving: &mut Receiving) -> Result<(), Malformed> {
        let (parts, body) = answer.into_parts();
        let framing = match &self.accept {
            Some(accept) if parts.status.is_success() => {
                response::write_switched(&parts, accept, receiving.text())?;
                Body::Tunnel
            }
            Some(_) | None => {
                response::write_head(&parts, self.method, body.is_end_stream(), receiving.text())?
            }
        };
        receiving.begin(framing, body);
        Ok(())
    }
}

fn refused(malformed: Malformed) -> Failure {
    Failure::BadRequest(malformed.head_error())
}

fn accept_key(source: Source<'_>) -> String {
    let is_key = |name: &[u8]| name.eq_ignore_ascii_case(b"sec-websocket-key");
    let key = source.fields.iter().find(|field| is_key(field.name.of(source.bytes)));
    key.map(|field| derive_accept_key(field.value.of(source.bytes))).unwrap_or_default()
}

impl Stream for Outbound {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.receiving.is_readable() {
            return Poll::Ready(());
        }
        if self.receiving.give_window_back().is_err() {
            self.receiving.lose(None);
        }
        self.dialog.poll_arrival(&mut self.receiving, cx)
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.dialog.sending {
            None => Poll::Ready(()),
            Some(sending) => sending.poll_writable(cx),
        }
    }

    fn is_readable(&self) -> bool {
        self.receiving.is_readable()
    }

    fn absorb(&mut self, cx: &mut Context<'_>) {
        self.receiving.absorb(cx);
    }

    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let Outbound { receiving, dialog, .. } = self;
        let read = receiving.try_read(buf, |receiving, cx| dialog.poll_arrival(receiving, cx));
        match (read, &self.dialog.talk) {
            (Err(_), Talk::Failed(failure)) => Err(Broken(*failure).into()),
            (read, _) => read,
        }
    }

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        if matches!(self.dialog.talk, Talk::Fresh) {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            taken = self.ask(first).map_err(|failure| {
                self.dialog.talk = Talk::Failed(failure);
                self.receiving.lose(None);
                io::Error::from(Broken(failure))
            })?;
        }
        match &mut self.dialog.sending {
            Some(sending) => Ok(taken + sending.take(slices, taken)?),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn shutdown_write(&mut self) {
        if let Some(sending) = &mut self.dialog.sending {
            sending.end_tunnel();
        }
    }

    fn reset(&mut self, reason: Reason) {
        if let Some(sending) = &mut self.dialog.sending {
            sending.reset(reason);
        }
    }

    fn reset_by_peer(&self) -> Option<Reason> {
        self.receiving.reason
    }

    /// A response is over with END_STREAM (RFC 9113 §8.1), which may come behind the last byte that its length announced.
    /// A reset before that would tell the origin of a request that was cancelled.
    fn part(mut self: Box<Self>) {
        if !self.receiving.awaits_end() {
            return;
        }
        let worker = Rc::clone(&self.worker);
        keep_until(&worker, move |cx| self.receiving.poll_body(cx));
    }
}
