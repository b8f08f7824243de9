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
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::h1::head::{Parsed, parse_request};
use crate::h1::{HeadError, HeadScan, Method, RequestHead, Version};
use crate::limits;
use crate::proxy::error::Failure;
use crate::proxy::exchange::{Deadline, Exchange, Request};
use crate::proxy::forward::{self, Hop, Source};
use crate::proxy::respond::{self, Circumstances};
use crate::telemetry::access_log::AccessRecord;
use crate::telemetry::metrics::Counter;
use crate::time::{Phase, Timestamp};

use super::buffers::Outbox;
use super::exchange::{ClientFate, Driver, Facts, write_deadline};
use super::fault;
use super::inbox::{Filled, Inbox};
use super::shared::{Admission, Lifecycle};
use super::timer::Timer;
use super::transport::Transport;
use super::worker::Worker;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub transport: Transport,
    /// What was read and not yet used.
    pub inbox: Inbox,
    peer: SocketAddr,
    trusted: bool,
    timer: Timer,
    /// When the connection was accepted, until its first byte came.
    fresh_since: Option<Timestamp>,
}

/// A request whose head was understood.
#[derive(Debug)]
pub struct Incoming {
    /// Its exchange.
    pub exchange: Exchange,
    /// Method.
    pub method: Method,
    /// The client's protocol version.
    pub version: Version,
    /// The head to forward.
    pub head: Vec<u8>,
    /// For the log.
    pub facts: Facts,
    /// For the log, if there is one.
    pub line: Option<Box<Line>>,
    /// The request is for the proxy itself.
    pub answers_itself: bool,
}

/// What the access log says of a request: copied out of its head, which does not live as long.
#[derive(Debug, Default)]
pub struct Line {
    method: Box<[u8]>,
    host: Box<[u8]>,
    target: Box<[u8]>,
    request_id: Box<[u8]>,
    /// The client that a trusted proxy speaks for.
    client: Option<SocketAddr>,
    protocol: &'static str,
}

/// What an idle connection came to.
enum Next {
    Request(Box<Incoming>),
    /// The head was refused, late, or broken off.
    Refused(Failure, Facts),
    /// Nothing was asked.
    Closed,
}

/// Serves one connection to its end.
pub async fn serve(worker: Rc<Worker>, transport: Transport, peer: SocketAddr, admission: Admission) {
    let worker = &*worker;
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut client = Client {
        transport,
        inbox: Inbox::default(),
        peer,
        trusted: worker.shared.config.forwarding.trusted_proxies.iter().any(|net| net.contains(&peer.ip())),
        timer: worker.timers.timer(),
        fresh_since: Some(worker.clock.now()),
    };
    loop {
        let fate = match client.next(worker).await {
            Next::Closed => break,
            Next::Refused(failure, facts) => Box::pin(client.refuse(worker, failure, facts)).await,
            // On the heap, so that an idle connection does not keep the room for it.
            Next::Request(incoming) => Box::pin(client.exchange(worker, incoming)).await,
        };
        match fate {
            ClientFate::KeepAlive => continue,
            ClientFate::Close => {}
            ClientFate::Linger => client.linger(worker).await,
            ClientFate::Reset => client.transport.reset_on_close(),
        }
        break;
    }
    client.inbox.consume(usize::MAX, &worker.pool);
    drop(admission);
}

