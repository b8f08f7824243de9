//! What is counted by route: a shard for each route and worker, found by the route's place in the configuration.
//!
//! ```text
//!   worker ── owns ──▶ Shard ── publishes ──▶ RouteShards: name ─▶ RouteShard, …   (swapped in whole with the site)
//!   report ── reads ──▶ those of every worker, by the names of the configuration of now
//! ```
//! A worker alone writes its shards and decides which there are; it keeps those of routes that stay, by name, and drops those of
//! routes that are gone. So there are as many series as the configuration has routes, whatever the traffic. [`super::totals`] adds
//! them up.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::cell::add;
use super::errors::Errors;
use super::histogram::{Histogram, Scale};

/// Classes of statuses, `1xx` to `5xx`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The place of the class of `status` in [`CLASSES`]. An invalid status counts as 5xx (RFC 9110 §15).
const fn class(status: u16) -> usize {
    match status {
        100..=199 => 0,
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        _ => 4,
    }
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Active {
    /// Exchanges, streams and tunnels included.
    Exchanges,
    /// Responses without a length known beforehand.
    Streams,
    /// Tunnels.
    Tunnels,
}

impl Active {
    /// Everything that may be under way, in the order of declaration.
    pub const ALL: [Active; 3] = [Active::Exchanges, Active::Streams, Active::Tunnels];
}

/// An exchange that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Status sent; 0 when none was.
    pub status: u16,
    /// RFC 9209 type of what went wrong.
    pub error: Option<&'static str>,
    /// Attempts beyond the first.
    pub retries: u8,
    /// It was a tunnel: its duration says nothing about how fast anybody answers.
    pub tunnel: bool,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From the first byte of the request to the end.
    pub duration: Duration,
    /// From there to the head of the response.
    pub first_byte: Option<Duration>,
}

/// What one worker counts for one route.
#[derive(Debug)]
#[repr(align(128))]
pub struct RouteShard {
    pub(super) classes: [AtomicU64; CLASSES.len()],
    pub(super) active: [AtomicU64; Active::ALL.len()],
    pub(super) retries: AtomicU64,
    pub(super) errors: Errors,
    pub(super) durations: [Histogram; CLASSES.len()],
    pub(super) first_byte: Histogram,
    pub(super) gap: Histogram,
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
}

impl RouteShard {
    /// All zero.
    #[must_use]
    pub const fn new() -> RouteShard {
        RouteShard {
            classes: [const { AtomicU64::new(0) }; CLASSES.len()],
            active: [const { AtomicU64::new(0) }; Active::ALL.len()],
            retries: AtomicU64::new(0),
            errors: Errors::new(),
            durations: [const { Histogram::new(Scale::Time) }; CLASSES.len()],
            first_byte: Histogram::new(Scale::Time),
            gap: Histogram::new(Scale::Time),
            request_bytes: Histogram::new(Scale::Size),
            response_bytes: Histogram::new(Scale::Size),
        }
    }

    /// One more of `what` is under way. Only the owner may call this, as everything here that counts.
    #[inline]
    pub fn enter(&self, what: Active) {
        if let Some(cell) = self.active.get(what as usize) {
            add(cell, 1);
        }
    }

    /// One of `what` has ended.
    #[inline]
    pub fn leave(&self, what: Active) {
        if let Some(cell) = self.active.get(what as usize) {
            add(cell, u64::MAX); // one less: sums wrap
        }
    }

    /// Time between two arrivals of a streamed body's bytes.
    #[inline]
    pub fn observe_gap(&self, gap: Duration) {
        self.gap.observe(micros(gap));
    }

    /// Counts an exchange that has ended.
    pub fn record(&self, ended: &Ended) {
        let class = class(ended.status);
        if ended.status > 0 {
            self.classes.get(class).into_iter().for_each(|cell| add(cell, 1));
            self.durations
                .get(class)
                .filter(|_| !ended.tunnel)
                .into_iter()
                .for_each(|it| it.observe(micros(ended.duration)));
        }
        if let Some(first_byte) = ended.first_byte {
            self.first_byte.observe(micros(first_byte));
        }
        if let Some(error) = ended.error {
            self.errors.count(error);
        }
        if ended.retries > 0 {
            add(&self.retries, u64::from(ended.retries));
        }
        self.request_bytes.observe(ended.bytes_in);
        self.response_bytes.observe(ended.bytes_out);
    }
}

impl Default for RouteShard {
    fn default() -> RouteShard {
        RouteShard::new()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The shards of one worker.
#[derive(Clone, Debug, Default)]
pub struct RouteShards(Vec<(Box<str>, Arc<RouteShard>)>);

impl RouteShards {
    /// Shards for routes of these names: those that were there go on counting.
    #[must_use]
    pub fn next<'a>(&self, names: impl Iterator<Item = &'a str>) -> RouteShards {
        let shard = |name: &'a str| (name.into(), self.of(name).map(Arc::clone).unwrap_or_default());
        RouteShards(names.map(shard).collect())
    }

    /// Those of all routes, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RouteShard>> {
        self.0.iter().map(|(_, shard)| shard)
    }

    /// That of the route of this name.
    pub(super) fn of(&self, name: &str) -> Option<&Arc<RouteShard>> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, shard)| shard)
    }
}
