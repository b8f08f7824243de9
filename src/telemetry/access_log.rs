//! One record per exchange, written on every exit path, and its two shapes: logfmt and JSON.

use std::net::SocketAddr;
use std::time::Duration;

/// Everything the log says about one exchange. Never a field value that may hold a secret: the query
/// of a target may hold one too, so the worker cuts it off unless `--log-query` asks for it.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// Wall clock at the end of the exchange, microseconds since the Unix epoch.
    pub unix_us: u64,
    /// The client's address, from the socket or from a trusted proxy's word.
    pub client: Option<SocketAddr>,
    /// `X-Request-Id`; empty when the head was never understood.
    pub request_id: &'a [u8],
    /// Method; empty when the head was never understood.
    pub method: &'a [u8],
    /// Host; may be empty.
    pub host: &'a [u8],
    /// Request target; may be empty.
    pub target: &'a [u8],
    /// `HTTP/1.0`, `HTTP/1.1` or empty.
    pub protocol: &'static str,
    /// Status sent to the client; 0 when none was.
    pub status: u16,
    /// RFC 9209 error type; `None` when the exchange ended well.
    pub error: Option<&'static str>,
    /// Phase whose deadline ended the exchange.
    pub phase: Option<&'static str>,
    /// Endpoint that served it; empty when none was reached.
    pub upstream: &'a str,
    /// The upstream connection had served before.
    pub reused: bool,
    /// Endpoints tried beyond the first, repeats included.
    pub retries: u8,
    /// Became a tunnel.
    pub tunnel: bool,
    /// Bytes of request body (tunnel: client to origin) passed to the origin.
    pub bytes_in: u64,
    /// Bytes of response body (tunnel: origin to client) passed to the client.
    pub bytes_out: u64,
    /// First byte of the request to its end.
    pub duration: Duration,
    /// First byte of the request to its complete head.
    pub header: Duration,
    /// Time spent connecting; `None` when a pooled connection served.
    pub connect: Option<Duration>,
    /// First byte of the request to the response head; `None` when there was none.
    pub first_byte: Option<Duration>,
}
