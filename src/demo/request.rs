//! The next request of a connection.

use super::bounds::{HEAD_TIMEOUT, KEEP_ALIVE_IDLE};
use super::query::Query;
use super::wire::{Wire, is_timeout};
use crate::h1::error::HeadError;
use crate::h1::field::Fields;
use crate::h1::head::{Method, Parsed, RequestHead, parse_request};
use crate::limits::MessageLimits;
use std::io;
use std::time::Instant;

/// A request head, on its own: the receive buffer is free for what follows.
pub(super) struct Request {
    bytes: Vec<u8>,
    fields: Fields,
    head: RequestHead,
}

/// What came of waiting for a request.
pub(super) enum Arrival {
    /// A valid request.
    Request(Request),
    /// The client closed, or stayed idle for too long.
    Closed,
    /// The head broke a rule.
    Refused(HeadError),
    /// The head took too long.
    TooSlow,
}

/// Waits for the next request. Idle time is one thing, the time a head takes is another: that is a total, so
/// that a drip feed cannot extend it.
pub(super) fn next(wire: &mut Wire) -> io::Result<Arrival> {
    let limits = MessageLimits::default();
    let mut fields = Fields::new();
    let mut deadline = None;
    loop {
        match parse_request(wire.unread(), &limits, &mut fields) {
            Ok(Parsed::Complete(head)) => return Ok(Arrival::Request(take(wire, head, fields))),
            Ok(Parsed::Partial) => {}
            Err(error) => return Ok(Arrival::Refused(error)),
        }
        let begun = !wire.unread().is_empty();
        let timeout = if begun {
            let now = Instant::now();
            deadline.get_or_insert(now + HEAD_TIMEOUT).saturating_duration_since(now)
        } else {
            KEEP_ALIVE_IDLE
        };
        if timeout.is_zero() {
            return Ok(Arrival::TooSlow);
        }
        match wire.fill(timeout) {
            Ok(0) => return Ok(Arrival::Closed),
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {
                return Ok(if begun { Arrival::TooSlow } else { Arrival::Closed });
            }
            Err(error) => return Err(error),
        }
    }
}

/// Copies the head out of the receive buffer.
fn take(wire: &mut Wire, head: RequestHead, fields: Fields) -> Request {
    let bytes = wire.unread().get(..head.bytes).unwrap_or_default().to_vec();
    wire.consume(head.bytes);
    Request { bytes, fields, head }
}

impl Request {
    /// What the parser made of the head.
    pub(super) fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The head as it was received.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the reply must have no body.
    pub(super) fn is_head(&self) -> bool {
        self.head.method == Method::Head
    }

    /// Path without its query; an absolute-form target may have none.
    pub(super) fn path(&self) -> &str {
        match self.split_path().0 {
            "" => "/",
            path => path,
        }
    }

    /// The query string.
    pub(super) fn query(&self) -> Query<'_> {
        Query(self.split_path().1)
    }

    /// The value of the first field called `name`.
    pub(super) fn field(&self, name: &str) -> Option<&[u8]> {
        let wanted = name.as_bytes();
        let found =
            self.fields.iter().find(|field| field.name.of(&self.bytes).eq_ignore_ascii_case(wanted))?;
        Some(found.value.of(&self.bytes))
    }

    fn split_path(&self) -> (&str, &str) {
        let path = str::from_utf8(self.head.path.of(&self.bytes)).unwrap_or_default();
        path.split_once('?').unwrap_or((path, ""))
    }
}
