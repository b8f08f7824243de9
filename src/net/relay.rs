//! The two directions of an exchange: bytes read into the worker's scratch, re-framed, written at once.
//!
//! ```text
//!   upload    client ─▶ inbox / scratch ─▶ [prefix][payload][suffix][end] ─▶ origin
//!   download  origin ─▶ scratch ─▶ head rewritten, then the same          ─▶ client
//! ```
//! One write carries everything one read brought; what the receiver does not take is copied to a pooled
//! buffer, and nothing more is read until that is gone. Each direction moves at most
//! [`limits::TURN_BYTES_MAX`] bytes before its neighbours run.

use std::io::ErrorKind;
use std::rc::Rc;

use crate::config::group::Sticky;
use crate::h1::ResponseHead;
use crate::h1::head::{Parsed, parse_response};
use crate::limits;
use crate::proxy::edits;
use crate::proxy::error::Failure;
use crate::proxy::exchange::{Response, Verdict};
use crate::proxy::flow::{Flow, Piece};
use crate::proxy::forward::{self, Reply, Source};
use crate::proxy::health::Outcome;
use crate::proxy::retry::Cause;
use crate::proxy::retry::kept::KeptBody;
use crate::telemetry::metrics::Counter;
use crate::time::Timestamp;

use super::buffers::{BufferPool, Outbox};
use super::exchange::{Driver, Progress};
use super::shared::Lifecycle;
use super::transaction::NEVER_SPLICE;
use super::transport::{Broken, Transport};
use super::upstream::{Place, Upstream};

/// What of a body one call passed on.
struct Passed {
    /// Bytes of the input that belong to the body.
    consumed: usize,
    /// Bytes of the outbox and the piece that the receiver took.
    taken: usize,
}

/// What one read of the origin brought.
enum Arrived {
    Bytes(usize),
    NotNow,
    End,
    Switched,
}

/// How passing a piece on went wrong.
enum Stuck {
    /// The sender's framing is broken.
    Body(crate::h1::error::BodyError),
    /// The receiver is gone; so much of the input was the body's.
    Receiver(usize),
}