impl Client {
    /// Awaits the next request head.
    async fn next(&mut self, worker: &Worker) -> Next {
        let idle_since = worker.clock.now();
        let mut scan = HeadScan::default();
        let mut started = (!self.inbox.is_empty()).then_some(idle_since);
        loop {
            if let Some(started) = started {
                match self.understand(worker, &mut scan, started) {
                    Ok(Some(incoming)) => return Next::Request(Box::new(incoming)),
                    Ok(None) => {}
                    Err(error) => {
                        return Next::Refused(
                            Failure::BadRequest(error),
                            Facts::new(started, worker.clock.now()),
                        );
                    }
                }
            }
            let deadline = self.head_deadline(worker, idle_since, started);
            if started.is_none()
                && worker.shared.lifecycle() != Lifecycle::Running
                && !self.transport.is_readable()
            {
                return Next::Closed;
            }
            let waited = poll_fn(|cx| self.poll_request(worker, started.is_none(), deadline, cx)).await;
            let failed = match waited {
                Err(failure) => Some(failure),
                Ok(()) => match self.fill(worker, worker.shared.config.message.head_bytes_max + 1) {
                    Ok(Filled::Bytes(_)) => {
                        self.fresh_since = None;
                        started.get_or_insert_with(|| worker.clock.now());
                        None
                    }
                    Ok(Filled::NotNow) => None,
                    // A head that fills the inbox is refused by the parser before this.
                    Ok(Filled::Full) => Some(Failure::BadRequest(HeadError::HeadTooLarge)),
                    Ok(Filled::End) | Err(_) => Some(Failure::ClientGone),
                },
            };
            if let Some(failure) = failed {
                return match started {
                    Some(started) => Next::Refused(failure, Facts::new(started, worker.clock.now())),
                    None => Next::Closed,
                };
            }
        }
    }

    /// Idle: keep-alive, and for a fresh connection the handshake timeout. With a head begun: its total time.
    fn head_deadline(&self, worker: &Worker, idle_since: Timestamp, started: Option<Timestamp>) -> Deadline {
        let timeouts = &worker.shared.config.timeouts;
        if let Some(started) = started {
            return Deadline { at: started.after(timeouts.header), phase: Phase::Header };
        }
        let idle = Deadline { at: idle_since.after(timeouts.keepalive), phase: Phase::KeepAlive };
        match self.fresh_since.map(|since| since.after(timeouts.handshake)) {
            Some(at) if at < idle.at => Deadline { at, phase: Phase::Handshake },
            _ => idle,
        }
    }

    fn poll_request(
        &mut self,
        worker: &Worker,
        idle: bool,
        deadline: Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        if self.transport.poll_readable(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if idle && worker.shared.lifecycle() != Lifecycle::Running {
            return Poll::Ready(Err(Failure::Timeout(Phase::Drain)));
        }
        self.poll_deadline(worker, Some(deadline), cx).map(Err)
    }

    /// Ready when `deadline` has passed, or the drain's has.
    pub(super) fn poll_deadline(
        &mut self,
        worker: &Worker,
        deadline: Option<Deadline>,
        cx: &mut Context<'_>,
    ) -> Poll<Failure> {
        if worker.shared.lifecycle() == Lifecycle::Cutting {
            return Poll::Ready(Failure::Timeout(Phase::Drain));
        }
        let at = deadline.map_or(Timestamp::NEVER, |deadline| deadline.at);
        if let Some(Deadline { at, phase }) = deadline
            && worker.clock.now() >= at
        {
            worker.metrics.add(Counter::timeout(phase), 1);
            return Poll::Ready(Failure::Timeout(phase));
        }
        self.timer.arm(at, cx);
        Poll::Pending
    }

    /// Reads into the inbox, up to `limit` bytes.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn fill(&mut self, worker: &Worker, limit: usize) -> Result<Filled, Failure> {
        let mut scratch = worker.scratch.borrow_mut();
        let filled = self.inbox.fill(&mut self.transport, &mut scratch, limit, &worker.pool);
        filled.map_err(|_| Failure::ClientGone)
    }

    /// Parses the head at the start of the inbox and rewrites it for the origin; `None` if it is incomplete.
    fn understand(
        &mut self,
        worker: &Worker,
        scan: &mut HeadScan,
        started: Timestamp,
    ) -> Result<Option<Incoming>, HeadError> {
        if !scan.grew(self.inbox.bytes()) {
            return Ok(None);
        }
        let mut fields = worker.fields.borrow_mut();
        let bytes = self.inbox.bytes();
        let Parsed::Complete(head) = parse_request(bytes, &worker.shared.config.message, &mut fields)? else {
            return Ok(None);
        };
        fault::provoke(head.target.of(bytes));
        let source = Source { bytes, fields: &fields };
        let id = worker.ids.borrow_mut().next_id();
        let hop = self.hop(worker, &id);
        let mut forwarded = worker.pool.take();
        forward::request(&head, source, hop, &mut forwarded);
        let now = worker.clock.now();
        let incoming = Incoming {
            exchange: exchange(worker, &head, started, now),
            method: head.method,
            version: head.version,
            head: forwarded,
            facts: Facts::new(started, now),
            line: worker.journal.is_on().then(|| Box::new(Line::of(worker, &head, source, hop))),
            answers_itself: forward::answers_itself(&head, source),
        };
        self.inbox.consume(head.bytes, &worker.pool);
        worker.metrics.add(Counter::Requests, 1);
        Ok(Some(incoming))
    }

