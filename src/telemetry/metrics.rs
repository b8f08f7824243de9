//! The metric table: what is counted, and the shard each worker counts in.
//!
//! A worker owns one [`Shard`] and is the only one that writes to it; whoever reports adds the shards up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::cell::add;
use super::errors::Errors;
use super::routes::RouteShards;
use crate::time::Phase;

/// Something that is counted. All counters only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Counter {
    /// Client connections accepted.
    ConnectionsAccepted,
    /// Client connections that ended. Accepted less closed is what is open.
    ConnectionsClosed,
    /// Client connections that this worker accepted and another one serves.
    ConnectionsHandedOver,
    /// Request heads understood and taken on.
    Requests,
    /// Exchanges that ended with 101 as their status: tunnels. Interim responses are not counted.
    Responses1xx,
    /// Exchanges that ended, by class of the status in their access-log line, relayed or made here.
    Responses2xx,
    /// See [`Counter::Responses2xx`].
    Responses3xx,
    /// See [`Counter::Responses2xx`].
    Responses4xx,
    /// See [`Counter::Responses2xx`].
    Responses5xx,
    /// Responses that were cut after their head was sent.
    ExchangesCut,
    /// Request heads refused.
    HeadsRefused,
    /// Request bodies refused.
    BodiesRefused,
    /// Connections to endpoints that were established.
    UpstreamConnects,
    /// Connections to endpoints that failed, by timeout too.
    UpstreamConnectFailures,
    /// Requests sent on a connection that had served before.
    UpstreamReuses,
    /// HTTP/2 connections to origins that did not answer PING.
    UpstreamPingTimeouts,
    /// TLS handshakes with clients that ended well.
    TlsHandshakes,
    /// TLS handshakes with clients that failed, other than by timeout.
    TlsHandshakeFailures,
    /// Connections from peers in `--accept-proxy` without a PROXY header, or with a wrong one, other than by timeout.
    ProxyHeaderFailures,
    /// Requests sent again, for whatever reason.
    Repeats,
    /// Deadlines that expired, by phase.
    TimeoutsHandshake,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsHeader,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsBody,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsConnect,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsRequest,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsStreamIdle,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsWrite,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsTunnel,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsRequestDeadline,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsKeepAlive,
    /// See [`Counter::TimeoutsHandshake`].
    TimeoutsDrain,
    /// Clients that went away before their response ended.
    ClientAborts,
    /// Client connections of HTTP/2 that were cut for a flood.
    ClientFloods,
    /// Client connections beyond `--max-connections-per-client`, closed at once.
    ConnectionsRefused,
    /// Requests beyond a limit of their route, answered with 429.
    RequestsLimited,
    /// Exchanges that became tunnels.
    Tunnels,
    /// Panics caught; each cost one connection.
    ConnectionPanics,
    /// Times that accepting paused for want of descriptors, memory or a free connection.
    AcceptPauses,
    /// Lines of the access log that were dropped because the log writer was behind.
    LogLinesDropped,
    /// Bytes of request bodies and tunnels passed to origins.
    BytesIn,
    /// Bytes of response bodies and tunnels passed to clients.
    BytesOut,
    /// Bytes of bodies and tunnels that were moved inside the kernel, counted as they come.
    BytesSpliced,
    /// Bytes of responses, request bodies and tunnels that were read into this process, counted as they come.
    BytesCopied,
    /// Times that a worker's loop was late by more than 10 ms.
    LoopStalls10,
    /// See [`Counter::LoopStalls10`].
    LoopStalls50,
    /// See [`Counter::LoopStalls10`].
    LoopStalls100,
}

/// Number of counters.
const COUNTERS: usize = Counter::LoopStalls100 as usize + 1;

impl Counter {
    /// Every counter, in the order of declaration.
    pub const ALL: [Counter; COUNTERS] = [
        Counter::ConnectionsAccepted,
        Counter::ConnectionsClosed,
        Counter::ConnectionsHandedOver,
        Counter::Requests,
        Counter::Responses1xx,
        Counter::Responses2xx,
        Counter::Responses3xx,
        Counter::Responses4xx,
        Counter::Responses5xx,
        Counter::ExchangesCut,
        Counter::HeadsRefused,
        Counter::BodiesRefused,
        Counter::UpstreamConnects,
        Counter::UpstreamConnectFailures,
        Counter::UpstreamReuses,
        Counter::UpstreamPingTimeouts,
        Counter::TlsHandshakes,
        Counter::TlsHandshakeFailures,
        Counter::ProxyHeaderFailures,
        Counter::Repeats,
        Counter::TimeoutsHandshake,
        Counter::TimeoutsHeader,
        Counter::TimeoutsBody,
        Counter::TimeoutsConnect,
        Counter::TimeoutsRequest,
        Counter::TimeoutsStreamIdle,
        Counter::TimeoutsWrite,
        Counter::TimeoutsTunnel,
        Counter::TimeoutsRequestDeadline,
        Counter::TimeoutsKeepAlive,
        Counter::TimeoutsDrain,
        Counter::ClientAborts,
        Counter::ClientFloods,
        Counter::ConnectionsRefused,
        Counter::RequestsLimited,
        Counter::Tunnels,
        Counter::ConnectionPanics,
        Counter::AcceptPauses,
        Counter::LogLinesDropped,
        Counter::BytesIn,
        Counter::BytesOut,
        Counter::BytesSpliced,
        Counter::BytesCopied,
        Counter::LoopStalls10,
        Counter::LoopStalls50,
        Counter::LoopStalls100,
    ];

