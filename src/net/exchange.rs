//! One exchange, performed: an endpoint is found, both bodies are relayed at once, the end is concluded.
//!
//! [`crate::proxy::exchange::Exchange`] says what may happen next; this driver does it, and waits. It never
//! waits for one direction only: every wait is on all that could happen, and on the deadline.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;

use crate::h1::Method;
use crate::limits;
use crate::proxy::edits;
use crate::proxy::error::{Failure, Side};
use crate::proxy::flow::Outgoing;
use crate::proxy::grpc;
use crate::proxy::health::Outcome;
use crate::proxy::respond::{self, Circumstances};
use crate::proxy::retry::kept::KeptBody;
use crate::proxy::retry::{Again, Cause, Verdict};
use crate::telemetry::metrics::Counter;
use crate::time::Phase;

use super::buffers::Outbox;
use super::client::Client;
use super::inbox::Filled;
use super::record;
use super::shared::Lifecycle;
use super::transaction::{NEVER_SPLICE, Transaction};
use super::tunnel;
use super::upstream::{Place, Upstream};
use super::worker::Worker;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFate {
    /// It awaits the next request.
    KeepAlive,
    /// It is closed, with a goodbye where the protocol has one.
    Close,
    /// It is closed without a word: its response was cut, or it is gone.
    Cut,
    /// It is closed once the client has had the time to read: it may still be sending.
    Linger,
    /// It is reset: closing would make a cut response look complete.
    Reset,
}

/// How a turn of the relay left things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Underway,
    /// The 101 is on its way: bytes are no longer HTTP.
    Switched,
}

/// Performs one exchange.
pub struct Driver<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) client: &'a mut Client,
    pub(super) txn: Box<Transaction>,
}

