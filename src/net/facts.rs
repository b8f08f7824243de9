//! What is remembered of an exchange for its access record.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::h1::{Framing, RequestHead};
use crate::limits;
use crate::proxy::error::Failure;
use crate::proxy::forward::{self, Hop, Source};
use crate::telemetry::routes::Ended;
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

impl Facts {
    /// The head of the response has come.
    pub(super) fn response_begins(&mut self, framing: Framing) {
        self.tally.iter_mut().for_each(|tally| tally.response_begins(framing));
    }

    /// `n` bytes of the response's body have come, framing included.
    #[inline]
    pub(super) fn body_arrives(&mut self, n: usize, now: Timestamp) {
        self.tally.iter_mut().for_each(|tally| tally.body_arrives(n, now));
    }

    /// The exchange has become a tunnel.
    pub(super) fn tunnel_begins(&mut self) {
        self.tally.iter_mut().for_each(Tally::tunnel_begins);
    }

    /// Counts the exchange, which has ended, for its route.
    pub(super) fn count_for_route(&mut self, now: Timestamp) {
        let Some(tally) = self.tally.take() else { return };
        tally.record(&Ended {
            status: self.status,
            error: self.failure.map(Failure::error_type),
            retries: self.retries,
            tunnel: self.tunnel,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration: now.since(self.started),
            first_byte: self.responded.map(|at| at.since(self.started)),
        });
    }
}

#[cfg(test)]
mod tests {
    //! Goal: what is under way ends, and gaps are those of streams. Method: a table of one shard, and a clock by hand.

    use std::time::Duration;

    use std::sync::Arc;

    use super::super::tally::RouteTable;
    use super::*;
    use crate::telemetry::metrics::Shard;
    use crate::telemetry::totals::Totals;

    struct Counted {
        worker: Arc<Shard>,
        facts: Facts,
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(0).after(Some(Duration::from_millis(ms)))
    }

    fn begin() -> Counted {
        let worker = Arc::new(Shard::new());
        let table: RouteTable = worker.serve_routes(["a"].into_iter()).iter().map(Arc::clone).collect();
        let mut facts = Facts::new(at(0), at(0));
        assert!(Tally::begin(&table, 1).is_none(), "there is no such route");
        facts.tally = Tally::begin(&table, 0);
        Counted { worker, facts }
    }

    impl Counted {
        fn totals(&self) -> Totals {
            Totals::of(&[Arc::clone(&self.worker)], ["a"].into_iter()).remove(0)
        }
    }

    #[test]
    fn gaps_are_those_between_arrivals_of_a_stream() {
        let mut it = begin();
        it.facts.response_begins(Framing::Chunked);
        for (n, ms) in [(0, 10), (5, 100), (5, 100), (5, 400), (0, 500), (5, 1_400)] {
            it.facts.body_arrives(n, at(ms));
        }
        let gap = it.totals().gap;
        assert_eq!((gap.count(), gap.sum()), (2, 300_000 + 1_000_000));
    }

    #[test]
    fn a_download_has_no_gaps_and_is_no_stream() {
        let mut it = begin();
        it.facts.response_begins(Framing::Length(100));
        it.facts.body_arrives(50, at(1));
        it.facts.body_arrives(50, at(2));
        assert_eq!((it.totals().gap.count(), it.totals().active), (0, [1, 0, 0]));
    }

    #[test]
    fn what_is_under_way_ends_with_its_record_or_without() {
        let mut it = begin();
        it.facts.response_begins(Framing::UntilClose);
        it.facts.tunnel_begins();
        assert_eq!(it.totals().active, [1, 1, 1]);
        it.facts.status = 200;
        it.facts.count_for_route(at(7));
        it.facts.count_for_route(at(8));
        assert_eq!((it.totals().active, it.totals().classes), ([0; 3], [0, 1, 0, 0, 0]));
        let mut dropped = begin();
        dropped.facts = Facts::new(at(0), at(0)); // as when its task panicked
        assert_eq!((dropped.totals().active, dropped.totals().classes), ([0; 3], [0; 5]));
    }
}
