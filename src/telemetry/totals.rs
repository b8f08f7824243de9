//! What was counted by route, over all workers: the figures of a report.
//!
//! Workers count in [`RouteShard`]s of their own and are not held up: cells are read one after another while they count on.

use std::array::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::errors::{ERROR_TYPES, ErrorCounts};
use super::histogram::{Counts, Scale};
use super::metrics::Shard;
use super::routes::{Active, CLASSES, RouteShard};

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
            workers.iter().filter_map(|routes| routes.of(name)).for_each(|shard| totals.add(shard));
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

    /// Adds what `shard` has counted.
    fn add(&mut self, shard: &RouteShard) {
        let read = |cell: Option<&AtomicU64>| cell.map_or(0, |cell| cell.load(Ordering::Relaxed));
        for (index, to) in self.classes.iter_mut().enumerate() {
            *to = to.wrapping_add(read(shard.classes.get(index)));
        }
        for (index, to) in self.active.iter_mut().enumerate() {
            *to = to.wrapping_add(read(shard.active.get(index)));
        }
        for (to, from) in self.errors.iter_mut().zip(shard.errors.read()) {
            *to = to.wrapping_add(from);
        }
        for (to, from) in self.durations.iter_mut().zip(&shard.durations) {
            to.merge(&from.counts());
        }
        self.retries = self.retries.wrapping_add(read(Some(&shard.retries)));
        self.first_byte.merge(&shard.first_byte.counts());
        self.gap.merge(&shard.gap.counts());
        self.request_bytes.merge(&shard.request_bytes.counts());
        self.response_bytes.merge(&shard.response_bytes.counts());
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

    use std::time::Duration;

    use super::*;
    use crate::telemetry::routes::Ended;

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
