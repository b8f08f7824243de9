//! A client's HTTP/1.1 connection: requests in order, each one exchange, until either side has enough.
//!
//! ```text
//!            ┌──────────────── keep-alive ───────────────┐
//!            ▼                                           │
//!   idle ─▶ head arriving ─▶ exchange ─▶ fate ───────────┤
//!    │           │ refused, late                         ├─▶ close
//!    └─ close    └─▶ response of our own ─▶ linger ─▶ close / reset
//! ```

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::config::Config;
use crate::config::route::{Action, Retry};
use crate::h1::head::{Parsed, parse_request};
use crate::h1::{Framing, HeadError, HeadScan, Method, RequestHead, Version};
use crate::limits;
use crate::proxy::edits;
use crate::proxy::error::Failure;
use crate::proxy::exchange::{Deadline, Exchange, Request};
use crate::proxy::forward::{self, Source};
use crate::proxy::grpc;
use crate::proxy::respond::{self, Circumstances};
use crate::proxy::retry::kept::KeptBody;
use crate::telemetry::metrics::Counter;
use crate::time::{Phase, Timestamp};

use super::buffers::Outbox;
use super::choose::Choice;
use super::client::Client;
use super::exchange::{ClientFate, Driver};
use super::facts::{Facts, Line};
use super::fault;
use super::record;
use super::shared::Lifecycle;
use super::transaction::{NEVER_SPLICE, Transaction};
use super::transport::Transport;
use super::worker::Worker;

/// What a client of HTTP/2 says first, as a parser of HTTP/1.1 sees it (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// What an idle connection came to.
enum Next {
    Request(Box<Transaction>),
    /// The head was refused, late, or broken off.
    Refused(Failure, Box<Facts>),
    /// Nothing was asked.
    Closed,
    /// It is HTTP/2, by prior knowledge (RFC 9113 §3.3).
    Http2,
}

/// What a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is to be closed.
    Closed,
    /// It speaks HTTP/2: its first bytes, in the inbox, say so.
    Http2,
}

/// Serves one connection to its end, or for as long as it speaks HTTP/1.1.
pub async fn serve(worker: &Rc<Worker>, client: &mut Client) -> Ended {
    loop {
        let fate = match client.next(worker).await {
            Next::Closed => {
                client.transport.goodbye();
                break;
            }
            Next::Http2 => return Ended::Http2,
            Next::Refused(failure, facts) => Box::pin(client.refuse(worker, failure, *facts)).await,
            Next::Request(txn) => client.exchange(worker, txn).await,
        };
        match fate {
            ClientFate::KeepAlive => continue,
            ClientFate::Close if client.transport.goodbye() => {}
            ClientFate::Close => Box::pin(client.part(worker)).await,
            ClientFate::Cut => {}
            ClientFate::Linger => client.linger(worker).await,
            ClientFate::Reset => client.transport.reset_on_close(),
        }
        break;
    }
    client.inbox.consume(usize::MAX, &worker.pool);
    Ended::Closed
}

/// Serves one stream of an HTTP/2 connection: one request.
#[expect(clippy::manual_async_fn, reason = "smaller: see `accepted::serve`")]
pub fn serve_stream(worker: Rc<Worker>, mut client: Client) -> impl Future<Output = ()> {
    async move {
        let fate = match client.next(&worker).await {
            Next::Closed | Next::Http2 => ClientFate::Cut,
            Next::Refused(failure, facts) => Box::pin(client.refuse(&worker, failure, *facts)).await,
            Next::Request(txn) => client.exchange(&worker, txn).await,
        };
        client.inbox.consume(usize::MAX, &worker.pool);
        if let (ClientFate::KeepAlive | ClientFate::Close, Transport::Stream(stream)) =
            (fate, client.transport)
        {
            stream.part();
        }
    }
}

/// A head on its way.
struct Arrival {
    scan: HeadScan,
    /// When its first byte came; an earlier message's end, for one that was pipelined behind it.
    started: Option<Timestamp>,
    idle_since: Timestamp,
}

