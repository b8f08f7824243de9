//! Groups of endpoints: who serves what a route forwards, and how it is shared out among them.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::{Pool, ProxyVersion, Upstream};
use crate::limits;

/// Endpoints that can stand in for each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name, for routes, logs and metrics.
    pub name: Box<str>,
    /// Its members; never empty (in a demo the server adds its own origin before it starts).
    pub members: Vec<Member>,
    /// Who serves the next request.
    pub balance: Balance,
    /// A client stays with the endpoint that served it first.
    pub sticky: Option<Sticky>,
    /// An endpoint that is new, or back, gets its full share after this time; zero is at once.
    pub slow_start: Duration,
    /// Requests with one endpoint at once, all workers together; `None` is no limit.
    pub max_connections: Option<NonZeroU32>,
    /// Where requests wait while every endpoint has that many.
    pub queue: Queue,
    /// When an endpoint is left alone for what its traffic shows; `None` is never.
    pub ejection: Option<Ejection>,
    /// When an endpoint is left alone for what probes show; `None` probes never.
    pub check: Option<Check>,
    /// Idle connections.
    pub pool: Pool,
    /// Connections to members begin with a PROXY header of this version; `None` sends none.
    pub send_proxy: Option<ProxyVersion>,
}

impl Group {
    /// A group of which only this is known.
    #[must_use]
    pub fn new(name: impl Into<Box<str>>, members: Vec<Member>, pool: Pool) -> Group {
        Group {
            name: name.into(),
            members,
            balance: Balance::default(),
            sticky: None,
            slow_start: Duration::ZERO,
            max_connections: None,
            queue: Queue::default(),
            ejection: Some(Ejection::default()),
            check: None,
            pool,
            send_proxy: None,
        }
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What the operator wrote. A name may stand for several endpoints.
    pub upstream: Upstream,
    /// Its share, relative to that of the others.
    pub weight: NonZeroU16,
}

impl From<Upstream> for Member {
    /// With a share as large as anybody's.
    fn from(upstream: Upstream) -> Member {
        Member { upstream, weight: NonZeroU16::MIN }
    }
}

/// Who serves the next request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Of two taken at random, the one with fewer requests.
    #[default]
    LeastRequests,
    /// Everybody in turn.
    RoundRobin,
    /// The one that the key points to, unless it has far more than its share already.
    Hash(HashKey),
}

/// What a consistent hash is taken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, without its port.
    Client,
    /// The value of this request field, in lower case. Requests without it are shared out as if there were no hash.
    Header(Box<str>),
    /// The value of this cookie. Requests without it are shared out as if there were no hash.
    Cookie(Box<str>),
}

/// A cookie that names the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name.
    pub cookie: Box<str>,
    /// `Max-Age`; `None` is for as long as the browser runs.
    pub max_age: Option<Duration>,
    /// `Secure`: sent back over TLS only.
    pub secure: bool,
}

/// Requests that wait for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait, per endpoint.
    pub max: u32,
    /// How long one waits before it is answered with 503.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { max: limits::QUEUE_MAX, timeout: Duration::from_secs(5) }
    }
}

/// When an endpoint is left alone for what its traffic shows (never the last half of a group).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row: refused, reset, late, broken, or answered with 502, 503 or 504. `None` counts none.
    pub consecutive: Option<NonZeroU32>,
    /// Failures in a hundred requests within `window`; `None` counts none.
    pub error_percent: Option<u8>,
    /// Requests within `window` from which on a rate says anything.
    pub requests_min: u32,
    /// How long the rate is taken over.
    pub window: Duration,
    /// How long it is left alone the first time; twice as long each time again.
    pub base: Duration,
    /// The longest it is left alone.
    pub max: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection {
            consecutive: NonZeroU32::new(5),
            error_percent: Some(50),
            requests_min: 20,
            window: Duration::from_secs(10),
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
        }
    }
}

/// Probes of an endpoint, made by the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is done.
    pub probe: Probe,
    /// Time between two probes; a tenth of it is left to chance, so that probes do not march in step.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Good probes in a row that bring an endpoint back.
    pub healthy: u32,
    /// Bad probes in a row that take it out.
    pub unhealthy: u32,
}

impl Check {
    /// With the times and counts that serve most.
    #[must_use]
    pub fn new(probe: Probe) -> Check {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
        Check { probe, interval, timeout, healthy: 2, unhealthy: 3 }
    }
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Connects.
    Tcp,
    /// Asks for a path with GET.
    Http {
        /// The path, and a query if there is one.
        path: Box<str>,
        /// The Host field; `None` is the endpoint's own address.
        host: Option<Box<str>>,
        /// Statuses that are good: first and last of a range.
        expect: (u16, u16),
    },
}
