//! The way to an origin: an endpoint, and a connection to it that is pooled, shared, or new.
//!
//! ```text
//!   acquire ─▶ pooled (HTTP/1.1)
//!      │  └──▶ connect ─▶ reach: TCP, PROXY header, TLS───────────┐
//!      │           └────▶ join: a seat (HTTP/2), or reach, greet ┴─▶ Upstream
//!      └── the next endpoint, when one fails
//! ```

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::config::{ProxyVersion, Scheme};
use crate::limits;
use crate::proxy::balance::Tried;
use crate::proxy::endpoint::{Address, Endpoint};
use crate::proxy::error::{Failure, Side};
use crate::proxy::health::Outcome;
use crate::proxy::proxy_protocol;
use crate::proxy::retry::{Again, Cause};
use crate::telemetry::metrics::Counter;
use crate::time::Timestamp;

use super::connect::{self, Begun};
use super::exchange::Driver;
use super::group::Group;
use super::h2::link::{Joined, Seat};
use super::h2::origin;
use super::h2::outbound::Outbound;
use super::socket::Socket;
use super::tls::handshake;
use super::transport::Transport;
use super::upstream::{Place, Upstream};

/// What came of looking for a place.
enum Entering {
    /// Here it is.
    Entered(Place),
    /// There is one, and it is full; `choosy` when another one, where it cannot go, may have room.
    Full { choosy: bool },
    /// There is none.
    NoneLeft,
}