impl Client {
    /// Awaits the next request head.
    async fn next(&mut self, worker: &Worker) -> Next {
        let now = worker.clock.now();
        self.renew_view(worker);
        self.route = None;
        let started = (!self.inbox.is_empty()).then_some(now);
        let mut arrival = Arrival { scan: HeadScan::default(), started, idle_since: now };
        let mut received = self.understand_inbox(worker, &mut arrival);
        let failure = loop {
            match received {
                Ok(Some(txn)) => {
                    self.first = false;
                    self.route = txn.route;
                    return Next::Request(txn);
                }
                Ok(None) => {}
                Err(_) if self.view.config.http2 && self.is_preface() => {
                    if self.inbox.bytes().len() >= PREFACE.len() {
                        return Next::Http2;
                    }
                }
                Err(failure) => break failure,
            }
            if let Err(failure) = poll_fn(|cx| self.poll_head(worker, &arrival, cx)).await {
                break failure;
            }
            received = self.receive(worker, &mut arrival);
        };
        match arrival.started {
            Some(started) => Next::Refused(failure, Box::new(Facts::new(started, worker.clock.now()))),
            None => Next::Closed,
        }
    }

    /// What was refused as HTTP/1.1 is the HTTP/2 preface, or the start of it. Behind TLS only ALPN decides.
    fn is_preface(&self) -> bool {
        let bytes = self.inbox.bytes();
        let common = bytes.len().min(PREFACE.len());
        self.first && self.greeting.is_none() && common > 0 && bytes.get(..common) == PREFACE.get(..common)
    }

    /// Reads once. A head that comes whole is understood where it lies; only what is left of the bytes, or an
    /// incomplete head, is kept in the inbox.
    fn receive(
        &mut self,
        worker: &Worker,
        arrival: &mut Arrival,
    ) -> Result<Option<Box<Transaction>>, Failure> {
        let mut scratch = worker.scratch.borrow_mut();
        let limit = self.view.config.message.head_bytes_max + 1;
        let room = limit.saturating_sub(self.inbox.bytes().len()).min(scratch.len());
        // The parser refuses a head before it leaves no room.
        let window = scratch.get_mut(..room).filter(|window| !window.is_empty());
        let window = window.ok_or(Failure::BadRequest(HeadError::HeadTooLarge))?;
        let bytes: &[u8] = match self.transport.try_read(window) {
            Ok(None) => return Ok(None),
            Ok(Some(0)) | Err(_) => return Err(Failure::ClientGone),
            Ok(Some(n)) => window.get(..n).unwrap_or_default(),
        };
        self.fresh_since = Timestamp::NEVER;
        if arrival.started.is_none() {
            arrival.started = Some(worker.clock.now());
            self.renew_view(worker);
        }
        if !self.inbox.is_empty() {
            self.inbox.append(bytes, &worker.pool);
            return self.understand_inbox(worker, arrival);
        }
        let understood = self.understand(worker, arrival, bytes);
        let used = understood.as_ref().ok().and_then(Option::as_ref).map_or(0, |(_, used)| *used);
        self.inbox.append(bytes.get(used..).unwrap_or_default(), &worker.pool); // a refused head, for the log
        Ok(understood?.map(|(txn, _)| txn))
    }

    fn understand_inbox(
        &mut self,
        worker: &Worker,
        arrival: &mut Arrival,
    ) -> Result<Option<Box<Transaction>>, Failure> {
        let inbox = std::mem::take(&mut self.inbox);
        let understood = self.understand(worker, arrival, inbox.bytes());
        self.inbox = inbox;
        Ok(understood?.map(|(txn, used)| {
            self.inbox.consume(used, &worker.pool);
            txn
        }))
    }

