//! What is counted by route: a shard for each route and worker, found by the route's place in the configuration.
//!
//! ```text
//!   worker ── owns ──▶ Shard ── publishes ──▶ RouteShards: name ─▶ RouteShard, …   (swapped in whole with the site)
//!   report ── reads ──▶ those of every worker, by the names of the configuration of now
//! ```
//! A worker alone writes its shards and decides which there are; it keeps those of routes that stay, by name, and drops those of
//! routes that are gone. So there are as many series as the configuration has routes, whatever the traffic.

use std::array::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::errors::{ERROR_TYPES, ErrorCounts, Errors};
use super::histogram::{Counts, Histogram, Scale};
use super::metrics::{Shard, add};

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
    classes: [AtomicU64; CLASSES.len()],
    active: [AtomicU64; Active::ALL.len()],
    retries: AtomicU64,
    errors: Errors,
    durations: [Histogram; CLASSES.len()],
    first_byte: Histogram,
    gap: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
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

    /// Adds what was counted here to `totals`.
    fn add_to(&self, totals: &mut Totals) {
        let read = |cell: Option<&AtomicU64>| cell.map_or(0, |cell| cell.load(Ordering::Relaxed));
        for (index, to) in totals.classes.iter_mut().enumerate() {
            *to = to.wrapping_add(read(self.classes.get(index)));
        }
        for (index, to) in totals.active.iter_mut().enumerate() {
            *to = to.wrapping_add(read(self.active.get(index)));
        }
        for (to, from) in totals.errors.iter_mut().zip(self.errors.read()) {
            *to = to.wrapping_add(from);
        }
        for (to, from) in totals.durations.iter_mut().zip(&self.durations) {
            to.merge(&from.counts());
        }
        totals.retries = totals.retries.wrapping_add(read(Some(&self.retries)));
        totals.first_byte.merge(&self.first_byte.counts());
        totals.gap.merge(&self.gap.counts());
        totals.request_bytes.merge(&self.request_bytes.counts());
        totals.response_bytes.merge(&self.response_bytes.counts());
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

    fn of(&self, name: &str) -> Option<&Arc<RouteShard>> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, shard)| shard)
    }
}

/// What all workers have counted for one route.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Its name.
    pub name: Box<str>,
    /// Exchanges that ended, by class of their status.
    pub classes: [u64; CLASSES.len()],
    /// What is under way, in the order of [`Active::ALL`].
    pub active: [u64; Active::ALL.len()],
    /// Attempts beyond the first.
    pub retries: u64,
    /// What went wrong, by type.
    pub errors: ErrorCounts,
    /// Durations in microseconds, by class of the status, without tunnels.
    pub durations: [Counts; CLASSES.len()],
    /// Times to the head of the response in microseconds.
    pub first_byte: Counts,
    /// Times between two arrivals of a streamed body's bytes, in microseconds.
    pub gap: Counts,
    /// Bytes of request bodies.
    pub request_bytes: Counts,
    /// Bytes of response bodies.
    pub response_bytes: Counts,
}

