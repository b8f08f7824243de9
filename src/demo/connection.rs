//! One connection: requests one after the other, until either side ends it.

use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::{Framing, Reply, TEXT};
use super::request::{self, Arrival, Request};
use super::route::{self, Endpoint};
use super::wire::Wire;
use super::{bytes, drip, headers, not_found, page, slow, sse, status, upload, websocket};
use std::io;
use std::net::TcpStream;
use std::time::SystemTime;

/// Serves a connection to its end.
pub(super) fn serve(stream: TcpStream) {
    let Ok(mut wire) = Wire::new(stream) else { return };
    while let Ok(next) = serve_next(&mut wire) {
        match next {
            Next::Request => {}
            Next::Linger => return wire.linger(),
            Next::Close => return,
        }
    }
}

/// Tells a client that there is no room for it.
pub(super) fn refuse_for_overload(stream: TcpStream) {
    let Ok(mut wire) = Wire::new(stream) else { return };
    if refuse(&mut wire, 503, "the demo origin serves no more connections at once").is_ok() {
        wire.linger();
    }
}

/// What becomes of a connection after a request.
enum Next {
    /// Another request may follow.
    Request,
    /// It ends, and the client may still be sending.
    Linger,
    /// It has ended already.
    Close,
}

fn serve_next(wire: &mut Wire) -> Result<Next, Fault> {
    match request::next(wire)? {
        Arrival::Request(request) => serve_request(&request, wire),
        Arrival::Closed => Ok(Next::Close),
        Arrival::Refused(error) => {
            refuse(wire, error.status(), &error.to_string())?;
            Ok(Next::Linger)
        }
        Arrival::TooSlow => {
            refuse(wire, 408, "the request head took too long")?;
            Ok(Next::Linger)
        }
    }
}

/// Answers what never became a request.
fn refuse(wire: &mut Wire, status: u16, text: &str) -> io::Result<()> {
    let body = format!("{text}\n");
    let mut bytes =
        Reply::new(status, TEXT).encode(Framing::Length(body.len() as u64), false, SystemTime::now());
    bytes.extend_from_slice(body.as_bytes());
    wire.write(&bytes)
}

fn serve_request(request: &Request, wire: &mut Wire) -> Result<Next, Fault> {
    let mut exchange = Exchange::new(request, wire);
    match dispatch(&mut exchange) {
        Ok(()) => {}
        Err(fault) if fault.is_bad_request() && !exchange.is_head_sent() => {
            exchange.refuse(400, &fault.to_string())?;
        }
        Err(fault) => return Err(fault),
    }
    match exchange.complete() {
        Ok(true) => Ok(Next::Request),
        Ok(false) | Err(Fault::Body(_)) => Ok(Next::Linger),
        Err(fault) => Err(fault),
    }
}

fn dispatch(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    let Some(found) = route::find(exchange.request().path()) else {
        return not_found::serve(exchange);
    };
    match found.endpoint {
        Endpoint::Page => page::serve(exchange),
        Endpoint::Sse => sse::serve(exchange),
        Endpoint::WebSocket => websocket::serve(exchange),
        Endpoint::Slow => slow::serve(exchange),
        Endpoint::Drip => drip::serve(exchange),
        Endpoint::Bytes => bytes::serve_length(exchange, found.argument),
        Endpoint::Chunked => bytes::serve_chunked(exchange, found.argument),
        Endpoint::Upload => upload::serve_echo(exchange),
        Endpoint::UploadDiscard => upload::serve_discard(exchange),
        Endpoint::Status => status::serve(exchange, found.argument),
        Endpoint::Headers => headers::serve(exchange),
    }
}