impl Driver<'_> {
    /// What most requests get: a connection that is at hand. If there is none, the request may have its place at the
    /// endpoint that was chosen already.
    pub(super) fn at_hand(&mut self, cx: &mut Context<'_>) -> Option<Upstream> {
        let group = self.client.group()?;
        if group.has_line() {
            return None;
        }
        let Entering::Entered(place) = self.try_enter(&group, Tried::NONE) else { return None };
        self.reuse(&place, true, cx)
    }

    /// A connection to an endpoint; to the next one when one fails. For a request that goes out `again` because its
    /// connection was stale, a new one; because its endpoint failed, one to another endpoint, if there is one.
    pub(super) async fn acquire(&mut self, again: Option<Again>) -> Result<Upstream, Failure> {
        let group = self.client.group().ok_or(Failure::NameUnresolved)?;
        let pooled = again != Some(Again::Repeat);
        let mut tried = Tried::NONE;
        let mut entered = None;
        match again {
            None => entered = self.txn.facts.place.clone().filter(|_| self.txn.entry.is_some()),
            Some(Again::Repeat) => {}
            Some(Again::Retry) => self.txn.facts.place.iter().for_each(|place| tried.insert(place.index)),
        }
        let mut avoiding = !tried.is_empty();
        let mut failed = None;
        loop {
            let found = match entered.take() {
                Some(place) => Some(place),
                None => {
                    drop(self.txn.entry.take()); // it counts where it is tried
                    self.enter(&group, tried).await?
                }
            };
            let place = match found {
                Some(place) => place,
                None if avoiding => {
                    (avoiding, tried) = (false, Tried::NONE);
                    continue;
                }
                None => break,
            };
            avoiding = false;
            if failed.is_some() {
                match self.decide(Cause::ConnectFailure) {
                    Some(again) => self.prepare_again(again),
                    None => break,
                }
            }
            tried.insert(place.index);
            match self.connect_to(place, pooled).await? {
                Ok(upstream) => return Ok(upstream),
                Err(failure) => failed = Some(failure),
            }
        }
        let missing =
            if group.endpoints.list.is_empty() { Failure::NameUnresolved } else { Failure::NoEndpoint };
        Err(failed.unwrap_or(missing))
    }

    /// A connection to one endpoint. The inner error is one that another endpoint may not have.
    async fn connect_to(&mut self, place: Place, pooled: bool) -> Result<Result<Upstream, Failure>, Failure> {
        if let Some(upstream) = poll_fn(|cx| Poll::Ready(self.reuse(&place, pooled, cx))).await {
            return Ok(Ok(upstream));
        }
        match Box::pin(self.connect(place.clone(), self.worker.clock.now())).await {
            Ok(upstream) => Ok(Ok(upstream)),
            Err(failure) if failure.side() == Side::Upstream || failure == Failure::Exhausted => {
                self.worker.metrics.add(Counter::UpstreamConnectFailures, 1);
                if failure != Failure::Exhausted {
                    place.group.unreachable(place.index, &failure.message(), self.worker.clock.now());
                    self.report(Outcome::Unreachable);
                }
                Ok(Err(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    /// A place for the request at an endpoint that was not tried; `None` when there is none left. Where all have as many
    /// requests as they may, the request waits in line.
    async fn enter(&mut self, group: &Rc<Group>, tried: Tried) -> Result<Option<Place>, Failure> {
        if group.has_line() {
            return Box::pin(self.stand_in_line(group, tried)).await;
        }
        match self.try_enter(group, tried) {
            Entering::Entered(place) => Ok(Some(place)),
            Entering::NoneLeft => Ok(None),
            Entering::Full { .. } => Box::pin(self.stand_in_line(group, tried)).await,
        }
    }

    fn try_enter(&mut self, group: &Rc<Group>, tried: Tried) -> Entering {
        let now = self.worker.clock.now();
        let Some(index) = group.pick(now, tried, self.txn.home, self.txn.key) else {
            return Entering::NoneLeft;
        };
        let Some(entry) = group.enter(index) else {
            let choosy = !tried.is_empty() || group.is_called(index, self.txn.home);
            return Entering::Full { choosy };
        };
        self.txn.entry = Some(entry);
        Entering::Entered(Place { group: Rc::clone(group), index })
    }

    /// Waits until it is its turn and there is room, for as long as the group lets a request wait.
    async fn stand_in_line(&mut self, group: &Rc<Group>, tried: Tried) -> Result<Option<Place>, Failure> {
        let waiting = group.wait().ok_or(Failure::QueueFull)?;
        let until = self.worker.clock.now().after(Some(group.config.queue.timeout));
        // No connection attempt is late before one begins.
        self.txn.exchange.connecting(until);
        let mut timer = self.worker.timers.timer();
        loop {
            let now = self.worker.clock.now();
            let mut look = until;
            if poll_fn(|cx| Poll::Ready(waiting.poll_turn(cx))).await {
                match self.try_enter(group, tried) {
                    Entering::Entered(place) => return Ok(Some(place)),
                    Entering::NoneLeft => return Ok(None),
                    Entering::Full { choosy } => waiting.be_choosy(choosy),
                }
                // Another worker makes room without a word.
                look = now.after(Some(Duration::from_millis(limits::QUEUE_LOOK_MS))).min(until);
            }
            if now >= until {
                return Err(Failure::QueueTimeout);
            }
            let mut woken = false;
            self.step(pin!(poll_fn(|cx| {
                if std::mem::replace(&mut woken, true) {
                    return Poll::Ready(());
                }
                timer.arm(look, cx);
                waiting.poll_turn(cx);
                Poll::Pending
            })))
            .await?;
        }
    }

    /// The request goes to `place`, over a connection that stands, if there is one.
    fn reuse(&mut self, place: &Place, pooled: bool, cx: &mut Context<'_>) -> Option<Upstream> {
        self.txn.facts.place = Some(place.clone());
        let upstream = self.ready(place, pooled, cx)?;
        self.worker.metrics.add(Counter::UpstreamReuses, 1);
        self.txn.facts.reused = true;
        self.txn.exchange.connected(self.worker.clock.now());
        Some(upstream)
    }

    /// What can be had without a wait: a pooled connection, if it may be, or a stream of one that others share.
    fn ready(&self, place: &Place, pooled: bool, cx: &mut Context<'_>) -> Option<Upstream> {
        let now = self.worker.clock.now();
        if !place.endpoint()?.scheme.http2 {
            let idle = if pooled { place.group.take(place.index, now, cx) } else { None };
            return idle.map(|idle| Upstream::reused(idle, place.clone()));
        }
        let seat = place.group.links(place.index)?.seat(cx)?;
        let mut upstream = Upstream::new(self.stream(seat), place.clone(), now);
        upstream.reused = true;
        Some(upstream)
    }

    fn stream(&self, seat: Seat) -> Transport {
        Transport::Stream(Box::new(Outbound::new(Rc::clone(self.worker), seat)))
    }

    async fn connect(&mut self, place: Place, began: Timestamp) -> Result<Upstream, Failure> {
        self.txn.exchange.connecting(began);
        self.txn.facts.reused = false;
        let endpoint = place.endpoint().ok_or(Failure::NameUnresolved)?;
        let transport = if endpoint.scheme.http2 {
            self.join(&place, endpoint, began).await?
        } else {
            self.reach(&place, endpoint, began).await?.into()
        };
        let now = self.worker.clock.now();
        place.group.connected(place.index, now);
        self.txn.exchange.connected(now);
        let mut upstream = Upstream::new(transport, place, now);
        upstream.reused = self.txn.facts.reused;
        Ok(upstream)
    }

    /// A stream of a connection that others share: one that stands, or else a new one.
    async fn join(
        &mut self,
        place: &Place,
        endpoint: &Endpoint,
        began: Timestamp,
    ) -> Result<Transport, Failure> {
        let links = place.group.links(place.index).ok_or(Failure::NameUnresolved)?;
        let seat = match self.step(pin!(poll_fn(|cx| links.poll_join(cx)))).await? {
            Joined::Seat(seat) => {
                self.worker.metrics.add(Counter::UpstreamReuses, 1);
                self.txn.facts.reused = true;
                seat
            }
            Joined::Open(opening) => {
                let socket = self.reach(place, endpoint, began).await?;
                let worker = Rc::clone(self.worker);
                let greeted = self.step(pin!(origin::greet(&worker, socket))).await?;
                let greeted = greeted.map_err(|error| {
                    place.group.unreachable(place.index, &error, self.worker.clock.now());
                    origin::failure(&error)
                })?;
                let link = origin::start(self.worker, greeted, endpoint, place.group.config.pool);
                let seat = poll_fn(|cx| Poll::Ready(link.seat(cx))).await;
                let Some(seat) = seat else {
                    link.close(); // it allows no streams, or has said GOAWAY already
                    return Err(Failure::StreamRefused);
                };
                opening.done(link);
                seat
            }
        };
        Ok(self.stream(seat))
    }

    /// A new connection to `endpoint`, with TLS where that is asked for.
    async fn reach(
        &mut self,
        place: &Place,
        endpoint: &Endpoint,
        began: Timestamp,
    ) -> Result<Socket, Failure> {
        let mut socket = match self.begin(place, &endpoint.address).await? {
            Begun::Connected(socket) => socket,
            Begun::Pending(mut socket) => {
                self.step(pin!(poll_fn(|cx| socket.poll_writable(cx)))).await?;
                socket.connect_result().map_err(|error| self.not_connected(place, &error))?;
                socket
            }
        };
        if let Some(version) = place.group.config.send_proxy {
            Box::pin(self.introduce(place, version, &mut socket)).await?;
        }
        let socket = match &endpoint.server_name {
            Some(name) => self.secure(place, name, endpoint.scheme, socket).await?,
            None => socket,
        };
        self.worker.metrics.add(Counter::UpstreamConnects, 1);
        self.txn.facts.connect = Some(self.worker.clock.now().since(began));
        Ok(socket)
    }

    /// Tells the endpoint which client the connection is for, before anything else.
    async fn introduce(
        &mut self,
        place: &Place,
        version: ProxyVersion,
        socket: &mut Socket,
    ) -> Result<(), Failure> {
        let mut header = Vec::new();
        proxy_protocol::write(version, self.client.caller.ends(), &mut header);
        let mut rest = header.as_slice();
        while !rest.is_empty() {
            let sent = socket.try_write(&[IoSlice::new(rest)]);
            let sent = sent.map_err(|error| self.not_connected(place, &error))?;
            rest = rest.get(sent..).unwrap_or_default();
            if !rest.is_empty() {
                self.step(pin!(poll_fn(|cx| socket.poll_writable(cx)))).await?;
            }
        }
        Ok(())
    }

    /// Our TLS handshake with the endpoint `name`.
    async fn secure(
        &mut self,
        place: &Place,
        name: &str,
        scheme: Scheme,
        socket: Socket,
    ) -> Result<Socket, Failure> {
        let view = Rc::clone(&self.client.view);
        let config = view.origin_tls.of(scheme).ok_or(Failure::TlsProtocol)?;
        let mut handshake = handshake::connect(Arc::clone(config), name, socket);
        let greeted = self.step(handshake.as_mut()).await?;
        let socket = greeted.map_err(|error| {
            place.group.unreachable(place.index, &error, self.worker.clock.now());
            handshake::failure(&error)
        })?;
        // RFC 9113 §3.2: with TLS, HTTP/2 is spoken where ALPN has agreed on it.
        let agreed = !scheme.http2 || socket.tls().is_some_and(|tls| tls.speaks_h2());
        if agreed { Ok(socket) } else { Err(Failure::NotHttp2) }
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
    async fn begin(&self, place: &Place, address: &Address) -> Result<Begun, Failure> {
        let mut begun = connect::begin(address);
        if begun.as_ref().is_err_and(connect::lacks_descriptor) && self.worker.views.evict(0) {
            self.worker.pause(limits::EVICT_PAUSE_MS).await; // the ring closes them behind our back
            begun = connect::begin(address);
        }
        begun.map_err(|error| self.not_connected(place, &error))
    }

    fn not_connected(&self, place: &Place, error: &std::io::Error) -> Failure {
        let failure = connect::failure(error);
        if failure != Failure::Exhausted {
            place.group.unreachable(place.index, error, self.worker.clock.now());
        }
        failure
    }
}
