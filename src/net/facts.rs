//! What is remembered of an exchange for its access record.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::h1::RequestHead;
use crate::limits;
use crate::proxy::error::Failure;
use crate::proxy::forward::{self, Hop, Source};
use crate::time::Timestamp;

use super::tally::Tally;
use super::upstream::Place;

/// What the access log says of a request: copied out of its head, which does not live as long.
#[derive(Debug, Default)]
pub struct Line {
    /// Method, authority, target and identifier, one behind the other.
    text: Vec<u8>,
    /// Where each of them ends in `text`.
    ends: [usize; 4],
    /// The client that a trusted proxy speaks for.
    pub client: Option<SocketAddr>,
    /// Protocol and version.
    pub protocol: &'static str,
}

impl Line {
    /// What can be said of a request that was refused: the first words of its first line, if it has one.
    #[must_use]
    pub fn of_refused(bytes: &[u8]) -> Line {
        let mut line = Line::default();
        if let Some(end) = bytes.iter().take(limits::REFUSED_LINE_BYTES_MAX).position(|&b| b == b'\n') {
            let mut words = bytes.get(..end).unwrap_or_default().trim_ascii().split(|&b| b == b' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            line.write([method, &[], target, &[]]);
        }
        line
    }

    /// Copies what is logged of a request.
    pub fn fill(&mut self, trusted_proxies: &[IpNet], head: &RequestHead, source: Source<'_>, hop: Hop<'_>) {
        let told = forward::client_behind(source, hop, trusted_proxies);
        self.client = told.map(|ip| SocketAddr::new(ip, 0));
        self.protocol = if hop.http2 { "HTTP/2.0" } else { head.version.as_str() };
        let bytes = source.bytes;
        let id = forward::request_id(source, hop);
        self.write([head.method_span.of(bytes), head.authority.of(bytes), head.target.of(bytes), id]);
    }

    fn write(&mut self, texts: [&[u8]; 4]) {
        self.text.clear();
        for (end, text) in self.ends.iter_mut().zip(texts) {
            self.text.extend_from_slice(text);
            *end = self.text.len();
        }
    }

    /// Method, authority, target and identifier; each empty where nothing is known.
    #[must_use]
    pub fn texts(&self) -> [&[u8]; 4] {
        let mut start = 0;
        self.ends.map(|end| self.text.get(std::mem::replace(&mut start, end)..end).unwrap_or_default())
    }

    /// Bytes it holds on to.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.text.capacity()
    }
}

/// What the access log says of the exchange beyond its request.
#[derive(Debug)]
pub struct Facts {
    /// First byte of the request.
    pub started: Timestamp,
    /// Head complete.
    pub understood: Timestamp,
    /// Status sent; 0 when none was.
    pub status: u16,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// The endpoint that served.
    pub place: Option<Place>,
    /// Its connection had served before.
    pub reused: bool,
    /// Attempts beyond the first.
    pub retries: u8,
    /// Became a tunnel.
    pub tunnel: bool,
    /// Body bytes to the origin.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Time spent connecting.
    pub connect: Option<Duration>,
    /// When the final response head came.
    pub responded: Option<Timestamp>,
    /// Its part in what is counted by route.
    pub tally: Option<Tally>,
}

impl Facts {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(started: Timestamp, understood: Timestamp) -> Facts {
        Facts {
            started,
            understood,
            status: 0,
            failure: None,
            place: None,
            reused: false,
            retries: 0,
            tunnel: false,
            bytes_in: 0,
            bytes_out: 0,
            connect: None,
            responded: None,
            tally: None,
        }
    }
}