    fn poll_head(
        &mut self,
        worker: &Worker,
        arrival: &Arrival,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        if self.transport.poll_readable(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let shared = &worker.shared;
        if arrival.started.is_none() && shared.lifecycle() != Lifecycle::Running && !shared.has_successor() {
            // A client that was let in a moment ago may have spoken before the ring says so.
            let spoken = self.transport.has_bytes();
            return Poll::Ready(if spoken { Ok(()) } else { Err(Failure::Timeout(Phase::Drain)) });
        }
        let deadline = self.head_deadline(arrival);
        self.poll_deadline(worker, Some(deadline), cx).map(Err)
    }

    /// Idle: keep-alive, and for a fresh connection the handshake timeout. With a head begun: its total time.
    fn head_deadline(&self, arrival: &Arrival) -> Deadline {
        let timeouts = &self.view.config.timeouts;
        if let Some(started) = arrival.started {
            // The deadline of the whole exchange counts from here too; a head that misses it is the client's doing.
            let at = started.after(timeouts.header).min(started.after(timeouts.request_deadline));
            return Deadline { at, phase: Phase::Header };
        }
        let idle = Deadline { at: arrival.idle_since.after(timeouts.keepalive), phase: Phase::KeepAlive };
        let fresh = Deadline { at: self.fresh_since.after(timeouts.handshake), phase: Phase::Handshake };
        if fresh.at < idle.at { fresh } else { idle }
    }

    /// Parses the head at the start of `bytes` and rewrites it for the origin. `None` if it is incomplete;
    /// else also its length.
    fn understand(
        &self,
        worker: &Worker,
        arrival: &mut Arrival,
        bytes: &[u8],
    ) -> Result<Option<(Box<Transaction>, usize)>, Failure> {
        if !arrival.scan.grew(bytes) {
            return Ok(None);
        }
        let mut fields = worker.fields.borrow_mut();
        let parsed = parse_request(bytes, &self.view.config.message, &mut fields);
        let Parsed::Complete(head) = parsed.map_err(Failure::BadRequest)? else {
            return Ok(None);
        };
        fault::provoke(head.target.of(bytes));
        let source = Source { bytes, fields: &fields };
        let id = worker.ids.borrow_mut().next_id();
        let hop = self.hop(&id);
        let authority = head.authority.of(bytes);
        if self.greeting.as_ref().is_some_and(|greeting| !greeting.serves(authority)) {
            return Err(Failure::Misdirected);
        }
        let now = worker.clock.now();
        let mut forwarded = worker.pool.take_small();
        let choice = if self.redirects {
            let port = worker.shared.tls_port_of(authority).ok_or(Failure::Misdirected)?;
            forward::location(&head, bytes, port, &mut forwarded);
            Choice::default()
        } else {
            self.choose(&head, source, hop, now, &mut forwarded)?
        };
        let started = arrival.started.unwrap_or(now);
        worker.metrics.add(Counter::Requests, 1);
        let config = &self.view.config;
        let route = choice.route.and_then(|route| self.view.route(route));
        let body_bytes_max = route.map_or(config.message.body_bytes_max, |route| route.body_bytes_max);
        let mut txn = Transaction::new(
            exchange(body_bytes_max, &head, started, now),
            head.method,
            head.version,
            forwarded,
            Facts::new(started, now),
        );
        txn.route = choice.route;
        txn.refusal = choice.refusal;
        txn.kept = route.and_then(|route| kept_body(worker, &route.retry, head.framing));
        txn.home = choice.home;
        txn.key = choice.key;
        txn.admitted = choice.admitted;
        txn.splice_min = config.splice_min.filter(|_| self.transport.splices()).unwrap_or(NEVER_SPLICE);
        if self.http2 {
            txn.exchange.demand_progress(limits::H2_PROGRESS_BYTES_MIN);
            txn.grpc = head.method == Method::Post && grpc::is_call(source);
            if let Some(timeout) = grpc::timeout(source).filter(|_| txn.grpc) {
                txn.exchange.expire(timeout);
            }
        }
        txn.answers_itself = forward::answers_itself(&head, source);
        if worker.journal.is_on() {
            let mut line = worker.transactions.line();
            line.fill(&config.forwarding.trusted_proxies, &head, source, hop);
            txn.line = Some(line);
        }
        Ok(Some((worker.transactions.place(txn), head.bytes)))
    }

    async fn exchange(&mut self, worker: &Rc<Worker>, mut txn: Box<Transaction>) -> ClientFate {
        txn.facts.tally = self.tally();
        if self.redirects {
            return Box::pin(self.answer_redirect(worker, txn)).await;
        }
        if txn.answers_itself {
            return Box::pin(self.answer_options(worker, txn)).await;
        }
        if txn.refusal.is_none() && self.group().is_none() {
            return Box::pin(self.answer_route(worker, txn)).await;
        }
        Driver { worker, client: self, txn }.run().await
    }

    /// A redirect to the listener with TLS.
    async fn answer_redirect(&mut self, worker: &Worker, mut txn: Box<Transaction>) -> ClientFate {
        let keep_alive = txn.exchange.may_keep_alive();
        worker.clock.with_http_date(|date| {
            let at = Circumstances { keep_alive, ..circumstances(&self.view.config, txn.version, date) };
            respond::redirect(308, &txn.head, at, txn.to_client.stage(&worker.pool));
        });
        self.answer(worker, txn, 308).await
    }

    /// What the route says without an origin.
    async fn answer_route(&mut self, worker: &Worker, mut txn: Box<Transaction>) -> ClientFate {
        let view = Rc::clone(&self.view);
        let Some(route) = txn.route.and_then(|route| view.route(route)) else { return ClientFate::Cut };
        let keep_alive = txn.exchange.may_keep_alive();
        let head_only = txn.method == Method::Head;
        let out = txn.to_client.stage(&worker.pool);
        let status = worker.clock.with_http_date(|date| {
            let edits = &route.response_fields;
            let at = Circumstances {
                keep_alive,
                head_only,
                edits,
                ..circumstances(&view.config, txn.version, date)
            };
            match &route.action {
                Action::Redirect { status, .. } => {
                    respond::redirect(*status, &txn.head, at, out);
                    *status
                }
                Action::Respond { status, content_type, body } => {
                    let sends = !head_only && !matches!(status, 204 | 205 | 304);
                    txn.facts.bytes_out = if sends { body.len() as u64 } else { 0 };
                    respond::fixed(*status, content_type.as_deref(), body, at, out);
                    *status
                }
                Action::Forward { .. } => 0, // the driver's
            }
        });
        self.answer(worker, txn, status).await
    }

    /// `OPTIONS` with `Max-Forwards: 0`.
    async fn answer_options(&mut self, worker: &Worker, mut txn: Box<Transaction>) -> ClientFate {
        let keep_alive = txn.exchange.may_keep_alive();
        worker.clock.with_http_date(|date| {
            let at = Circumstances { keep_alive, ..circumstances(&self.view.config, txn.version, date) };
            respond::options(at, txn.to_client.stage(&worker.pool));
        });
        self.answer(worker, txn, 204).await
    }

    /// Sends a response of our own that is no failure.
    async fn answer(&mut self, worker: &Worker, mut txn: Box<Transaction>, status: u16) -> ClientFate {
        txn.facts.status = status;
        let fate = match self.flush(worker, std::mem::take(&mut txn.to_client)).await {
            Err(failure) => {
                txn.facts.failure = Some(failure);
                ClientFate::Cut
            }
            Ok(()) if txn.exchange.may_keep_alive() => ClientFate::KeepAlive,
            Ok(()) => ClientFate::Linger,
        };
        record::conclude(worker, self.caller.address, txn);
        fate
    }

    /// Answers a head that was refused, and logs it.
    async fn refuse(&mut self, worker: &Worker, failure: Failure, mut facts: Facts) -> ClientFate {
        worker.metrics.add(Counter::HeadsRefused, 1);
        let line = worker.journal.is_on().then(|| Line::of_refused(self.inbox.bytes()));
        facts.failure = Some(failure);
        facts.status = failure.status(self.view.config.timeout_status);
        let fate = if failure == Failure::ClientGone {
            ClientFate::Cut
        } else {
            let mut out = Outbox::default();
            worker.clock.with_http_date(|date| {
                let head_only = self.inbox.bytes().starts_with(b"HEAD ");
                let at =
                    Circumstances { head_only, ..circumstances(&self.view.config, Version::Http11, date) };
                respond::failure(failure, at, out.stage(&worker.pool));
            });
            match self.flush(worker, out).await {
                Ok(()) => ClientFate::Linger,
                Err(_) => ClientFate::Cut,
            }
        };
        record::record(worker, self.caller.address, line.as_ref(), &facts);
        fate
    }
}

/// Where a body of this framing is kept, if it is not known to be too large.
fn kept_body(worker: &Worker, policy: &Retry, framing: Framing) -> Option<KeptBody> {
    let length = match framing {
        Framing::None | Framing::Length(0) => return None,
        Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Framing::Chunked | Framing::UntilClose => 0,
    };
    let wanted = policy.max > 0 && length <= policy.body_bytes_max;
    wanted.then(|| KeptBody::new(policy.body_bytes_max, &worker.kept))
}

fn exchange(body_bytes_max: Option<u64>, head: &RequestHead, started: Timestamp, now: Timestamp) -> Exchange {
    let request = Request {
        method: head.method,
        version: head.version,
        framing: head.framing,
        persistent: head.persistent,
        expects_continue: head.expects_continue,
        upgrade: head.upgrade,
    };
    Exchange::new(request, body_bytes_max, started, now)
}

fn circumstances<'a>(config: &Config, version: Version, date: &'a [u8]) -> Circumstances<'a> {
    Circumstances {
        version,
        head_only: false,
        json: false,
        grpc: false,
        keep_alive: false,
        timeout_status: config.timeout_status,
        edits: &edits::NONE,
        retry_after: None,
        date,
    }
}
