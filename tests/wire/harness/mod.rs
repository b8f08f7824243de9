//! What every wire test is built of: the real binary, scripted origins and scripted clients.
//!
//! Blocking sockets and threads only, so that a script reads top to bottom. Every wait has a deadline
//! ([`PATIENCE`]); events are ordered by [`Gate`]s and channels, never by sleeping. Sleeps stand only where the
//! script itself is about time ("one event each 300 ms").

mod exchange;
mod exchange1;
mod exchange2;
pub mod frames;
mod gate;
mod head;
mod http2;
mod http2_origin;
mod log;
mod origin;
mod peer;
mod proxy;
mod tls;

use std::time::{Duration, Instant};

pub use exchange::{
    Abort, Answering, Ask, Asking, Client, Cut, Exchange, Fields, Framing, Piece, Received, Server, fields,
};
pub use exchange1::{Http1Client, Http1Server};
pub use exchange2::{Http2Client, Http2Server};
pub use gate::{Gate, inbox};
pub use head::Head;
pub use http2::{Http2, Opened, get2, post2};
pub use http2_origin::Http2Origin;
pub use log::Line;
pub use origin::{Conn, Origin, answering, dead_address, deaf_listener};
pub use peer::{Chunk, End, Peer, Response};
pub use proxy::{Proxy, binary, fresh_folder, run_to_exit};
pub use tls::{Authority, Folder, Identity, TlsStream};

/// How long any wait may take before the test fails: far more than a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A whole response with a body of known length.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A `GET` of HTTP/1.1 that keeps its connection.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: wire.test\r\n\r\n")
}

/// A `POST` of HTTP/1.1 with a body of known length.
pub fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: wire.test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// One chunk of the chunked coding.
pub fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// The head of a chunked response.
pub const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What a noisy machine may add to a deadline.
pub const SLACK: Duration = Duration::from_millis(900);

/// Asserts that a deadline of `expected` was kept: never early, and late by at most [`SLACK`].
#[track_caller]
pub fn assert_took(since: Instant, expected: Duration) {
    let took = since.elapsed();
    // The wheel counts in ticks and the scripts start their watch after a send: 20 ms for both.
    assert!(took + Duration::from_millis(20) >= expected, "too early: {took:?} instead of {expected:?}");
    assert!(took <= expected + SLACK, "too late: {took:?} instead of {expected:?}");
}

/// Runs a measurement up to five times until it is within `limit`: a claim about the program, not about
/// the load of the machine it is tested on.
#[track_caller]
pub fn assert_within(limit: Duration, mut measure: impl FnMut() -> Duration) {
    let mut tries = Vec::new();
    while tries.len() < 5 {
        let took = measure();
        if took <= limit {
            return;
        }
        tries.push(took);
    }
    panic!("never within {limit:?}: {tries:?}");
}

/// Polls `look` until it yields something or [`PATIENCE`] ends: for facts no channel can announce, such as
/// a line in a file that another process writes.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