    /// The counter of expired deadlines of `phase`.
    #[must_use]
    pub const fn timeout(phase: Phase) -> Counter {
        match phase {
            Phase::Handshake => Counter::TimeoutsHandshake,
            Phase::Header => Counter::TimeoutsHeader,
            Phase::Body => Counter::TimeoutsBody,
            Phase::Connect => Counter::TimeoutsConnect,
            Phase::Request => Counter::TimeoutsRequest,
            Phase::StreamIdle => Counter::TimeoutsStreamIdle,
            Phase::Write => Counter::TimeoutsWrite,
            Phase::Tunnel => Counter::TimeoutsTunnel,
            Phase::RequestDeadline => Counter::TimeoutsRequestDeadline,
            Phase::KeepAlive => Counter::TimeoutsKeepAlive,
            Phase::Drain => Counter::TimeoutsDrain,
        }
    }

    /// The counter of responses with `status`. An invalid status counts as 5xx (RFC 9110 §15).
    #[must_use]
    pub const fn response(status: u16) -> Counter {
        match status {
            100..=199 => Counter::Responses1xx,
            200..=299 => Counter::Responses2xx,
            300..=399 => Counter::Responses3xx,
            400..=499 => Counter::Responses4xx,
            _ => Counter::Responses5xx,
        }
    }

    /// The name in reports: lower case with `_`, without prefix or unit suffix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Counter::ConnectionsAccepted => "connections_accepted",
            Counter::ConnectionsClosed => "connections_closed",
            Counter::ConnectionsHandedOver => "connections_handed_over",
            Counter::Requests => "requests",
            Counter::Responses1xx => "responses_1xx",
            Counter::Responses2xx => "responses_2xx",
            Counter::Responses3xx => "responses_3xx",
            Counter::Responses4xx => "responses_4xx",
            Counter::Responses5xx => "responses_5xx",
            Counter::ExchangesCut => "exchanges_cut",
            Counter::HeadsRefused => "heads_refused",
            Counter::BodiesRefused => "bodies_refused",
            Counter::UpstreamConnects => "upstream_connects",
            Counter::UpstreamConnectFailures => "upstream_connect_failures",
            Counter::UpstreamReuses => "upstream_reuses",
            Counter::UpstreamPingTimeouts => "upstream_ping_timeouts",
            Counter::TlsHandshakes => "tls_handshakes",
            Counter::TlsHandshakeFailures => "tls_handshake_failures",
            Counter::ProxyHeaderFailures => "proxy_header_failures",
            Counter::Repeats => "repeats",
            Counter::TimeoutsHandshake => "timeouts_handshake",
            Counter::TimeoutsHeader => "timeouts_header",
            Counter::TimeoutsBody => "timeouts_body",
            Counter::TimeoutsConnect => "timeouts_connect",
            Counter::TimeoutsRequest => "timeouts_request",
            Counter::TimeoutsStreamIdle => "timeouts_stream_idle",
            Counter::TimeoutsWrite => "timeouts_write",
            Counter::TimeoutsTunnel => "timeouts_tunnel",
            Counter::TimeoutsRequestDeadline => "timeouts_request_deadline",
            Counter::TimeoutsKeepAlive => "timeouts_keepalive",
            Counter::TimeoutsDrain => "timeouts_drain",
            Counter::ClientAborts => "client_aborts",
            Counter::ClientFloods => "client_floods",
            Counter::ConnectionsRefused => "connections_refused",
            Counter::RequestsLimited => "requests_limited",
            Counter::Tunnels => "tunnels",
            Counter::ConnectionPanics => "connection_panics",
            Counter::AcceptPauses => "accept_pauses",
            Counter::LogLinesDropped => "log_lines_dropped",
            Counter::BytesIn => "bytes_in",
            Counter::BytesOut => "bytes_out",
            Counter::BytesSpliced => "spliced_bytes",
            Counter::BytesCopied => "copied_bytes",
            Counter::LoopStalls10 => "loop_stalls_10",
            Counter::LoopStalls50 => "loop_stalls_50",
            Counter::LoopStalls100 => "loop_stalls_100",
        }
    }
}

