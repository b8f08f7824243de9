//! A client's connection below HTTP: what arrives, what leaves, and the one timer all its waits share.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::config::Route;
use crate::config::route::Action;
use crate::limits;
use crate::proxy::error::Failure;
use crate::proxy::exchange::Deadline;
use crate::proxy::forward::Hop;
use crate::telemetry::metrics::Counter;
use crate::time::{Phase, Timeouts, Timestamp};

use super::buffers::Outbox;
use super::caller::Caller;
use super::group::Group;
use super::inbox::{Filled, Inbox};
use super::shared::Lifecycle;
use super::tally::Tally;
use super::timer::Timer;
use super::tls::greeting::Greeting;
use super::tls::session::Session;
use super::transport::Transport;
use super::view::View;
use super::worker::Worker;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub transport: Transport,
    /// What was read and not yet used.
    pub inbox: Inbox,
    /// Whom it is from.
    pub caller: Caller,
    trusted: bool,
    /// What is served to it: the newest when its last request began.
    pub(super) view: Rc<View>,
    /// Route of the request under way, by its place in the configuration.
    pub(super) route: Option<u32>,
    /// Every request is answered with a redirect to `https`.
    pub(super) redirects: bool,
    /// What its TLS handshake said, if there was one.
    pub(super) greeting: Option<Rc<Greeting>>,
    /// It has asked nothing yet.
    pub(super) first: bool,
    /// It is a stream of HTTP/2.
    pub(super) http2: bool,
    timer: Timer,
    /// While bytes wait for the client: the last look at how much of what was sent it has taken.
    pub(super) look: Option<Look>,
    /// When the connection was accepted; [`Timestamp::NEVER`] once its first byte has come.
    pub(super) fresh_since: Timestamp,
}

/// A look at the send queue of a client that is slower than its origin. The queue holds megabytes, and says
/// that there is room again only when a third of it is free; a steady reader at 30 KB/s would look dead
/// for a minute. What it has acknowledged tells the truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// When to look again.
    next: Timestamp,
    /// Bytes sent and not acknowledged.
    unacknowledged: u32,
}

/// Looks within one write timeout.
const LOOKS: u32 = 8;

impl Client {
    /// A connection that has just been accepted from `caller`.
    #[must_use]
    pub fn new(worker: &Worker, transport: Transport, caller: Caller) -> Client {
        let view = worker.views.latest();
        Client {
            inbox: Inbox::default(),
            trusted: trusts(&view, caller.address.ip()),
            caller,
            redirects: false,
            view,
            route: None,
            greeting: transport.tls().and_then(Session::greeting).cloned(),
            first: true,
            http2: false,
            timer: worker.timers.timer(),
            look: None,
            // With TLS, the handshake has been made.
            fresh_since: if transport.tls().is_none() { worker.clock.now() } else { Timestamp::NEVER },
            transport,
        }
    }

    /// Serves it what is newest: its next request begins.
    pub(super) fn renew_view(&mut self, worker: &Worker) {
        let latest = worker.views.latest();
        if !Rc::ptr_eq(&latest, &self.view) {
            self.trusted = trusts(&latest, self.caller.address.ip());
            self.view = latest;
        }
    }

    /// Its timeouts: those of the route of the request under way.
    pub(super) fn timeouts(&self) -> &Timeouts {
        self.route().map_or(&self.view.config.timeouts, |route| &route.timeouts)
    }

    /// The route of the request under way.
    pub(super) fn route(&self) -> Option<&Route> {
        self.view.route(self.route?)
    }

    /// The part of the request under way in what is counted by route. A listener that redirects has no routes.
    pub(super) fn tally(&self) -> Option<Tally> {
        Tally::begin(&self.view.table, self.route.filter(|_| !self.redirects)?)
    }

    /// The group that the request under way is forwarded to.
    pub(super) fn group(&self) -> Option<Rc<Group>> {
        match self.route()?.action {
            Action::Forward { group, .. } => self.view.group(group).map(Rc::clone),
            Action::Redirect { .. } | Action::Respond { .. } => None,
        }
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
        let look = self.look.map_or(Timestamp::NEVER, |look| look.next);
        self.timer.arm(at.min(look), cx);
        Poll::Pending
    }

    /// Whether the client has taken something since the last look; looks a few times per write timeout.
    pub(super) fn has_taken(&mut self, now: Timestamp, timeout: Option<Duration>) -> bool {
        let Some(timeout) = timeout else { return false };
        if self.look.is_some_and(|look| now < look.next) {
            return false;
        }
        let unacknowledged = self.transport.unacknowledged();
        let next = now.after(Some(timeout / LOOKS));
        let before = self.look.replace(Look { next, unacknowledged });
        before.is_some_and(|look| unacknowledged < look.unacknowledged)
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

    /// What this hop adds to the heads it forwards.
    pub(super) fn hop<'a>(&'a self, request_id: &'a [u8]) -> Hop<'a> {
        let config = &self.view.config;
        Hop {
            client: self.caller.address.ip(),
            trusted: self.trusted,
            scheme: if self.greeting.is_some() { "https" } else { "http" },
            http2: self.http2,
            client_subject: self.greeting.as_deref().and_then(Greeting::subject),
            request_id,
            forwarded: config.forwarding.forwarded,
            allow_underscores: config.message.allow_underscores,
        }
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
            let at = since.after(self.timeouts().write);
            let deadline = Deadline { at, phase: Phase::Write };
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

    /// Announces the end of a connection whose last response is complete, where that needs words.
    pub(super) async fn part(&mut self, worker: &Worker) {
        let at = worker.clock.now().after(self.timeouts().write);
        let mut said = self.transport.goodbye();
        while !said {
            let deadline = Deadline { at, phase: Phase::Write };
            let writable = poll_fn(|cx| match self.transport.poll_writable(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => self.poll_deadline(worker, Some(deadline), cx).map(|_| false),
            });
            if !writable.await {
                return;
            }
            said = self.transport.goodbye();
        }
    }

    /// Ends our side, then throws away what still comes, so that the client can read its response: closing
    /// with unread bytes would reset the connection and destroy it (RFC 9112 §9.6).
    pub(super) async fn linger(&mut self, worker: &Worker) {
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
}

/// Whether what a peer says of others is believed.
fn trusts(view: &View, peer: IpAddr) -> bool {
    view.config.forwarding.trusted_proxies.iter().any(|net| net.contains(&peer))
}