impl Totals {
    /// Sums over the workers for the routes of these names.
    #[must_use]
    pub fn of<'a>(shards: &[Arc<Shard>], names: impl Iterator<Item = &'a str>) -> Vec<Totals> {
        let workers: Vec<_> = shards.iter().map(|shard| shard.routes()).collect();
        let sum = |name: &'a str| {
            let mut totals = Totals::nothing(name);
            workers.iter().filter_map(|routes| routes.of(name)).for_each(|shard| shard.add_to(&mut totals));
            // Two of a worker's cells are not read at one instant: a moment's difference is not below zero.
            totals.active.iter_mut().filter(|it| it.cast_signed() < 0).for_each(|it| *it = 0);
            totals
        };
        names.map(sum).collect()
    }

    fn nothing(name: &str) -> Totals {
        Totals {
            name: name.into(),
            classes: [0; CLASSES.len()],
            active: [0; Active::ALL.len()],
            retries: 0,
            errors: [0; ERROR_TYPES.len()],
            durations: from_fn(|_| Counts::new(Scale::Time)),
            first_byte: Counts::new(Scale::Time),
            gap: Counts::new(Scale::Time),
            request_bytes: Counts::new(Scale::Size),
            response_bytes: Counts::new(Scale::Size),
        }
    }

    /// What of `what` is under way.
    #[must_use]
    pub fn active(&self, what: Active) -> u64 {
        self.active.get(what as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    //! Goal: counts are the route's, over all workers, and outlive the configurations that have the route. Method: two
    //! workers, a known mix, and lists of names that change.

    use super::*;

    const ENDED: Ended = Ended {
        status: 200,
        error: None,
        retries: 0,
        tunnel: false,
        bytes_in: 10,
        bytes_out: 2_000,
        duration: Duration::from_millis(3),
        first_byte: Some(Duration::from_millis(2)),
    };

    fn worker(names: &[&str]) -> Arc<Shard> {
        let shard = Arc::new(Shard::new());
        shard.serve_routes(names.iter().copied());
        shard
    }

    fn shard(worker: &Shard, index: usize) -> Arc<RouteShard> {
        Arc::clone(worker.routes().iter().nth(index).unwrap())
    }

    #[test]
    fn totals_are_per_route_over_all_workers() {
        let workers = [worker(&["a", "b"]), worker(&["a", "b"])];
        shard(&workers[0], 0).record(&ENDED);
        shard(&workers[1], 0).record(&Ended {
            status: 504,
            error: Some("connection_timeout"),
            retries: 2,
            first_byte: None,
            ..ENDED
        });
        shard(&workers[1], 1).record(&Ended { status: 101, tunnel: true, ..ENDED });
        shard(&workers[1], 1).observe_gap(Duration::from_secs(1));
        let [a, b] = &Totals::of(&workers, ["a", "b"].into_iter())[..] else { panic!("two routes") };
        assert_eq!((a.classes, b.classes), ([0, 1, 0, 0, 1], [1, 0, 0, 0, 0]));
        assert_eq!((a.retries, a.errors.iter().sum::<u64>(), b.errors.iter().sum::<u64>()), (2, 1, 0));
        assert_eq!((a.durations[1].count(), a.durations[4].count(), b.durations[0].count()), (1, 1, 0));
        assert_eq!((a.first_byte.sum(), b.gap.sum(), a.gap.count()), (2_000, 1_000_000, 0));
        assert_eq!((a.request_bytes.sum(), a.response_bytes.sum()), (20, 4_000));
    }

    #[test]
    fn what_was_not_answered_is_no_response_but_is_an_error() {
        let worker = worker(&["a"]);
        shard(&worker, 0).record(&Ended { status: 0, error: Some("http_request_error"), ..ENDED });
        let totals = &Totals::of(&[worker], ["a"].into_iter())[0];
        assert_eq!((totals.classes, totals.errors.iter().sum::<u64>()), ([0; 5], 1));
    }

    #[test]
    fn what_is_under_way_goes_up_and_down() {
        let workers = [worker(&["a"]), worker(&["a"])];
        let (one, two) = (shard(&workers[0], 0), shard(&workers[1], 0));
        one.enter(Active::Exchanges);
        one.enter(Active::Streams);
        two.enter(Active::Exchanges);
        let active = |what| Totals::of(&workers, ["a"].into_iter())[0].active(what);
        assert_eq!(Active::ALL.map(active), [2, 1, 0]);
        one.leave(Active::Streams);
        one.leave(Active::Exchanges);
        assert_eq!(Active::ALL.map(active), [1, 0, 0]);
        one.leave(Active::Exchanges);
        two.leave(Active::Exchanges);
        assert_eq!(active(Active::Exchanges), 0, "never below");
    }

    #[test]
    fn routes_keep_their_counts_by_name_and_vanish_with_it() {
        let worker = worker(&["a", "b"]);
        shard(&worker, 1).record(&ENDED);
        worker.serve_routes(["c", "b"].into_iter());
        let requests = |name: &str| Totals::of(&[Arc::clone(&worker)], [name].into_iter())[0].classes[1];
        assert_eq!((requests("b"), requests("c"), requests("a")), (1, 0, 0));
        worker.serve_routes(["a"].into_iter());
        worker.serve_routes(["b"].into_iter());
        assert_eq!(requests("b"), 0, "it begins anew");
    }
}