/// Something of a worker that goes up and down. Its heart writes it, at least once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Level {
    /// Timers: one for each wait with a deadline.
    Timers,
    /// Idle connections to endpoints.
    UpstreamIdle,
    /// The most that its loop was late, in microseconds.
    LoopStallMax,
}

impl Level {
    /// Every level, in the order of declaration.
    pub const ALL: [Level; 3] = [Level::Timers, Level::UpstreamIdle, Level::LoopStallMax];
}

/// What one worker counts.
///
/// Aligned to 128 bytes, two cache lines, because the prefetcher of common processors fetches lines in
/// pairs: no worker's counting slows another's.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shard {
    counters: [AtomicU64; COUNTERS],
    levels: [AtomicU64; Level::ALL.len()],
    errors: Errors,
    routes: ArcSwapOption<RouteShards>,
}

impl Shard {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Shard {
            counters: [const { AtomicU64::new(0) }; COUNTERS],
            levels: [const { AtomicU64::new(0) }; Level::ALL.len()],
            errors: Errors::new(),
            routes: ArcSwapOption::const_empty(),
        }
    }

    /// Adds `n` to `counter`. Only the worker that owns the shard may call this.
    ///
    /// A load and a store, not `fetch_add`: with one writer they count the same, and the hot path has no
    /// locked instruction. A second writer would be no memory error but would lose counts.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        if let Some(cell) = self.counters.get(counter as usize) {
            add(cell, n);
        }
    }

    /// The value of `counter`, from any thread.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Sets `level`. Only the worker that owns the shard may call this.
    pub fn set(&self, level: Level, value: u64) {
        if let Some(cell) = self.levels.get(level as usize) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// The value of `level`, from any thread.
    #[must_use]
    pub fn level(&self, level: Level) -> u64 {
        self.levels.get(level as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Failures by type, whatever their route.
    #[must_use]
    pub fn errors(&self) -> &Errors {
        &self.errors
    }

    /// Routes of these names are served from now on. Only the worker that owns the shard may call this.
    pub fn serve_routes<'a>(&self, names: impl Iterator<Item = &'a str>) -> Arc<RouteShards> {
        let next = Arc::new(self.routes().next(names));
        self.routes.store(Some(Arc::clone(&next)));
        next
    }

    /// What is counted by route, from any thread.
    #[must_use]
    pub fn routes(&self) -> Arc<RouteShards> {
        self.routes.load_full().unwrap_or_default()
    }
}

impl Default for Shard {
    fn default() -> Self {
        Shard::new()
    }
}

/// The value of `counter` over all workers.
///
/// Shards are read one after another while workers count on, so sums of two counters are not of the
/// same instant.
#[must_use]
pub fn sum(shards: &[Arc<Shard>], counter: Counter) -> u64 {
    shards.iter().map(|shard| shard.value(counter)).fold(0, u64::wrapping_add)
}

const _: () = assert!(align_of::<Shard>() == 128 && size_of::<Shard>().is_multiple_of(128));

#[cfg(test)]
mod tests {
    //! Goal: each counter is its own cell with its own name. Method: count in every one, look at all.

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_is_in_the_order_of_declaration_and_names_are_unique() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
            let name = counter.name();
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
        let names: HashSet<_> = Counter::ALL.into_iter().map(Counter::name).collect();
        assert_eq!(names.len(), COUNTERS);
    }

    #[test]
    fn sums_are_per_counter_over_all_shards() {
        let shards = [Arc::new(Shard::new()), Arc::new(Shard::default()), Arc::new(Shard::new())];
        for (n, counter) in (1..).zip(Counter::ALL) {
            shards[0].add(counter, n);
            shards[2].add(counter, 1_000);
            shards[2].add(counter, 0);
        }
        for (n, counter) in (1..).zip(Counter::ALL) {
            assert_eq!(sum(&shards, counter), n + 1_000);
            assert_eq!(shards[1].value(counter), 0);
        }
        assert_eq!(sum(&[], Counter::Requests), 0);
    }

    #[test]
    fn each_phase_has_the_counter_of_its_name() {
        for phase in Phase::ALL {
            let name = format!("timeouts_{}", phase.name().replace('-', "_"));
            assert_eq!(Counter::timeout(phase).name(), name);
        }
    }

    #[test]
    fn responses_are_counted_by_class() {
        for (status, counter) in [
            (100, Counter::Responses1xx),
            (204, Counter::Responses2xx),
            (304, Counter::Responses3xx),
            (499, Counter::Responses4xx),
            (504, Counter::Responses5xx),
            (600, Counter::Responses5xx),
        ] {
            assert_eq!(Counter::response(status), counter);
        }
    }
}