impl Driver<'_> {
    /// Client to origin, as far as both go now.
    pub(super) fn pump_upload(&mut self, upstream: &mut Upstream) -> Result<(), Failure> {
        let now = self.worker.clock.now();
        if !self.txn.to_origin.is_empty() {
            self.send_to_origin(upstream, now);
        }
        let mut moved = 0;
        while self.txn.exchange.wants_client() && self.txn.to_origin.is_empty() {
            let passed = if !self.client.inbox.is_empty() {
                self.upload_from_inbox(upstream, now)?
            } else if self.txn.head_sent && self.txn.splices(self.txn.exchange.upload().bulk()) {
                self.splice_up(upstream, now)?
            } else {
                self.upload_from_socket(upstream, now)?
            };
            moved += passed;
            if passed == 0 {
                break;
            }
            if moved >= limits::TURN_BYTES_MAX {
                self.client.transport.yield_read();
                break;
            }
        }
        if !self.txn.head_sent {
            self.send_to_origin(upstream, now);
        }
        Ok(())
    }

    fn upload_from_inbox(&mut self, upstream: &mut Upstream, now: Timestamp) -> Result<usize, Failure> {
        let mut inbox = std::mem::take(&mut self.client.inbox);
        let passed = self.upload(inbox.bytes_mut(), upstream, now);
        if let Ok(consumed) = passed {
            inbox.consume(consumed, &self.worker.pool);
        }
        self.client.inbox = inbox;
        passed
    }

    fn upload_from_socket(&mut self, upstream: &mut Upstream, now: Timestamp) -> Result<usize, Failure> {
        if !self.client.transport.is_readable() {
            return Ok(0);
        }
        let mut scratch = self.worker.scratch.borrow_mut();
        match self.client.transport.try_read(&mut scratch) {
            Ok(None) => Ok(0),
            Ok(Some(0)) | Err(_) => Err(Failure::ClientGone),
            Ok(Some(n)) => {
                self.worker.metrics.add(Counter::BytesCopied, n as u64);
                let bytes = scratch.get_mut(..n).unwrap_or_default();
                let consumed = self.upload(bytes, upstream, now)?;
                self.client.inbox.append(bytes.get(consumed..).unwrap_or_default(), &self.worker.pool);
                Ok(n)
            }
        }
    }

    fn splice_up(&mut self, upstream: &mut Upstream, now: Timestamp) -> Result<usize, Failure> {
        if !self.client.transport.is_readable() {
            return Ok(0);
        }
        let pool = &self.worker.pool;
        let bulk = self.txn.exchange.upload().bulk();
        match self.txn.to_origin.fill_pipe(&mut self.client.transport, pool, bulk) {
            Ok(None) => Ok(0),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.txn.splice_min = NEVER_SPLICE;
                self.upload_from_socket(upstream, now)
            }
            Ok(Some(0)) | Err(_) => Err(Failure::ClientGone),
            Ok(Some(n)) => {
                self.worker.metrics.add(Counter::BytesSpliced, n as u64);
                self.txn.kept = None; // its bytes pass by unseen
                self.txn.exchange.body_kept(None);
                let chunk_head = self.txn.exchange.upload_mut().moved(n);
                self.txn.to_origin.frame_pipe(chunk_head.as_slice(), pool);
                self.send_to_origin(upstream, now);
                self.txn.exchange.client_sent(now)?;
                Ok(n)
            }
        }
    }

    /// Passes request bytes on; the head goes with the first of them.
    fn upload(
        &mut self,
        bytes: &mut [u8],
        upstream: &mut Upstream,
        now: Timestamp,
    ) -> Result<usize, Failure> {
        let pool = &self.worker.pool;
        if !std::mem::replace(&mut self.txn.head_sent, true) {
            self.txn.to_origin.stage(pool).extend_from_slice(&self.txn.head);
        }
        let flow = self.txn.exchange.upload_mut();
        let (to, kept) = (&mut upstream.transport, self.txn.kept.as_mut());
        let passed = pass(flow, bytes, &mut self.txn.to_origin, to, pool, Beside { kept, last: false });
        self.txn.exchange.body_kept(self.txn.kept.as_ref().and_then(KeptBody::length));
        let consumed = match passed {
            Ok(passed) => {
                self.txn.exchange.origin_took(passed.taken, self.txn.to_origin.unsent(), now);
                passed.consumed
            }
            Err(Stuck::Body(error)) => return Err(Failure::BadRequestBody(error)),
            Err(Stuck::Receiver(consumed)) => {
                self.give_upload_up();
                consumed
            }
        };
        self.txn.exchange.client_sent(now)?;
        Ok(consumed)
    }

    /// Sends the head, or what the origin had not taken.
    fn send_to_origin(&mut self, upstream: &mut Upstream, now: Timestamp) {
        let pool = &self.worker.pool;
        let head: &[u8] = if std::mem::replace(&mut self.txn.head_sent, true) { &[] } else { &self.txn.head };
        match self.txn.to_origin.send(&mut upstream.transport, pool, &[head]) {
            Ok(taken) => self.txn.exchange.origin_took(taken, self.txn.to_origin.unsent(), now),
            Err(_) => self.give_upload_up(),
        }
    }

    /// The origin reads no more. What it says all the same is still the response.
    fn give_upload_up(&mut self) {
        self.txn.to_origin.release(&self.worker.pool);
        self.txn.exchange.origin_stopped_reading();
    }

    /// Origin to client, as far as both go now.
    pub(super) fn pump_download(&mut self, upstream: &mut Upstream) -> Result<Progress, Failure> {
        if !self.txn.to_client.is_empty() {
            self.send_to_client(&[])?;
        }
        let mut moved = 0;
        while self.txn.exchange.wants_origin() && upstream.transport.is_readable() {
            let splice =
                self.txn.exchange.is_responding() && self.txn.splices(self.txn.exchange.download().bulk());
            let arrived = if splice { self.splice_down(upstream) } else { self.read_origin(upstream) };
            match arrived? {
                Arrived::Bytes(n) => moved += n,
                Arrived::NotNow => break,
                Arrived::End => self.origin_ended()?,
                Arrived::Switched => return Ok(Progress::Switched),
            }
            if moved >= limits::TURN_BYTES_MAX {
                upstream.transport.yield_read();
                break;
            }
        }
        Ok(Progress::Underway)
    }

    fn read_origin(&mut self, upstream: &mut Upstream) -> Result<Arrived, Failure> {
        let mut scratch = self.worker.scratch.borrow_mut();
        match upstream.transport.try_read(&mut scratch) {
            Ok(None) => Ok(Arrived::NotNow),
            Ok(Some(0)) => Ok(Arrived::End),
            Err(error) => Err(Broken::within(&error).unwrap_or_else(|| self.origin_broke())),
            Ok(Some(n)) => {
                self.worker.metrics.add(Counter::BytesCopied, n as u64);
                self.txn.exchange.origin_sent(self.worker.clock.now());
                Ok(match self.origin_spoke(scratch.get_mut(..n).unwrap_or_default())? {
                    Progress::Switched => Arrived::Switched,
                    Progress::Underway => Arrived::Bytes(n),
                })
            }
        }
    }

    fn splice_down(&mut self, upstream: &mut Upstream) -> Result<Arrived, Failure> {
        let pool = &self.worker.pool;
        let bulk = self.txn.exchange.download().bulk();
        match self.txn.to_client.fill_pipe(&mut upstream.transport, pool, bulk) {
            Ok(None) => Ok(Arrived::NotNow),
            Ok(Some(0)) => Ok(Arrived::End),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.txn.splice_min = NEVER_SPLICE;
                self.read_origin(upstream)
            }
            Err(_) => Err(self.origin_broke()),
            Ok(Some(n)) => {
                self.txn.exchange.origin_sent(self.worker.clock.now());
                self.worker.metrics.add(Counter::BytesSpliced, n as u64);
                self.txn.facts.body_arrives(n, self.worker.clock.now());
                let chunk_head = self.txn.exchange.download_mut().moved(n);
                self.txn.to_client.frame_pipe(chunk_head.as_slice(), pool);
                self.send_to_client(&[])?;
                Ok(Arrived::Bytes(n))
            }
        }
    }

    fn origin_broke(&self) -> Failure {
        if self.txn.exchange.is_responding() { Failure::ResponseCut } else { Failure::UpstreamClosed }
    }

    fn origin_ended(&mut self) -> Result<(), Failure> {
        if !self.txn.exchange.is_responding() {
            return Err(Failure::UpstreamClosed);
        }
        self.txn.exchange.download_mut().end_of_stream().map_err(Failure::BadResponseBody)?;
        let mut end = self.worker.pool.take_small();
        self.txn.exchange.download().finish(&mut end);
        if !self.txn.exchange.may_carry_on() {
            self.client.transport.hold_for_end();
        }
        let sent = self.send_to_client(&[&end]);
        self.worker.pool.give(end);
        sent
    }

    /// Bytes came from the origin: heads until the final one, then its body.
    fn origin_spoke(&mut self, bytes: &mut [u8]) -> Result<Progress, Failure> {
        if self.txn.exchange.is_responding() {
            self.relay_body(bytes)?;
            return Ok(Progress::Underway);
        }
        if self.txn.from_origin.is_empty() {
            return self.relay_heads(bytes);
        }
        self.txn.from_origin.append(bytes, &self.worker.pool);
        let mut inbox = std::mem::take(&mut self.txn.from_origin);
        let progress = self.relay_heads(inbox.bytes_mut());
        inbox.consume(usize::MAX, &self.worker.pool);
        progress
    }

    /// Relays every complete head in `bytes` and what follows the final one; keeps a copy of an incomplete one.
    fn relay_heads(&mut self, mut bytes: &mut [u8]) -> Result<Progress, Failure> {
        loop {
            let Some((consumed, verdict)) = self.relay_head(bytes)? else {
                self.txn.from_origin.append(bytes, &self.worker.pool);
                self.send_to_client(&[])?;
                return Ok(Progress::Underway);
            };
            self.txn.scan = Default::default();
            bytes = bytes.get_mut(consumed..).unwrap_or_default();
            match verdict {
                Verdict::Interim | Verdict::DropInterim if bytes.is_empty() => {
                    self.send_to_client(&[])?;
                    return Ok(Progress::Underway);
                }
                Verdict::Interim | Verdict::DropInterim => {}
                Verdict::Relay { .. } => {
                    self.release_head();
                    self.relay_body(bytes)?;
                    return Ok(Progress::Underway);
                }
                Verdict::Tunnel => {
                    self.release_head();
                    self.txn.to_client.stage(&self.worker.pool).extend_from_slice(bytes);
                    self.txn.facts.bytes_out = bytes.len() as u64;
                    return Ok(Progress::Switched);
                }
            }
        }
    }

    /// Judges the head at the start of `bytes` and stages what the client gets of it; `None` if incomplete.
    fn relay_head(&mut self, bytes: &[u8]) -> Result<Option<(usize, Verdict)>, Failure> {
        if !self.txn.scan.grew(bytes) {
            return Ok(None);
        }
        let view = Rc::clone(&self.client.view);
        let config = &view.config;
        let route = self.client.route.and_then(|route| view.route(route));
        let place = self.txn.facts.place.clone();
        let edits = route.map_or(&edits::NONE, |route| &route.response_fields);
        let mut fields = self.worker.fields.borrow_mut();
        let parsed = parse_response(bytes, &config.message, self.txn.method, &mut fields)
            .map_err(Failure::BadResponse)?;
        let Parsed::Complete(head) = parsed else { return Ok(None) };
        let draining = self.worker.shared.lifecycle() != Lifecycle::Running;
        let response = Response {
            status: head.status,
            framing: head.framing,
            persistent: head.persistent,
            upgrade: head.upgrade,
        };
        if self.txn.exchange.is_farewell(response, self.txn.facts.reused) {
            return Err(Failure::UpstreamClosed);
        }
        if route.is_some_and(|route| route.retry.statuses.contains(&head.status)) {
            let cause = Cause::Status(head.status);
            if let Some(again) = self.decide(cause) {
                self.report(Outcome::of_status(head.status));
                self.txn.again = Some(again);
                return Err(Failure::UpstreamClosed); // nobody hears of it
            }
        }
        let verdict = self.txn.exchange.judge(response, draining, self.worker.clock.now())?;
        let source = Source { bytes, fields: &fields };
        match verdict {
            Verdict::DropInterim => {}
            Verdict::Interim => {
                let out = self.txn.to_client.stage(&self.worker.pool);
                forward::interim(&head, source, edits, None, out);
            }
            Verdict::Tunnel => {
                self.txn.facts.status = head.status;
                self.txn.facts.responded = Some(self.worker.clock.now());
                self.report_head();
                let sticky = self.cookie(&place);
                let out = self.txn.to_client.stage(&self.worker.pool);
                forward::interim(&head, source, edits, sticky, out);
            }
            Verdict::Relay { outgoing, keep_alive } => {
                self.txn.outgoing = outgoing;
                let reply = Reply {
                    version: self.txn.version,
                    method: self.txn.method,
                    outgoing,
                    keep_alive,
                    edits,
                    sticky: self.cookie(&place),
                    date: &[],
                };
                self.stage_response(&head, source, reply);
            }
        }
        Ok(Some((head.bytes, verdict)))
    }

    /// The cookie that leads the client back to where its request went, if it does not know already.
    fn cookie<'p>(&self, place: &'p Option<Place>) -> Option<(&'p Sticky, u64)> {
        let place = place.as_ref()?;
        let sticky = place.group.config.sticky.as_ref()?;
        let id = place.group.endpoints.members.get(place.index)?.id;
        (self.txn.home != Some(id)).then_some((sticky, id))
    }

    fn stage_response(&mut self, head: &ResponseHead, source: Source<'_>, reply: Reply<'_>) {
        self.txn.facts.status = head.status;
        self.txn.facts.responded = Some(self.worker.clock.now());
        self.report_head();
        self.txn.facts.response_begins(head.framing);
        self.txn.keep_alive_s = head.keep_alive_timeout_s;
        let out = self.txn.to_client.stage(&self.worker.pool);
        if head.has_date {
            forward::response(head, source, reply, out);
        } else {
            self.worker
                .clock
                .with_http_date(|date| forward::response(head, source, Reply { date, ..reply }, out));
        }
    }

    /// The origin has answered: its request will not be sent again.
    fn release_head(&mut self) {
        self.worker.pool.give(std::mem::take(&mut self.txn.head));
        self.txn.kept = None;
    }

    fn relay_body(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.txn.facts.body_arrives(bytes.len(), self.worker.clock.now());
        let (worker, client) = (self.worker, &mut self.client.transport);
        let beside = Beside { kept: None, last: !self.txn.exchange.may_carry_on() };
        let flow = self.txn.exchange.download_mut();
        let passed = pass(flow, bytes, &mut self.txn.to_client, client, &worker.pool, beside);
        match passed {
            Ok(passed) => {
                self.txn.surplus |= passed.consumed < bytes.len();
                self.txn.exchange.client_took(passed.taken, self.txn.to_client.unsent(), worker.clock.now());
                Ok(())
            }
            Err(Stuck::Body(error)) => Err(Failure::BadResponseBody(error)),
            Err(Stuck::Receiver(_)) => Err(Failure::ClientGone),
        }
    }

    fn send_to_client(&mut self, slices: &[&[u8]]) -> Result<(), Failure> {
        let sent = self.txn.to_client.send(&mut self.client.transport, &self.worker.pool, slices);
        let taken = sent.map_err(|_| Failure::ClientGone)?;
        self.txn.exchange.client_took(taken, self.txn.to_client.unsent(), self.worker.clock.now());
        Ok(())
    }
}

