//! Time as data: timestamps, phases, the timeout table and the timer wheel. Nothing here reads a clock.

pub mod wheel;

use std::time::Duration;

/// A point on the worker's monotonic clock, in microseconds since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later than every real timestamp: "no deadline".
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// This timestamp moved later; [`Timestamp::NEVER`] when `timeout` is off or the sum does not fit.
    #[must_use]
    pub fn after(self, timeout: Option<Duration>) -> Timestamp {
        match timeout {
            Some(timeout) => {
                let us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
                Timestamp(self.0.saturating_add(us))
            }
            None => Timestamp::NEVER,
        }
    }

    /// Time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// What a connection is doing while a deadline runs. Each phase has one flag, one log word and one fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Accept to a connection that speaks (TLS: handshake done; plain: first byte).
    Handshake,
    /// First byte of a request to its complete head; total, so a drip feed cannot extend it.
    Header,
    /// Silence of the client while its body is due.
    Body,
    /// TCP and TLS to one endpoint.
    Connect,
    /// Upstream silence before the response head.
    Request,
    /// Upstream silence inside a response.
    StreamIdle,
    /// No progress towards a client that owes us reads.
    Write,
    /// Silence of both directions of a tunnel.
    Tunnel,
    /// The whole exchange.
    RequestDeadline,
    /// Idle client connection.
    KeepAlive,
    /// After the order to stop: how long streams may finish.
    Drain,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 11] = [
        Phase::Handshake,
        Phase::Header,
        Phase::Body,
        Phase::Connect,
        Phase::Request,
        Phase::StreamIdle,
        Phase::Write,
        Phase::Tunnel,
        Phase::RequestDeadline,
        Phase::KeepAlive,
        Phase::Drain,
    ];

    /// The word for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Handshake => "handshake",
            Phase::Header => "header",
            Phase::Body => "body",
            Phase::Connect => "connect",
            Phase::Request => "request",
            Phase::StreamIdle => "stream-idle",
            Phase::Write => "write",
            Phase::Tunnel => "tunnel",
            Phase::RequestDeadline => "request-deadline",
            Phase::KeepAlive => "keepalive",
            Phase::Drain => "drain",
        }
    }
}

/// The timeout of every phase; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `--handshake-timeout`
    pub handshake: Option<Duration>,
    /// `--header-timeout`
    pub header: Option<Duration>,
    /// `--body-timeout`
    pub body: Option<Duration>,
    /// `--connect-timeout`
    pub connect: Option<Duration>,
    /// `--request-timeout`
    pub request: Option<Duration>,
    /// `--stream-idle-timeout`
    pub stream_idle: Option<Duration>,
    /// `--write-timeout`
    pub write: Option<Duration>,
    /// `--tunnel-timeout`
    pub tunnel: Option<Duration>,
    /// `--request-deadline`
    pub request_deadline: Option<Duration>,
    /// `--keepalive-timeout`
    pub keepalive: Option<Duration>,
    /// `--drain-timeout`
    pub drain: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        const fn seconds(n: u64) -> Option<Duration> {
            Some(Duration::from_secs(n))
        }
        Timeouts {
            handshake: seconds(10),
            header: seconds(10),
            body: seconds(60),
            connect: seconds(5),
            request: seconds(60),
            stream_idle: seconds(300),
            write: seconds(60),
            tunnel: seconds(3600),
            request_deadline: None,
            keepalive: seconds(75),
            drain: seconds(30),
        }
    }
}
