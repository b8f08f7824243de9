//! One request and its reply, as an endpoint sees them.
//!
//! ```text
//!  no head sent --answer-----------------------------> done
//!       |  \-----open_length--> send_raw ... ---------> done
//!       \--------open_stream--> send ... --> finish --> done
//! ```
//! The request body may be read before, during or after all of this, or not at all: what is left of it is thrown
//! away afterwards. Whether the connection survives is settled when the head goes out, since the head says so.

use super::bounds::{BODY_TIMEOUT, DISCARD_BYTES_MAX};
use super::fault::Fault;
use super::reply::{Framing, Reply, TEXT};
use super::request::Request;
use super::wire::Wire;
use crate::h1::body::BodyDecoder;
use crate::h1::error::BodyError;
use crate::h1::framing::Framing as RequestFraming;
use crate::h1::head::Version;
use std::time::{Duration, SystemTime};

/// A request, its body and the way back.
pub(super) struct Exchange<'c> {
    request: &'c Request,
    wire: &'c mut Wire,
    body: BodyDecoder,
    owes_continue: bool,
    head_sent: bool,
    persistent: bool,
    chunked: bool,
    scratch: Vec<u8>,
}

impl<'c> Exchange<'c> {
    /// The exchange that `request` begins.
    pub(super) fn new(request: &'c Request, wire: &'c mut Wire) -> Exchange<'c> {
        let head = request.head();
        let body = BodyDecoder::new(head.framing);
        Exchange {
            request,
            wire,
            owes_continue: head.expects_continue && !body.is_done(),
            body,
            head_sent: false,
            persistent: head.persistent,
            chunked: false,
            scratch: Vec::new(),
        }
    }

    /// The request.
    pub(super) const fn request(&self) -> &'c Request {
        self.request
    }

    /// The connection, for an endpoint that stops speaking HTTP on it.
    pub(super) fn take_over(&mut self) -> &mut Wire {
        self.head_sent = true;
        self.persistent = false;
        self.wire
    }

    /// Whether it is too late to answer otherwise.
    pub(super) const fn is_head_sent(&self) -> bool {
        self.head_sent
    }

    /// Sends a whole reply: head and body in one write.
    pub(super) fn answer(&mut self, reply: &Reply, body: &[u8]) -> Result<(), Fault> {
        let framing = reply.framing_of(body.len() as u64);
        let mut bytes = self.begin(reply, framing);
        if !self.request.is_head() && framing != Framing::None {
            bytes.extend_from_slice(body);
        }
        Ok(self.wire.write(&bytes)?)
    }

    /// Sends a line of text and gives the connection up: what the client meant is not certain.
    pub(super) fn refuse(&mut self, status: u16, text: &str) -> Result<(), Fault> {
        self.persistent = false;
        self.answer(&Reply::new(status, TEXT), format!("{text}\n").as_bytes())
    }

    /// Sends the head of a reply of `length` bytes, which the caller then gives to [`Exchange::send_raw`] (none in
    /// reply to HEAD).
    pub(super) fn open_length(&mut self, reply: &Reply, length: u64) -> Result<(), Fault> {
        let head = self.begin(reply, Framing::Length(length));
        Ok(self.wire.write(&head)?)
    }

    /// Sends a part of a body of announced length.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.wire.write(bytes)?)
    }

    /// Sends the head of a reply of unknown length: chunked, or until the end of the connection for HTTP/1.0.
    pub(super) fn open_stream(&mut self, reply: &Reply) -> Result<(), Fault> {
        self.chunked = self.request.head().version == Version::Http11;
        let framing = if self.chunked { Framing::Chunked } else { Framing::UntilClose };
        self.persistent &= self.chunked;
        let head = self.begin(reply, framing);
        Ok(self.wire.write(&head)?)
    }

    /// Sends the next part of a stream, in one write. Nothing is sent in reply to HEAD.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() || self.request.is_head() {
            return Ok(()); // an empty chunk would be the last one
        }
        if !self.chunked {
            return self.send_raw(bytes);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        self.scratch.extend_from_slice(bytes);
        self.scratch.extend_from_slice(b"\r\n");
        Ok(self.wire.write(&self.scratch)?)
    }

    /// Ends a stream as complete.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if self.chunked && !self.request.is_head() {
            self.send_raw(b"0\r\n\r\n")?;
        }
        Ok(())
    }

    /// Waits, and fails as soon as the client leaves.
    pub(super) fn pause(&self, pause: Duration) -> Result<(), Fault> {
        self.wire.pause(pause)
    }

    /// Asks for the request body, if the client waits to be asked. Comes before any head (RFC 9110 §10.1.1).
    pub(super) fn invite_body(&mut self) -> Result<(), Fault> {
        if self.owes_continue && !self.head_sent {
            self.owes_continue = false;
            self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    /// Waits for the next part of the request body and appends it to `out`. False is the end of the body.
    pub(super) fn read_body(&mut self, out: &mut Vec<u8>) -> Result<bool, Fault> {
        self.next_part(|part| out.extend_from_slice(part)).map(|part| part.is_some())
    }

    /// Whether the connection may carry another request: it was promised, and the rest of this one is out of the
    /// way.
    pub(super) fn complete(mut self) -> Result<bool, Fault> {
        let mut discarded = 0;
        while self.persistent && discarded <= DISCARD_BYTES_MAX {
            match self.next_part(|_| ())? {
                None => return Ok(true),
                Some(bytes) => discarded += bytes,
            }
        }
        Ok(false)
    }

    /// Throws the request body away and counts its bytes.
    pub(super) fn count_body(&mut self) -> Result<u64, Fault> {
        let mut bytes = 0;
        while let Some(part) = self.next_part(|_| ())? {
            bytes += part;
        }
        Ok(bytes)
    }

    /// Hands the next part of the request body to `take` and says how long it is; `None` at the end.
    fn next_part(&mut self, mut take: impl FnMut(&[u8])) -> Result<Option<u64>, Fault> {
        while !self.body.is_done() {
            if self.wire.unread().is_empty() && self.wire.fill(BODY_TIMEOUT)? == 0 {
                return Err(BodyError::Truncated.into());
            }
            let buf = self.wire.unread_mut();
            let decoded = self.body.decode(buf)?;
            take(buf.get(..decoded.payload).unwrap_or_default());
            self.wire.consume(decoded.consumed);
            if decoded.payload > 0 {
                return Ok(Some(decoded.payload as u64));
            }
        }
        Ok(None)
    }

    /// The bytes of a head, after which nothing about the connection changes any more.
    fn begin(&mut self, reply: &Reply, framing: Framing) -> Vec<u8> {
        debug_assert!(!self.head_sent);
        self.head_sent = true;
        // A client that was not invited may send its body or not, nobody can tell; a huge one is not worth reading.
        let huge = match self.request.head().framing {
            RequestFraming::Length(length) => length > DISCARD_BYTES_MAX && !self.body.is_done(),
            RequestFraming::None | RequestFraming::Chunked | RequestFraming::UntilClose => false,
        };
        self.persistent &= !self.owes_continue && !huge;
        reply.encode(framing, self.persistent, SystemTime::now())
    }
}