impl Driver<'_> {
    /// Performs the exchange to its end, and records it.
    #[expect(clippy::manual_async_fn, reason = "smaller: see `accepted::serve`")]
    pub fn run(mut self) -> impl Future<Output = ClientFate> {
        async move {
            let fate = match self.converse().await {
                Ok(fate) => fate,
                Err(failure) => Box::pin(self.conclude(failure)).await,
            };
            self.report_end();
            self.count_bytes(fate);
            record::conclude(self.worker, self.client.caller.address, self.txn);
            fate
        }
    }

    async fn converse(&mut self) -> Result<ClientFate, Failure> {
        if let Some(refusal) = self.txn.refusal {
            return Err(refusal.failure);
        }
        self.txn.exchange.check_declared_length()?;
        self.client.group().ok_or(Failure::NameUnresolved)?.count_request(self.worker.clock.now());
        let mut again = None;
        let mut upstream = poll_fn(|cx| Poll::Ready(self.at_hand(cx))).await;
        let progress = loop {
            let upstream_now = match &mut upstream {
                Some(upstream) => upstream,
                // Boxed, for it happens rarely and every exchange would keep room for it.
                none => none.insert(Box::pin(self.acquire(again)).await?),
            };
            if !upstream_now.transport.splices() {
                self.txn.splice_min = NEVER_SPLICE;
            }
            let failure = match self.relay(upstream_now).await {
                Ok(progress) => break progress,
                Err(failure) => failure,
            };
            again = self.next_attempt(failure, upstream_now.reused);
            let Some(again) = again else {
                self.pass_reset_on(failure, upstream_now);
                return Err(failure);
            };
            upstream = None;
            self.prepare_again(again);
        };
        let upstream = upstream.ok_or(Failure::NoEndpoint)?; // it brought the response
        match progress {
            Progress::Underway => Ok(self.complete(upstream)),
            Progress::Switched => Ok(Box::pin(self.tunnel(upstream)).await),
        }
    }

    /// Whether the request goes out again behind this failure; what it says of the endpoint is noted.
    fn next_attempt(&mut self, failure: Failure, reused: bool) -> Option<Again> {
        if let Some(again) = self.txn.again.take() {
            return Some(again); // an answer with a status that is not wanted: it was noted as what it is
        }
        let again = self.decide_after(failure, reused);
        let noted = self.txn.facts.responded.is_some() && self.outcome() == Outcome::Failed;
        if self.blames_endpoint(failure) && again != Some(Again::Repeat) && !noted {
            self.report(Outcome::Failed);
        }
        again
    }

    /// The endpoint has begun to answer. A bad status is a failure at once; whether a good one was kept to its end, only
    /// that end can say.
    pub(super) fn report_head(&self) {
        match (self.outcome(), &self.txn.facts.place) {
            (Outcome::Served, Some(place)) => place.group.answered(place.index, self.worker.clock.now()),
            (Outcome::Served, None) => {}
            (bad @ (Outcome::Failed | Outcome::Unreachable), _) => self.report(bad),
        }
    }

    /// The exchange is over, and its response, if there was one, is not known to be the endpoint's failure.
    fn report_end(&self) {
        let facts = &self.txn.facts;
        let served = facts.responded.is_some() && self.outcome() == Outcome::Served;
        if served && !facts.failure.is_some_and(|failure| self.blames_endpoint(failure)) {
            self.report(Outcome::Served);
        }
    }

    /// What the status of the response says of the endpoint.
    fn outcome(&self) -> Outcome {
        Outcome::of_status(self.txn.facts.status)
    }

    /// Whether the request goes out again behind this failure of a connection that stood.
    fn decide_after(&mut self, failure: Failure, reused: bool) -> Option<Again> {
        match failure {
            Failure::UpstreamClosed => self.decide(Cause::ResetBeforeResponse { reused }),
            Failure::StreamRefused => self.decide(Cause::RefusedStream),
            _ => None,
        }
    }

    /// Whether the request goes out again, by the policy of its route and the budget of its group.
    pub(super) fn decide(&mut self, cause: Cause) -> Option<Again> {
        let route = self.client.route()?;
        let group = self.client.group()?;
        match group.decide(self.txn.exchange.attempt(cause), &route.retry, self.worker.clock.now()) {
            Verdict::Again(again) => Some(again),
            Verdict::GiveUp(_) => None,
        }
    }

    /// The request is about to go out again: what was sent of it is staged anew.
    pub(super) fn prepare_again(&mut self, again: Again) {
        self.worker.metrics.add(Counter::Repeats, 1);
        self.txn.facts.retries = self.txn.facts.retries.saturating_add(1);
        self.txn.to_origin.release(&self.worker.pool);
        self.txn.from_origin.consume(usize::MAX, &self.worker.pool);
        self.txn.scan = Default::default();
        self.txn.surplus = false;
        let kept = self.txn.kept.as_ref().and_then(KeptBody::bytes).filter(|kept| !kept.is_empty());
        self.txn.head_sent = kept.is_some();
        if let Some(kept) = kept {
            let out = self.txn.to_origin.stage(&self.worker.pool);
            out.extend_from_slice(&self.txn.head);
            out.extend_from_slice(kept);
        }
        self.txn.exchange.again(again, self.worker.clock.now());
    }

    /// How the request ended, for whoever serves it.
    pub(super) fn report(&self, outcome: Outcome) {
        if let Some(Place { group, index }) = &self.txn.facts.place {
            group.report(*index, outcome, self.worker.clock.now());
        }
    }

    /// In HTTP/2 a side that breaks off says why, and the other side may as well know: RFC 9113 §7 leaves the code to us,
    /// gRPC reads it.
    fn pass_reset_on(&mut self, failure: Failure, upstream: &mut Upstream) {
        let (client, origin) = (&mut self.client.transport, &mut upstream.transport);
        let (why, other) = match failure {
            Failure::ClientGone => (client.reset_by_peer(), origin),
            // No error would make a response that was cut look whole.
            Failure::ResponseCut => (origin.reset_by_peer().filter(|why| *why != Reason::NO_ERROR), client),
            _ => return,
        };
        if let Some(reason) = why {
            other.reset_stream(reason);
        }
    }

    /// Moves both directions until the response is with the client, or the protocol is switched.
    async fn relay(&mut self, upstream: &mut Upstream) -> Result<Progress, Failure> {
        loop {
            self.pump_upload(upstream)?;
            if self.pump_download(upstream)? == Progress::Switched {
                return Ok(Progress::Switched);
            }
            if self.txn.exchange.is_complete() {
                return Ok(Progress::Underway);
            }
            self.watch_client()?;
            poll_fn(|cx| self.poll_any(upstream, cx)).await?;
        }
    }

    /// Whether a failure says something about the endpoint, after all that is known of the client: one that holds its body
    /// back makes an origin late that does not say 100, and one that does not read makes an origin give up.
    fn blames_endpoint(&self, failure: Failure) -> bool {
        let excused = match failure {
            Failure::Timeout(Phase::Request) => self.txn.exchange.is_holding_back(),
            Failure::ResponseCut | Failure::BadResponseBody(_) => self.txn.held_up,
            _ => false,
        };
        failure.blames_endpoint() && !excused
    }

    /// Ready when anything that the exchange waits for may have happened; an error when its time is up.
    fn poll_any(&mut self, upstream: &mut Upstream, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut ready = false;
        if self.txn.exchange.wants_origin() {
            ready |= upstream.transport.poll_readable(cx).is_ready();
        } else {
            upstream.transport.absorb(cx);
        }
        if !self.txn.to_origin.is_empty() {
            ready |= upstream.transport.poll_writable(cx).is_ready();
        }
        ready |= self.poll_client(cx);
        if ready { Poll::Ready(Ok(())) } else { self.poll_deadline(cx) }
    }

    pub(super) fn poll_client(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ready = false;
        if !self.txn.to_client.is_empty() {
            self.txn.held_up = true;
            ready |= self.client.transport.poll_writable(cx).is_ready();
        }
        if self.txn.exchange.wants_client() || self.client.inbox.bytes().len() < limits::PIPELINE_BYTES_MAX {
            ready |= self.client.transport.poll_readable(cx).is_ready();
        } else {
            self.client.transport.absorb(cx);
        }
        ready
    }

    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let view = Rc::clone(&self.client.view);
        let timeouts = self
            .client
            .route
            .and_then(|route| view.route(route))
            .map_or(&view.config.timeouts, |it| &it.timeouts);
        let now = self.worker.clock.now();
        if self.txn.exchange.download().is_settled() {
            self.client.look = None;
        } else if self.client.has_taken(now, timeouts.write) {
            self.txn.exchange.client_acknowledged(now);
        }
        let deadline = self.txn.exchange.deadline(timeouts);
        self.client.poll_deadline(self.worker, deadline, cx).map(Err)
    }

    /// While no body is due, a readable client is one that left, or one that is ahead of itself.
    pub(super) fn watch_client(&mut self) -> Result<(), Failure> {
        while self.client.transport.is_readable() && !self.txn.exchange.wants_client() {
            match self.client.fill(self.worker, limits::PIPELINE_BYTES_MAX)? {
                Filled::Bytes(_) => {}
                Filled::NotNow | Filled::Full => break,
                Filled::End => return Err(Failure::ClientGone),
            }
        }
        Ok(())
    }

    /// The response is with the client: what becomes of both connections.
    fn complete(&mut self, upstream: Upstream) -> ClientFate {
        if self.txn.exchange.upstream_reusable() && !self.txn.surplus {
            let keep_alive = self.txn.keep_alive_s.map(|seconds| Duration::from_secs(seconds.into()));
            self.worker.views.give_back(upstream, keep_alive, self.worker.clock.now());
        }
        if self.txn.exchange.client_reusable() {
            ClientFate::KeepAlive
        } else if self.txn.exchange.upload().is_complete() && self.client.inbox.is_empty() {
            ClientFate::Close
        } else {
            ClientFate::Linger
        }
    }

    /// Bytes pass both ways until both sides have ended.
    async fn tunnel(&mut self, upstream: Upstream) -> ClientFate {
        self.txn.facts.tunnel = true;
        self.worker.metrics.add(Counter::Tunnels, 1);
        self.txn.facts.tunnel_begins();
        let to_client = std::mem::take(&mut self.txn.to_client);
        let to_origin = std::mem::take(&mut self.txn.to_origin);
        let ended = tunnel::run(self.worker, self.client, upstream, to_client, to_origin).await;
        self.txn.facts.bytes_in = ended.bytes_in;
        self.txn.facts.bytes_out += ended.bytes_out; // behind what came with the 101
        self.txn.facts.failure = ended.failure;
        ClientFate::Close
    }

    /// The exchange failed: a response of our own if none has begun, else a cut that is seen to be one.
    async fn conclude(&mut self, failure: Failure) -> ClientFate {
        self.txn.facts.failure = Some(failure);
        if failure == Failure::ClientGone {
            self.txn.facts.status =
                if self.txn.exchange.is_responding() { self.txn.facts.status } else { failure.status(0) };
            return ClientFate::Cut;
        }
        if self.txn.exchange.is_responding() {
            if failure.side() == Side::Upstream {
                let _ = self.flush_client().await; // what the origin did say is the client's
            }
            if self.txn.grpc && self.break_call_off(failure) && self.flush_client().await.is_ok() {
                return ClientFate::Close;
            }
            // A close would make a body that runs to the end of the connection look complete, and would let a
            // client that does not read keep its share of kernel memory.
            let reset =
                self.txn.outgoing == Outgoing::UntilClose || failure == Failure::Timeout(Phase::Write);
            return if reset { ClientFate::Reset } else { ClientFate::Cut };
        }
        if failure == Failure::StreamRefused && self.client.http2 {
            self.txn.facts.status = failure.status(0);
            self.client.transport.reset_stream(Reason::REFUSED_STREAM);
            return ClientFate::Cut; // RFC 9113 §8.7: it may try again, whatever it asked
        }
        let keep_alive = self.respond(failure);
        match self.flush_client().await {
            Err(_) => ClientFate::Cut,
            Ok(()) if keep_alive => ClientFate::KeepAlive,
            Ok(()) => ClientFate::Linger,
        }
    }

    /// Stages the end of a gRPC call that failed behind its head: to its client, a stream that is reset was cancelled by
    /// nobody but itself. A stream that was reset for a reason of the origin's takes no end any more.
    fn break_call_off(&mut self, failure: Failure) -> bool {
        if failure == Failure::Timeout(Phase::Write) {
            return false; // it does not read
        }
        let mut status = self.worker.pool.take_small();
        grpc::write_status(failure, &mut status);
        let out = self.txn.to_client.stage(&self.worker.pool);
        let told = self.txn.exchange.download().break_off(&status, out);
        self.worker.pool.give(status);
        told
    }

    /// Stages the response to a failure; true when the connection may carry on behind it.
    fn respond(&mut self, failure: Failure) -> bool {
        let view = Rc::clone(&self.client.view);
        let config = &view.config;
        let route = self.client.route.and_then(|route| view.route(route));
        let keep_alive = self.txn.exchange.may_keep_alive()
            && failure.spares_client()
            && self.worker.shared.lifecycle() == Lifecycle::Running;
        self.txn.facts.status = failure.status(config.timeout_status);
        let json = respond::head_accepts_json(&self.txn.head);
        if self.txn.grpc {
            self.txn.facts.status = 200;
        }
        let out = self.txn.to_client.stage(&self.worker.pool);
        self.worker.clock.with_http_date(|date| {
            let at = Circumstances {
                version: self.txn.version,
                head_only: self.txn.method == Method::Head,
                json,
                grpc: self.txn.grpc,
                keep_alive,
                timeout_status: config.timeout_status,
                edits: route.map_or(&edits::NONE, |route| &route.response_fields),
                retry_after: self.txn.refusal.map_or(failure.retry_after(), |refusal| refusal.retry_after),
                date,
            };
            respond::failure(failure, at, out);
        });
        keep_alive
    }

    /// Sends what is staged for the client, under the write timeout.
    async fn flush_client(&mut self) -> Result<(), Failure> {
        let outbox = std::mem::take(&mut self.txn.to_client);
        self.client.flush(self.worker, outbox).await
    }

    fn count_bytes(&mut self, fate: ClientFate) {
        if !self.txn.facts.tunnel {
            let unsent = |outbox: &Outbox| outbox.unsent() as u64;
            self.txn.facts.bytes_in =
                self.txn.exchange.upload().payload().saturating_sub(unsent(&self.txn.to_origin));
            if self.txn.exchange.is_responding() {
                let mut out =
                    self.txn.exchange.download().payload().saturating_sub(unsent(&self.txn.to_client));
                if fate == ClientFate::Reset || self.txn.facts.failure == Some(Failure::ClientGone) {
                    // What the kernel still holds for a client that is gone or reset, the client never got.
                    out = out.saturating_sub(u64::from(self.client.transport.unacknowledged()));
                }
                self.txn.facts.bytes_out = out;
            }
        }
        self.worker.metrics.add(Counter::BytesIn, self.txn.facts.bytes_in);
        self.worker.metrics.add(Counter::BytesOut, self.txn.facts.bytes_out);
    }
}
