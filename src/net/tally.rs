//! An exchange's part in what is counted by route: it is under way from its request's head to its access record, whatever
//! ends it.

use std::rc::Rc;
use std::sync::Arc;

use crate::h1::Framing;
use crate::proxy::error::Failure;
use crate::telemetry::routes::{Active, Ended, RouteShard};
use crate::time::Timestamp;

use super::facts::Facts;

/// Where a worker counts for each route of a view, by the route's place in the configuration.
pub type RouteTable = Rc<[Arc<RouteShard>]>;

/// An exchange that is under way for a route. Dropping it ends that.
#[derive(Debug)]
pub struct Tally {
    /// A view's table rather than the shard: to hold it is no atomic operation.
    table: RouteTable,
    route: usize,
    streams: bool,
    tunnels: bool,
    /// When bytes of the response's body came last.
    arrived: Option<Timestamp>,
}

impl Tally {
    /// An exchange begins for route number `route` of the configuration.
    #[must_use]
    pub fn begin(table: &RouteTable, route: usize) -> Option<Tally> {
        table.get(route)?.enter(Active::Exchanges);
        Some(Tally { table: Rc::clone(table), route, streams: false, tunnels: false, arrived: None })
    }

    fn shard(&self) -> Option<&RouteShard> {
        self.table.get(self.route).map(|shard| &**shard)
    }

    fn enter(&self, what: Active) {
        self.shard().into_iter().for_each(|shard| shard.enter(what));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Some(shard) = self.shard() else { return };
        shard.leave(Active::Exchanges);
        if self.streams {
            shard.leave(Active::Streams);
        }
        if self.tunnels {
            shard.leave(Active::Tunnels);
        }
    }
}

impl Facts {
    /// The head of the response has come. One without a length is a stream.
    pub(super) fn response_begins(&mut self, framing: Framing) {
        let streams = matches!(framing, Framing::Chunked | Framing::UntilClose);
        if let Some(tally) = self.tally.as_mut().filter(|tally| streams && !tally.streams) {
            tally.streams = true;
            tally.enter(Active::Streams);
        }
    }

    /// `n` bytes of the response's body have come, framing included.
    ///
    /// The gap since those before is observed for streams only. A response of known length is a download: its reads follow
    /// the pace of buffers and of its receiver, and would drown what is known about the pace of events. What one turn of the
    /// loop reads in several steps had come together, and is one arrival.
    #[inline]
    pub(super) fn body_arrives(&mut self, n: usize, now: Timestamp) {
        let Some(tally) = self.tally.as_mut().filter(|tally| tally.streams && n > 0) else { return };
        if let Some(before) = tally.arrived.replace(now).filter(|before| *before != now)
            && let Some(shard) = tally.shard()
        {
            shard.observe_gap(now.since(before));
        }
    }

    /// The exchange has become a tunnel.
    pub(super) fn tunnel_begins(&mut self) {
        if let Some(tally) = self.tally.as_mut() {
            tally.tunnels = true;
            tally.enter(Active::Tunnels);
        }
    }

    /// Counts the exchange, which has ended, for its route.
    pub(super) fn count_for_route(&mut self, now: Timestamp) {
        let Some(tally) = self.tally.take() else { return };
        let Some(shard) = tally.shard() else { return };
        shard.record(&Ended {
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
