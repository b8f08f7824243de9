//! The access record of an exchange that has ended.

use std::net::SocketAddr;

use crate::proxy::error::Failure;
use crate::telemetry::access_log::AccessRecord;
use crate::telemetry::metrics::Counter;
use crate::time::Phase;

use super::facts::{Facts, Line};
use super::transaction::Transaction;
use super::upstream::Place;
use super::worker::Worker;

/// Records an exchange that has ended, and gives back what it held.
pub fn conclude(worker: &Worker, peer: SocketAddr, mut txn: Box<Transaction>) {
    txn.facts.count_for_route(worker.clock.now());
    record(worker, peer, txn.line.as_deref(), &txn.facts);
    worker.transactions.give(txn, &worker.pool);
}

/// Counts an exchange that has ended, and writes its line.
pub fn record(worker: &Worker, peer: SocketAddr, line: Option<&Line>, facts: &Facts) {
    count(worker, facts);
    if !worker.journal.is_on() {
        return;
    }
    let nothing = Line::default();
    let line = line.unwrap_or(&nothing);
    let [method, host, target, request_id] = line.texts();
    let now = worker.clock.now();
    let upstream = facts.place.as_ref().map_or("", Place::label);
    worker.journal.record(&AccessRecord {
        unix_us: worker.clock.unix_us(),
        client: line.client.or(Some(peer)),
        request_id,
        method,
        host,
        target,
        protocol: line.protocol,
        status: facts.status,
        error: facts.failure.map(Failure::error_type),
        detail: facts.failure.map(Failure::detail),
        phase: facts.failure.and_then(Failure::phase).map(Phase::name),
        upstream,
        reused: facts.reused,
        retries: facts.retries,
        tunnel: facts.tunnel,
        bytes_in: facts.bytes_in,
        bytes_out: facts.bytes_out,
        duration: now.since(facts.started),
        header: facts.understood.since(facts.started),
        connect: facts.connect,
        first_byte: facts.responded.map(|at| at.since(facts.started)),
    });
}

fn count(worker: &Worker, facts: &Facts) {
    if facts.status > 0 {
        worker.metrics.add(Counter::response(facts.status), 1);
    }
    if let Some(failure) = facts.failure {
        worker.metrics.errors().count(failure.error_type());
    }
    match facts.failure {
        None => {}
        Some(Failure::ClientGone) => worker.metrics.add(Counter::ClientAborts, 1),
        Some(Failure::RateLimited | Failure::TooManyAtOnce) => {
            worker.metrics.add(Counter::RequestsLimited, 1)
        }
        Some(Failure::BadRequestBody(_) | Failure::BodyTooLarge) => {
            worker.metrics.add(Counter::BodiesRefused, 1)
        }
        Some(_) if facts.responded.is_some() => worker.metrics.add(Counter::ExchangesCut, 1),
        Some(_) => {}
    }
}
