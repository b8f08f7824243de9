//! Routes: which requests, and what becomes of them.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::limits;
use crate::time::Timeouts;

/// Some of the requests, and what becomes of them.
///
/// Of all routes that match a request the most specific one has it: an exact host before a wildcard before any host,
/// then an exact path before a prefix, a longer prefix before a shorter one, then one that names methods, then one that
/// names more fields, then the one that is written first.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name, for logs and metrics; no two routes share one.
    pub name: Box<str>,
    /// Which requests.
    pub matches: Matches,
    /// What becomes of them.
    pub action: Action,
    /// Changes to the fields of requests, when they are forwarded.
    pub request_fields: FieldEdits,
    /// Changes to the fields of responses, made here or relayed.
    pub response_fields: FieldEdits,
    /// One timeout per phase. Those that run before a request is understood are not a route's.
    pub timeouts: Timeouts,
    /// Bytes of a request body; `None` is no limit.
    pub body_bytes_max: Option<u64>,
    /// What is tried again.
    pub retry: Retry,
    /// Who may ask how often.
    pub limits: Vec<Limit>,
}

impl Route {
    /// Every request to the first group.
    #[must_use]
    pub fn everything(timeouts: Timeouts, body_bytes_max: Option<u64>) -> Route {
        Route {
            name: "default".into(),
            matches: Matches::default(),
            action: Action::Forward { group: 0, rewrite: PathRewrite::Keep },
            request_fields: FieldEdits::default(),
            response_fields: FieldEdits::default(),
            timeouts,
            body_bytes_max,
            retry: Retry::default(),
            limits: Vec::new(),
        }
    }
}

/// Which requests; everything that is named has to be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Any of these hosts; empty is every host.
    pub hosts: Vec<Host>,
    /// The path.
    pub path: PathMatch,
    /// Any of these methods; empty is every method.
    pub methods: Vec<Box<str>>,
    /// All of these fields.
    pub fields: Vec<FieldMatch>,
}

/// A host, in lower case and without its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// This one.
    Exact(Box<str>),
    /// `*.example.com`, kept as `example.com`: any one label in front of it.
    Wildcard(Box<str>),
}

impl fmt::Display for Host {
    /// The form that the configuration file has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Exact(name) => f.write_str(name),
            Host::Wildcard(name) => write!(f, "*.{name}"),
        }
    }
}

/// Which paths. The query is no part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This one.
    Exact(Box<str>),
    /// This one, and what is below it: `/a` matches `/a` and `/a/b` but not `/ab`; `/a/` matches `/a/b` but not `/a`.
    Prefix(Box<str>),
}

impl Default for PathMatch {
    fn default() -> Self {
        PathMatch::Prefix("/".into())
    }
}

/// A field that a request must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldMatch {
    /// Its name, in lower case.
    pub name: Box<str>,
    /// One of its values, byte for byte; `None` is any.
    pub value: Option<Box<str>>,
}

/// What becomes of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// They are forwarded.
    Forward {
        /// Index in [`super::Config::groups`].
        group: usize,
        /// The path that is forwarded.
        rewrite: PathRewrite,
    },
    /// They are told to ask elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where.
        location: Location,
    },
    /// They are answered.
    Respond {
        /// 200 to 599.
        status: u16,
        /// Content-Type; `None` where there is no body.
        content_type: Option<Box<str>>,
        /// The body.
        body: Box<str>,
    },
}

/// The path that is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathRewrite {
    /// As it came.
    #[default]
    Keep,
    /// What [`PathMatch`] names is replaced by this; an empty text takes it away. What is left begins with `/`.
    Prefix(Box<str>),
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// To this URI or path.
    Fixed(Box<str>),
    /// The same target with another scheme, host or path in front; what is `None` stays.
    Parts {
        /// `http` or `https`.
        scheme: Option<Box<str>>,
        /// Host, with a port if it is not the scheme's own.
        host: Option<Box<str>>,
        /// The path.
        path: PathRewrite,
    },
}

/// Changes to fields, made in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Names of fields that are taken away, in lower case.
    pub remove: Vec<Box<str>>,
    /// Fields that are there once, with this value, whatever came. Names in lower case.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Fields that are added to what came.
    pub add: Vec<(Box<str>, Box<str>)>,
}

impl FieldEdits {
    /// Nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// What is tried again, on another endpoint if there is one. Never once a byte of a response has been passed on, and never a
/// request whose body is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The endpoint could not be connected to.
    pub connect_failure: bool,
    /// The endpoint refused the stream, and has not looked at the request (RFC 9113 §8.7).
    pub refused_stream: bool,
    /// The connection broke before a response; for idempotent methods only (RFC 9110 §9.2.2).
    pub reset_before_response: bool,
    /// Responses with these statuses; for safe methods only (RFC 9110 §9.2.1).
    pub statuses: Vec<u16>,
    /// Attempts after the first.
    pub max: u8,
    /// Retries in a hundred requests, per worker; a few are always free.
    pub budget_percent: u8,
    /// Bytes of a request body that are kept for it; a larger one is sent once.
    pub body_bytes_max: usize,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            connect_failure: true,
            refused_stream: true,
            reset_before_response: false,
            statuses: Vec::new(),
            max: 2,
            budget_percent: 20,
            body_bytes_max: limits::KEPT_BODY_BYTES,
        }
    }
}

/// How often somebody may ask; who asks more is answered with 429 (RFC 6585 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Who counts as one.
    pub key: LimitKey,
    /// Requests in a time.
    pub rate: Option<Rate>,
    /// Requests at once.
    pub concurrent: Option<NonZeroU32>,
}

/// Who counts as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// A client's address (of IPv6, its /64).
    Client,
    /// A value of this request field, in lower case; requests without it count as one.
    Header(Box<str>),
    /// Everybody.
    Route,
}

/// Requests in a time: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// This many
    pub requests: NonZeroU32,
    /// in this time,
    pub per: Duration,
    /// and this many at once, after a pause.
    pub burst: NonZeroU32,
}
