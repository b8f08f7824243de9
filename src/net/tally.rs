//! An exchange's part in what is counted by route: it is under way from its request's head to its access record, whatever
//! ends it.

use std::rc::Rc;
use std::sync::Arc;

use crate::h1::Framing;
use crate::telemetry::routes::{Active, Ended, RouteShard};
use crate::time::Timestamp;

/// Where a worker counts for each route of a view, by the route's place in the configuration.
pub type RouteTable = Rc<[Arc<RouteShard>]>;

/// An exchange that is under way for a route. Dropping it ends that.
#[derive(Debug)]
pub struct Tally {
    /// A view's table rather than the shard: to hold it is no atomic operation.
    table: RouteTable,
    route: u32,
    streams: bool,
    tunnels: bool,
    /// When bytes of the response's body came last; [`Timestamp::NEVER`] before.
    arrived: Timestamp,
}

impl Tally {
    /// An exchange begins for route number `route` of the configuration.
    #[must_use]
    pub fn begin(table: &RouteTable, route: u32) -> Option<Tally> {
        table.get(route as usize)?.enter(Active::Exchanges);
        Some(Tally {
            table: Rc::clone(table),
            route,
            streams: false,
            tunnels: false,
            arrived: Timestamp::NEVER,
        })
    }

    fn shard(&self) -> Option<&RouteShard> {
        self.table.get(self.route as usize).map(|shard| &**shard)
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

impl Tally {
    /// The head of the response has come. One without a length is a stream.
    pub fn response_begins(&mut self, framing: Framing) {
        let streams = matches!(framing, Framing::Chunked | Framing::UntilClose);
        if streams && !self.streams {
            self.streams = true;
            self.enter(Active::Streams);
        }
    }

    /// `n` bytes of the response's body have come, framing included.
    ///
    /// The gap since those before is observed for streams only. A response of known length is a download: its reads follow
    /// the pace of buffers and of its receiver, and would drown what is known about the pace of events. What one turn of the
    /// loop reads in several steps had come together, and is one arrival.
    #[inline]
    pub fn body_arrives(&mut self, n: usize, now: Timestamp) {
        if !self.streams || n == 0 {
            return;
        }
        let before = std::mem::replace(&mut self.arrived, now);
        if before < now
            && let Some(shard) = self.shard()
        {
            shard.observe_gap(now.since(before));
        }
    }

    /// The exchange has become a tunnel.
    pub fn tunnel_begins(&mut self) {
        self.tunnels = true;
        self.enter(Active::Tunnels);
    }

    /// Counts the exchange, which has ended.
    pub fn record(self, ended: &Ended) {
        self.shard().into_iter().for_each(|shard| shard.record(ended));
    }
}