    fn hop<'a>(&self, worker: &Worker, request_id: &'a [u8]) -> Hop<'a> {
        let config = &worker.shared.config;
        Hop {
            client: self.peer.ip(),
            trusted: self.trusted,
            scheme: "http",
            request_id,
            forwarded: config.forwarding.forwarded,
            allow_underscores: config.message.allow_underscores,
        }
    }

    async fn exchange(&mut self, worker: &Worker, mut incoming: Box<Incoming>) -> ClientFate {
        let line = incoming.line.take();
        let (fate, facts) = if incoming.answers_itself {
            self.answer_options(worker, *incoming).await
        } else {
            Driver::new(worker, self, *incoming).run().await
        };
        self.record(worker, line.as_deref(), &facts);
        fate
    }

    /// `OPTIONS` with `Max-Forwards: 0`.
    async fn answer_options(&mut self, worker: &Worker, incoming: Incoming) -> (ClientFate, Facts) {
        let keep_alive = incoming.exchange.may_keep_alive();
        let mut facts = incoming.facts;
        facts.status = 204;
        let mut out = Outbox::default();
        worker.clock.with_http_date(|date| {
            let at = Circumstances { keep_alive, ..circumstances(worker, incoming.version, date) };
            respond::options(at, out.stage(&worker.pool));
        });
        worker.pool.give(incoming.head);
        match self.flush(worker, out).await {
            Err(failure) => {
                facts.failure = Some(failure);
                (ClientFate::Close, facts)
            }
            Ok(()) if keep_alive => (ClientFate::KeepAlive, facts),
            Ok(()) => (ClientFate::Linger, facts),
        }
    }

    /// Answers a head that was refused, and logs it.
    async fn refuse(&mut self, worker: &Worker, failure: Failure, mut facts: Facts) -> ClientFate {
        worker.metrics.add(Counter::HeadsRefused, 1);
        facts.failure = Some(failure);
        facts.status = failure.status(worker.shared.config.timeout_status);
        let fate = if failure == Failure::ClientGone {
            ClientFate::Close
        } else {
            let mut out = Outbox::default();
            worker.clock.with_http_date(|date| {
                respond::failure(
                    failure,
                    circumstances(worker, Version::Http11, date),
                    out.stage(&worker.pool),
                );
            });
            match self.flush(worker, out).await {
                Ok(()) => ClientFate::Linger,
                Err(_) => ClientFate::Close,
            }
        };
        self.record(worker, None, &facts);
        fate
    }

    /// Sends all of `outbox`, under the write timeout.
    ///
    /// # Errors
    /// The client is gone, or too slow.
    pub(super) async fn flush(&mut self, worker: &Worker, mut outbox: Outbox) -> Result<(), Failure> {
        let mut since = worker.clock.now();
        let sent = loop {
            match outbox.send(&mut self.transport, &worker.pool, &[]) {
                Err(_) => break Err(Failure::ClientGone),
                Ok(_) if outbox.is_empty() => break Ok(()),
                Ok(0) => {}
                Ok(_) => since = worker.clock.now(),
            }
            let deadline = write_deadline(&worker.shared.config.timeouts, since);
            let waited = poll_fn(|cx| match self.transport.poll_writable(cx) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => self.poll_deadline(worker, Some(deadline), cx).map(Err),
            });
            if let Err(failure) = waited.await {
                break Err(failure);
            }
        };
        outbox.release(&worker.pool);
        sent
    }

    /// Ends our side, then throws away what still comes, so that the client can read its response: closing
    /// with unread bytes would reset the connection and destroy it (RFC 9112 §9.6).
    async fn linger(&mut self, worker: &Worker) {
        self.transport.shutdown_write();
        let end = worker.clock.now().after(Some(Duration::from_millis(limits::LINGER_MS)));
        let mut thrown_away = 0;
        while thrown_away < limits::LINGER_BYTES_MAX {
            let silence = worker.clock.now().after(Some(Duration::from_millis(limits::LINGER_SILENCE_MS)));
            let at = silence.min(end);
            let readable = poll_fn(|cx| {
                if worker.clock.now() >= at || worker.shared.lifecycle() == Lifecycle::Cutting {
                    return Poll::Ready(false);
                }
                if self.transport.poll_readable(cx).is_ready() {
                    return Poll::Ready(true);
                }
                self.timer.arm(at, cx);
                Poll::Pending
            });
            if !readable.await {
                return;
            }
            let mut scratch = worker.scratch.borrow_mut();
            match self.transport.try_read(&mut scratch) {
                Ok(Some(n)) if n > 0 => thrown_away += n,
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return,
            }
            self.transport.yield_read();
        }
    }

    fn record(&self, worker: &Worker, line: Option<&Line>, facts: &Facts) {
        count(worker, facts);
        if !worker.journal.is_on() {
            return;
        }
        let nothing = Line::default();
        let line = line.unwrap_or(&nothing);
        let now = worker.clock.now();
        let upstream = facts.endpoint.as_ref().and_then(|(all, index)| all.0.get(*index));
        worker.journal.record(&AccessRecord {
            unix_us: worker.clock.unix_us(),
            client: line.client.or(Some(self.peer)),
            request_id: &line.request_id,
            method: &line.method,
            host: &line.host,
            target: &line.target,
            protocol: line.protocol,
            status: facts.status,
            error: facts.failure.map(Failure::error_type),
            detail: facts.failure.map(Failure::detail),
            phase: facts.failure.and_then(Failure::phase).map(Phase::name),
            upstream: upstream.map_or("", |endpoint| &endpoint.label),
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
}

impl Line {
    fn of(worker: &Worker, head: &RequestHead, source: Source<'_>, hop: Hop<'_>) -> Line {
        let told = forward::client_behind(source, hop, &worker.shared.config.forwarding.trusted_proxies);
        Line {
            client: told.map(|ip| SocketAddr::new(ip, 0)),
            method: head.method_span.of(source.bytes).into(),
            host: head.authority.of(source.bytes).into(),
            target: head.target.of(source.bytes).into(),
            request_id: forward::request_id(source, hop).into(),
            protocol: head.version.as_str(),
        }
    }
}

fn exchange(worker: &Worker, head: &RequestHead, started: Timestamp, now: Timestamp) -> Exchange {
    let request = Request {
        method: head.method,
        version: head.version,
        framing: head.framing,
        persistent: head.persistent,
        expects_continue: head.expects_continue,
        upgrade: head.upgrade,
    };
    Exchange::new(request, worker.shared.config.message.body_bytes_max, started, now)
}

fn circumstances<'a>(worker: &Worker, version: Version, date: &'a [u8]) -> Circumstances<'a> {
    Circumstances {
        version,
        head_only: false,
        json: false,
        keep_alive: false,
        timeout_status: worker.shared.config.timeout_status,
        date,
    }
}

fn count(worker: &Worker, facts: &Facts) {
    if facts.status > 0 {
        worker.metrics.add(Counter::response(facts.status), 1);
    }
    match facts.failure {
        None => {}
        Some(Failure::ClientGone) => worker.metrics.add(Counter::ClientAborts, 1),
        Some(Failure::BadRequestBody(_) | Failure::BodyTooLarge) => {
            worker.metrics.add(Counter::BodiesRefused, 1)
        }
        Some(_) if facts.responded.is_some() => worker.metrics.add(Counter::ExchangesCut, 1),
        Some(_) => {}
    }
}