/// What else [`pass`] does with a body.
struct Beside<'a> {
    /// A copy of it is kept here.
    kept: Option<&'a mut KeptBody>,
    /// Its receiver gets nothing behind it: the connection ends.
    last: bool,
}

/// Decodes `bytes` with `flow` and writes what is staged in `outbox` and the re-framed payload in one call.
fn pass(
    flow: &mut Flow,
    bytes: &mut [u8],
    outbox: &mut Outbox,
    to: &mut Transport,
    pool: &BufferPool,
    beside: Beside<'_>,
) -> Result<Passed, Stuck> {
    let Piece { prefix, payload, suffix, consumed, done } = flow.accept(bytes).map_err(Stuck::Body)?;
    let payload = bytes.get(..payload).unwrap_or_default();
    let mut end = if done { pool.take_small() } else { Vec::new() };
    if done {
        flow.finish(&mut end);
        if beside.last {
            to.hold_for_end();
        }
    }
    let slices = [prefix.as_slice(), payload, suffix, &end];
    if let Some(kept) = beside.kept {
        slices.iter().for_each(|bytes| kept.push(bytes));
    }
    let sent = outbox.send(to, pool, &slices);
    pool.give(end);
    Ok(Passed { consumed, taken: sent.map_err(|_| Stuck::Receiver(consumed))? })
}
