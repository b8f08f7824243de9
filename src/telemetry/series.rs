//! The families of metrics that have a series for each route, worker or endpoint: as many as the configuration names.

use std::sync::Arc;

use super::errors::{ERROR_TYPES, ErrorCounts};
use super::metrics::{Counter, Level, Shard};
use super::routes::{Active, CLASSES};
use super::text::{Seconds, Text};
use super::totals::Totals;

/// An endpoint at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFigures {
    /// Its group.
    pub group: Box<str>,
    /// Its name.
    pub endpoint: Box<str>,
    /// What it is: a word.
    pub health: &'static str,
    /// Requests are sent to it.
    pub serves: bool,
    /// Requests with it now.
    pub active: u64,
}

/// Failures by type, whatever their route: every type, zeros too, because a series that appears with its first event hides
/// that event from `rate()`.
pub(super) fn errors(text: &mut Text, shards: &[Arc<Shard>]) {
    let mut sum: ErrorCounts = [0; ERROR_TYPES.len()];
    for shard in shards {
        for (to, from) in sum.iter_mut().zip(shard.errors().read()) {
            *to = to.wrapping_add(from);
        }
    }
    text.counter("ringress_errors", "What went wrong, by RFC 9209 type, refused requests included.");
    for (word, count) in ERROR_TYPES.iter().zip(sum) {
        text.count("ringress_errors", &[("type", word)], count);
    }
}

/// What each worker's loop does.
pub(super) fn workers(text: &mut Text, shards: &[Arc<Shard>]) {
    const STALLS: [(Counter, &str); 3] =
        [(Counter::LoopStalls10, "10"), (Counter::LoopStalls50, "50"), (Counter::LoopStalls100, "100")];
    let numbers: Vec<String> = (0..shards.len()).map(|number| number.to_string()).collect();
    let workers = || numbers.iter().zip(shards);
    let name = "ringress_worker_loop_stalls";
    text.counter(name, "Times that a worker's loop was late by more than so many milliseconds.");
    for (worker, shard) in workers() {
        for (counter, over) in STALLS {
            text.count(name, &[("worker", worker), ("over_ms", over)], shard.value(counter));
        }
    }
    let name = "ringress_worker_loop_stall_max_seconds";
    text.gauge(name, "The most that a worker's loop was ever late.");
    for (worker, shard) in workers() {
        text.level(name, &[("worker", worker)], Seconds { us: shard.level(Level::LoopStallMax) });
    }
    let name = "ringress_worker_timers";
    text.gauge(name, "Entries in the timer wheel of a worker.");
    for (worker, shard) in workers() {
        text.level(name, &[("worker", worker)], shard.level(Level::Timers));
    }
    let name = "ringress_worker_upstream_idle";
    text.gauge(name, "Idle connections to endpoints in the pools of a worker.");
    for (worker, shard) in workers() {
        text.level(name, &[("worker", worker)], shard.level(Level::UpstreamIdle));
    }
}

/// Connections open, worker by worker.
pub(super) fn worker_connections(text: &mut Text, name: &str, shards: &[Arc<Shard>]) {
    for (worker, shard) in shards.iter().enumerate() {
        // In this order, what ends between the two looks makes the figure too large by one, not negative.
        let closed = shard.value(Counter::ConnectionsClosed);
        let open = shard.value(Counter::ConnectionsAccepted).saturating_sub(closed);
        text.level(name, &[("worker", &worker.to_string())], open);
    }
}

/// What passed by route.
pub(super) fn routes(text: &mut Text, routes: &[Totals]) {
    route_counters(text, routes);
    route_gauges(text, routes);
    let name = "ringress_route_duration_seconds";
    text.histogram(name, "First byte of a request to the end of its exchange, without tunnels.");
    for route in routes {
        // Classes without an exchange are left out: their first one is in the requests, which are all there.
        let classes = CLASSES.iter().zip(&route.durations);
        for (class, observed) in classes.filter(|(class, it)| **class == "2xx" || it.count() > 0) {
            text.distribution(name, &[("route", &route.name), ("class", class)], observed);
        }
    }
    let name = "ringress_route_first_byte_seconds";
    text.histogram(name, "First byte of a request to the head of its response.");
    routes.iter().for_each(|it| text.distribution(name, &[("route", &it.name)], &it.first_byte));
    let name = "ringress_route_stream_gap_seconds";
    text.histogram(name, "Time between two arrivals of bytes of a response without a length.");
    routes.iter().for_each(|it| text.distribution(name, &[("route", &it.name)], &it.gap));
    let name = "ringress_route_request_body_bytes";
    text.histogram(name, "Sizes of request bodies.");
    routes.iter().for_each(|it| text.distribution(name, &[("route", &it.name)], &it.request_bytes));
    let name = "ringress_route_response_body_bytes";
    text.histogram(name, "Sizes of response bodies.");
    routes.iter().for_each(|it| text.distribution(name, &[("route", &it.name)], &it.response_bytes));
}

fn route_counters(text: &mut Text, routes: &[Totals]) {
    let name = "ringress_route_requests";
    text.counter(name, "Exchanges that ended, by class of their status.");
    for route in routes {
        for (class, count) in CLASSES.iter().zip(route.classes) {
            text.count(name, &[("route", &route.name), ("class", class)], count);
        }
    }
    let name = "ringress_route_retries";
    text.counter(name, "Attempts to serve a request beyond the first.");
    routes.iter().for_each(|route| text.count(name, &[("route", &route.name)], route.retries));
    let name = "ringress_route_errors";
    text.counter(name, "What went wrong, by RFC 9209 type; types that have occurred.");
    for route in routes {
        for (word, count) in ERROR_TYPES.iter().zip(route.errors).filter(|(_, count)| *count > 0) {
            text.count(name, &[("route", &route.name), ("type", word)], count);
        }
    }
}

fn route_gauges(text: &mut Text, routes: &[Totals]) {
    for what in Active::ALL {
        let (name, help) = match what {
            Active::Exchanges => {
                ("ringress_route_exchanges_active", "Exchanges under way, streams and tunnels too.")
            }
            Active::Streams => {
                ("ringress_route_streams_active", "Responses without a length that are under way.")
            }
            Active::Tunnels => ("ringress_route_tunnels_active", "Tunnels that are open."),
        };
        text.gauge(name, help);
        routes.iter().for_each(|route| text.level(name, &[("route", &route.name)], route.active(what)));
    }
}

/// How endpoints are.
pub(super) fn endpoints(text: &mut Text, endpoints: &[EndpointFigures]) {
    let name = "ringress_endpoint_requests_active";
    text.gauge(name, "Requests with an endpoint now.");
    for it in endpoints {
        text.level(name, &[("group", &it.group), ("endpoint", &it.endpoint)], it.active);
    }
    let name = "ringress_endpoint_serves";
    text.gauge(name, "1 while requests are sent to an endpoint, 0 while it is down, ejected or drained.");
    for it in endpoints {
        text.level(name, &[("group", &it.group), ("endpoint", &it.endpoint)], u8::from(it.serves));
    }
}
