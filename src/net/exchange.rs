//! One exchange, performed: an endpoint is found, both bodies are relayed at once, the end is concluded.
//!
//! [`crate::proxy::exchange::Exchange`] says what may happen next; this driver does it, and waits. It never
//! waits for one direction only: every wait is on all that could happen, and on the deadline.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use h2::Reason;

use crate::config::Scheme;
use crate::h1::Method;
use crate::limits;
use crate::proxy::balance::Tried;
use crate::proxy::endpoint::{Address, Endpoint, Endpoints};
use crate::proxy::error::{Failure, Side};
use crate::proxy::flow::Outgoing;
use crate::proxy::grpc;
use crate::proxy::respond::{self, Circumstances};
use crate::telemetry::metrics::Counter;
use crate::time::{Phase, Timestamp};

use super::buffers::Outbox;
use super::client::Client;
use super::connect::{self, Begun};
use super::h2::link::Joined;
use super::h2::origin;
use super::h2::outbound::Outbound;
use super::inbox::Filled;
use super::record;
use super::shared::Lifecycle;
use super::socket::Socket;
use super::tls::handshake;
use super::transaction::Transaction;
use super::transport::Transport;
use super::tunnel;
use super::upstream::Upstream;
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
    pub async fn run(mut self) -> ClientFate {
        let fate = match self.converse().await {
            Ok(fate) => fate,
            Err(failure) => Box::pin(self.conclude(failure)).await,
        };
        self.count_bytes();
        record::conclude(self.worker, self.client.peer, self.txn);
        fate
    }

    async fn converse(&mut self) -> Result<ClientFate, Failure> {
        self.txn.exchange.check_declared_length()?;
        let mut upstream = self.acquire(true).await?;
        loop {
            if !upstream.transport.splices() {
                self.txn.splice_min = u64::MAX;
            }
            let failure = match self.relay(&mut upstream).await {
                Ok(Progress::Underway) => return Ok(self.complete(upstream)),
                Ok(Progress::Switched) => return Ok(Box::pin(self.tunnel(upstream)).await),
                Err(failure) => failure,
            };
            if !self.may_repeat(failure, upstream.reused) {
                self.pass_reset_on(failure, &mut upstream);
                return Err(failure);
            }
            self.worker.metrics.add(Counter::Repeats, 1);
            self.txn.facts.retries = self.txn.facts.retries.saturating_add(1);
            self.txn.head_sent = false;
            self.txn.to_origin.release(&self.worker.pool);
            self.txn.exchange.repeat(self.worker.clock.now());
            drop(upstream);
            upstream = self.acquire(false).await?;
        }
    }

    fn may_repeat(&self, failure: Failure, reused: bool) -> bool {
        match failure {
            Failure::UpstreamClosed => self.txn.exchange.may_repeat(reused, false),
            Failure::StreamRefused => self.txn.exchange.may_repeat(reused, true),
            _ => false,
        }
    }

    /// In HTTP/2 a side that breaks off says why, and the other side may as well know: RFC 9113 §7 leaves the code to us,
    /// gRPC reads it.
    fn pass_reset_on(&mut self, failure: Failure, upstream: &mut Upstream) {
        let why = match failure {
            Failure::ClientGone => self.client.transport.reset_by_peer(),
            _ => None,
        };
        if let Some(reason) = why {
            upstream.transport.reset_stream(reason);
        }
        let why = match failure {
            // Nothing was done: the client may try again, whatever it asked (§8.7).
            Failure::StreamRefused => Some(Reason::REFUSED_STREAM),
            Failure::ResponseCut => upstream.transport.reset_by_peer().filter(|why| *why != Reason::NO_ERROR),
            _ => None,
        };
        if let Some(reason) = why {
            self.client.transport.reset_stream(reason);
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

    /// Ready when anything that the exchange waits for may have happened; an error when its time is up.
    fn poll_any(&mut self, upstream: &mut Upstream, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut ready = false;
        if self.txn.exchange.wants_origin() {
            ready |= upstream.transport.poll_readable(cx).is_ready();
        }
        if !self.txn.to_origin.is_empty() {
            ready |= upstream.transport.poll_writable(cx).is_ready();
        }
        ready |= self.poll_client(cx);
        if ready { Poll::Ready(Ok(())) } else { self.poll_deadline(cx) }
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ready = false;
        if !self.txn.to_client.is_empty() {
            ready |= self.client.transport.poll_writable(cx).is_ready();
        }
        if self.txn.exchange.wants_client() || self.client.inbox.bytes().len() < limits::PIPELINE_BYTES_MAX {
            ready |= self.client.transport.poll_readable(cx).is_ready();
        }
        ready
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let timeouts = &self.worker.shared.config.timeouts;
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

    /// A connection to an endpoint: pooled if it may be, else new; the next endpoint when one fails.
    async fn acquire(&mut self, pooled: bool) -> Result<Upstream, Failure> {
        let mut tried = Tried::default();
        let mut last = Failure::NameUnresolved;
        for attempt in 0..limits::CONNECT_ATTEMPTS_MAX {
            let now = self.worker.clock.now();
            let Some((index, endpoints)) = self.worker.upstreams.pick(now, tried) else { break };
            tried.insert(index);
            if attempt > 0 {
                self.txn.facts.retries = self.txn.facts.retries.saturating_add(1);
            }
            self.txn.facts.endpoint = Some((Rc::clone(&endpoints), index));
            if pooled
                && let Some(upstream) =
                    poll_fn(|cx| Poll::Ready(self.worker.upstreams.take(index, now, cx))).await
            {
                self.worker.metrics.add(Counter::UpstreamReuses, 1);
                self.txn.facts.reused = true;
                self.txn.exchange.connected(now);
                return Ok(upstream);
            }
            match Box::pin(self.connect(index, endpoints, now)).await {
                Ok(upstream) => return Ok(upstream),
                Err(failure) if failure.side() == Side::Upstream || failure == Failure::Exhausted => {
                    self.worker.metrics.add(Counter::UpstreamConnectFailures, 1);
                    self.worker.upstreams.failed(index, &failure.message(), now);
                    last = failure;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    async fn connect(
        &mut self,
        index: usize,
        endpoints: Rc<Endpoints>,
        began: Timestamp,
    ) -> Result<Upstream, Failure> {
        self.txn.exchange.connecting(began);
        self.txn.facts.reused = false;
        let endpoint = endpoints.0.get(index).ok_or(Failure::NameUnresolved)?;
        let transport = if endpoint.scheme.http2 {
            self.join(index, endpoint, began).await?
        } else {
            self.reach(index, endpoint, began).await?.into()
        };
        let now = self.worker.clock.now();
        self.txn.exchange.connected(now);
        let mut upstream = Upstream::new(transport, index, endpoints, now);
        upstream.reused = self.txn.facts.reused;
        Ok(upstream)
    }

    /// A stream of a connection that others share: one that stands, or else a new one.
    async fn join(
        &mut self,
        index: usize,
        endpoint: &Endpoint,
        began: Timestamp,
    ) -> Result<Transport, Failure> {
        let links = self.worker.upstreams.links(index).ok_or(Failure::NameUnresolved)?;
        let seat = match self.step(pin!(poll_fn(|cx| links.poll_join(cx)))).await? {
            Joined::Seat(seat) => seat,
            Joined::Open(opening) => {
                let socket = self.reach(index, endpoint, began).await?;
                let worker = Rc::clone(self.worker);
                let greeted = self.step(pin!(origin::greet(&worker, socket))).await?;
                let greeted = greeted.map_err(|error| {
                    self.worker.upstreams.failed(index, &error, self.worker.clock.now());
                    Failure::NotHttp2
                })?;
                let link = origin::start(self.worker, greeted, endpoint);
                let seat = poll_fn(|cx| Poll::Ready(link.seat(cx))).await;
                opening.done(link);
                seat.ok_or(Failure::StreamRefused)?
            }
        };
        if seat.reused {
            self.worker.metrics.add(Counter::UpstreamReuses, 1);
            self.txn.facts.reused = true;
        }
        Ok(Transport::Stream(Box::new(Outbound::new(Rc::clone(self.worker), seat))))
    }

    /// A new connection to `endpoint`, with TLS where that is asked for.
    async fn reach(
        &mut self,
        index: usize,
        endpoint: &Endpoint,
        began: Timestamp,
    ) -> Result<Socket, Failure> {
        let socket = match self.begin(index, &endpoint.address).await? {
            Begun::Connected(socket) => socket,
            Begun::Pending(mut socket) => {
                self.step(pin!(poll_fn(|cx| socket.poll_writable(cx)))).await?;
                socket.connect_result().map_err(|error| self.not_connected(index, &error))?;
                socket
            }
        };
        let socket = match &endpoint.server_name {
            Some(name) => self.secure(index, name, endpoint.scheme, socket).await?,
            None => socket,
        };
        self.worker.metrics.add(Counter::UpstreamConnects, 1);
        self.worker.upstreams.connected(index);
        self.txn.facts.connect = Some(self.worker.clock.now().since(began));
        Ok(socket)
    }

    /// Our TLS handshake with the endpoint `name`.
    async fn secure(
        &mut self,
        index: usize,
        name: &str,
        scheme: Scheme,
        socket: Socket,
    ) -> Result<Socket, Failure> {
        let config = self.worker.upstream_tls.of(scheme).ok_or(Failure::TlsProtocol)?;
        let mut handshake = handshake::connect(Arc::clone(config), name, socket);
        let greeted = self.step(handshake.as_mut()).await?;
        greeted.map_err(|error| {
            self.worker.upstreams.failed(index, &error, self.worker.clock.now());
            handshake::failure(&error)
        })
    }

    /// Waits for one step on the way to an endpoint, under the deadline of the connection and with an eye on the client.
    async fn step<F: Future + ?Sized>(&mut self, mut step: Pin<&mut F>) -> Result<F::Output, Failure> {
        loop {
            self.watch_client()?;
            let done = poll_fn(|cx| {
                if let Poll::Ready(done) = step.as_mut().poll(cx) {
                    return Poll::Ready(Ok(Some(done)));
                }
                if self.poll_client(cx) {
                    Poll::Ready(Ok(None))
                } else {
                    self.poll_deadline(cx).map_ok(|()| None)
                }
            });
            if let Some(done) = done.await? {
                return Ok(done);
            }
        }
    }

    /// Begins a connection. When descriptors have run out, idle ones make room, once.
    async fn begin(&self, index: usize, address: &Address) -> Result<Begun, Failure> {
        let mut begun = connect::begin(address);
        let exhausted = begun.as_ref().is_err_and(|error| connect::failure(error) == Failure::Exhausted);
        if exhausted && self.worker.upstreams.evict(0) {
            self.worker.pause(limits::EVICT_PAUSE_MS).await; // the ring closes them behind our back
            begun = connect::begin(address);
        }
        begun.map_err(|error| self.not_connected(index, &error))
    }

    fn not_connected(&self, index: usize, error: &std::io::Error) -> Failure {
        self.worker.upstreams.failed(index, error, self.worker.clock.now());
        connect::failure(error)
    }

    /// The response is with the client: what becomes of both connections.
    fn complete(&mut self, upstream: Upstream) -> ClientFate {
        if self.txn.exchange.upstream_reusable() && !self.txn.surplus {
            self.worker.upstreams.give(upstream, self.txn.keep_alive, self.worker.clock.now());
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
        let to_client = std::mem::take(&mut self.txn.to_client);
        let to_origin = std::mem::take(&mut self.txn.to_origin);
        let ended = tunnel::run(self.worker, self.client, upstream, to_client, to_origin).await;
        self.txn.facts.bytes_in = ended.bytes_in;
        self.txn.facts.bytes_out = ended.bytes_out;
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
            // A close would make a body that runs to the end of the connection look complete, and would let a
            // client that does not read keep its share of kernel memory.
            let reset =
                self.txn.outgoing == Outgoing::UntilClose || failure == Failure::Timeout(Phase::Write);
            return if reset { ClientFate::Reset } else { ClientFate::Cut };
        }
        if failure == Failure::StreamRefused && self.client.http2 {
            self.txn.facts.status = failure.status(0);
            return ClientFate::Cut; // it was told so: the client may try again, whatever it asked
        }
        let keep_alive = self.respond(failure);
        match self.flush_client().await {
            Err(_) => ClientFate::Cut,
            Ok(()) if keep_alive => ClientFate::KeepAlive,
            Ok(()) => ClientFate::Linger,
        }
    }

    /// Stages the response to a failure; true when the connection may carry on behind it.
    fn respond(&mut self, failure: Failure) -> bool {
        let config = &self.worker.shared.config;
        let keep_alive = self.txn.exchange.may_keep_alive()
            && failure.side() == Side::Upstream
            && self.worker.shared.lifecycle() == Lifecycle::Running;
        self.txn.facts.status = failure.status(config.timeout_status);
        let json = respond::head_accepts_json(&self.txn.head);
        let grpc = self.client.http2 && grpc::head_is_call(&self.txn.head);
        if grpc {
            self.txn.facts.status = 200;
        }
        let out = self.txn.to_client.stage(&self.worker.pool);
        self.worker.clock.with_http_date(|date| {
            let at = Circumstances {
                version: self.txn.version,
                head_only: self.txn.method == Method::Head,
                json,
                grpc,
                keep_alive,
                timeout_status: config.timeout_status,
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

    fn count_bytes(&mut self) {
        if !self.txn.facts.tunnel {
            let unsent = |outbox: &Outbox| outbox.unsent() as u64;
            self.txn.facts.bytes_in =
                self.txn.exchange.upload().payload().saturating_sub(unsent(&self.txn.to_origin));
            if self.txn.exchange.is_responding() {
                let mut out =
                    self.txn.exchange.download().payload().saturating_sub(unsent(&self.txn.to_client));
                if self.txn.facts.failure.is_some() {
                    // What the kernel still holds for a client that is cut, the client never got.
                    out = out.saturating_sub(u64::from(self.client.transport.unacknowledged()));
                }
                self.txn.facts.bytes_out = out;
            }
        }
        self.worker.metrics.add(Counter::BytesIn, self.txn.facts.bytes_in);
        self.worker.metrics.add(Counter::BytesOut, self.txn.facts.bytes_out);
    }
}
