//! A group of endpoints as one worker has it: its turns, and a pool for each endpoint, watched while idle. Connections in
//! HTTP/2 are shared rather than pooled: [`super::h2::link`].
//!
//! An idle connection keeps its read poll in the ring. The poll's waker is the keeper's while the connection
//! is in the pool, and the exchange's while it is out: the same poll that would notice the origin closing is
//! the one that awaits its next response. An idle connection that becomes readable is closed: either the
//! origin has left, or it speaks unasked, and neither may touch the next request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::config::route::Retry;
use crate::config::{Group as GroupConfig, Security};
use crate::proxy::balance::{Balancer, Tried};
use crate::proxy::endpoint::{Endpoint, Endpoints};
use crate::proxy::health::{Change, EndpointState, Outcome};
use crate::proxy::retry::budget::Budget;
use crate::proxy::retry::{Attempt, Verdict};
use crate::time::Timestamp;

use super::h2::link::Links;
use super::idle::{Idle, idle_until};
use super::queue::{Entry, Queue, Waiting};
use super::tls::OriginTls;

/// A group.
#[derive(Debug)]
pub struct Group {
    /// Its settings.
    pub config: GroupConfig,
    /// The shared list that this one is a copy of.
    source: Arc<Endpoints>,
    /// This worker's copy: its count of users is no other worker's cache line.
    pub endpoints: Rc<Endpoints>,
    /// How TLS is spoken with its endpoints.
    origin_tls: Arc<OriginTls>,
    /// Another group has taken its place.
    retired: Cell<bool>,
    /// Idle connections of all groups of the worker.
    idle_total: Rc<Cell<usize>>,
    state: RefCell<State>,
    /// Requests of this worker that wait for room.
    queue: Rc<Queue>,
}

#[derive(Debug)]
struct State {
    balancer: Balancer,
    budget: Budget,
    idle: Vec<VecDeque<Idle>>,
    links: Vec<Rc<Links>>,
}

impl Group {
    /// A group without a connection. `seed` is random, and this worker's own; `idle_total` counts the idle connections of all
    /// groups.
    #[must_use]
    pub fn new(
        config: &GroupConfig,
        source: &Arc<Endpoints>,
        origin_tls: &Arc<OriginTls>,
        seed: u64,
        idle_total: &Rc<Cell<usize>>,
    ) -> Group {
        let n = source.list.len();
        let state = State {
            balancer: Balancer::new(config, seed),
            budget: Budget::default(),
            idle: (0..n).map(|_| VecDeque::new()).collect(),
            links: (0..n).map(|_| Rc::default()).collect(),
        };
        Group {
            config: config.clone(),
            source: Arc::clone(source),
            endpoints: Rc::new(Endpoints::clone(source)),
            origin_tls: Arc::clone(origin_tls),
            retired: Cell::new(false),
            idle_total: Rc::clone(idle_total),
            state: RefCell::new(state),
            queue: Rc::default(),
        }
    }

    /// Nothing of it would be different.
    #[must_use]
    pub fn is_same(
        &self,
        config: &GroupConfig,
        source: &Arc<Endpoints>,
        origin_tls: &Arc<OriginTls>,
    ) -> bool {
        Arc::ptr_eq(&self.source, source)
            && self.config == *config
            && self.endpoints.list.iter().all(|endpoint| self.speaks_as(endpoint, origin_tls))
    }

    fn speaks_as(&self, endpoint: &Endpoint, origin_tls: &Arc<OriginTls>) -> bool {
        endpoint.scheme.security == Security::Clear || Arc::ptr_eq(&self.origin_tls, origin_tls)
    }

    /// Whether a connection to `endpoint` that was made for this group may serve requests of `next`: what was said and
    /// agreed on when it was made is what would be now.
    #[must_use]
    pub fn hands_on(&self, endpoint: &Endpoint, next: &Group) -> bool {
        self.config.send_proxy == next.config.send_proxy && self.speaks_as(endpoint, &next.origin_tls)
    }

    /// The group with other settings or endpoints: connections to endpoints that stayed are taken over.
    #[must_use]
    pub fn next(
        &self,
        config: &GroupConfig,
        source: &Arc<Endpoints>,
        origin_tls: &Arc<OriginTls>,
        seed: u64,
    ) -> Group {
        let next = Group::new(config, source, origin_tls, seed, &self.idle_total);
        let mut from = self.state.borrow_mut();
        let mut to = next.state.borrow_mut();
        for (index, endpoint) in next.endpoints.list.iter().enumerate() {
            let Some(old) = self.position(endpoint).filter(|_| self.hands_on(endpoint, &next)) else {
                continue;
            };
            if let (Some(from), Some(to)) = (from.links.get_mut(old), to.links.get_mut(index)) {
                *to = std::mem::take(from);
            }
            if let (Some(from), Some(to)) = (from.idle.get_mut(old), to.idle.get_mut(index)) {
                *to = std::mem::take(from);
            }
        }
        drop(to);
        next
    }

    /// Another group has taken its place, or none has: its connections go.
    pub fn retire(&self) {
        self.retired.set(true);
        self.close_idle();
    }

    /// Another group has taken its place.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// The endpoint for a request that may not go to those tried: the one that it is at home with, else the one that `key`
    /// points to, else the one whose turn it is.
    pub fn pick(&self, now: Timestamp, tried: Tried, home: Option<u64>, key: Option<u64>) -> Option<usize> {
        let members = &self.endpoints.members;
        let home = home.and_then(|wanted| Balancer::stay(members, now, tried, wanted));
        home.or_else(|| self.state.borrow_mut().balancer.pick(members, now, tried, key))
    }

    /// A request is for this group: there may be more retries.
    pub fn count_request(&self, now: Timestamp) {
        self.state.borrow_mut().budget.request(now);
    }

    /// Whether a request whose attempt failed goes out again.
    pub fn decide(&self, attempt: Attempt, policy: &Retry, now: Timestamp) -> Verdict {
        attempt.decide(policy, &mut self.state.borrow_mut().budget, now)
    }

    /// One more request is with endpoint `index`, unless it has as many as it may.
    pub fn enter(&self, index: usize) -> Option<Entry> {
        let max = self.config.max_connections;
        let busy = self.endpoints.members.get(index)?.state.try_enter(max)?;
        Some(Entry::new(busy, max.map(|_| Rc::clone(&self.queue))))
    }

    /// Somebody waits for room already, wherever it is.
    #[must_use]
    pub fn has_line(&self) -> bool {
        !self.queue.is_open()
    }

    /// Whether endpoint `index` is the one called `id`.
    #[must_use]
    pub fn is_called(&self, index: usize, id: Option<u64>) -> bool {
        id.is_some() && self.endpoints.members.get(index).map(|member| member.id) == id
    }

    /// Requests that wait for room, all workers together, are one more; `None` when there are too many.
    #[must_use]
    pub fn wait(&self) -> Option<Waiting> {
        let members = u32::try_from(self.endpoints.members.len()).unwrap_or(u32::MAX);
        let most = self.config.queue.max.saturating_mul(members);
        Waiting::enter(Rc::clone(&self.queue), &self.endpoints.waiting, most)
    }

    /// An idle connection to endpoint `index`, the one used last, if it still stands.
    pub fn take(&self, index: usize, now: Timestamp, cx: &mut Context<'_>) -> Option<Idle> {
        let mut state = self.state.borrow_mut();
        let idle = state.idle.get_mut(index)?;
        while let Some(mut it) = idle.pop_back() {
            self.count(-1);
            if it.until > now && it.transport.poll_disturbed(cx).is_pending() {
                return Some(it);
            }
        }
        None
    }

    /// The HTTP/2 connections to endpoint `index`.
    #[must_use]
    pub fn links(&self, index: usize) -> Option<Rc<Links>> {
        self.state.borrow().links.get(index).map(Rc::clone)
    }

    /// Keeps a connection to endpoint `index` whose last response is complete. `keep_alive` is what the origin promised.
    pub fn give(
        &self,
        index: usize,
        mut it: Idle,
        keep_alive: Option<Duration>,
        now: Timestamp,
        keeper: &Waker,
    ) {
        if self.config.send_proxy.is_some() {
            return; // its PROXY header named one client, and the next request may be another's
        }
        let pool = self.config.pool;
        it.until = idle_until(pool, it.born, keep_alive, now);
        let mut state = self.state.borrow_mut();
        let Some(idle) = state.idle.get_mut(index) else { return };
        let watched = it.transport.poll_disturbed(&mut Context::from_waker(keeper)).is_pending();
        if watched && it.until > now && pool.idle_max > 0 {
            if idle.len() >= pool.idle_max && idle.pop_front().is_some() {
                self.count(-1);
            }
            idle.push_back(it);
            self.count(1);
        }
    }

    /// Endpoint `index` could not be connected to. The first failure after a success is logged.
    pub fn unreachable(&self, index: usize, why: &dyn std::fmt::Display, now: Timestamp) {
        if self.state_of(index).is_some_and(|state| state.unreachable(now).is_some()) {
            tracing::warn!(endpoint = self.label(index), %why, "cannot connect to an upstream endpoint");
        }
    }

    /// Endpoint `index` accepted a connection. The first success after a failure is logged.
    pub fn connected(&self, index: usize, now: Timestamp) {
        let change = self.state_of(index).and_then(|state| state.connected(now));
        self.tell(index, change);
    }

    /// How a request to endpoint `index` ended.
    pub fn report(&self, index: usize, outcome: Outcome, now: Timestamp) {
        let ejection = self.config.ejection.as_ref();
        let change = self.state_of(index).and_then(|state| state.report(outcome, now, ejection));
        self.tell(index, change);
    }

    /// Endpoint `index` has begun to answer.
    pub fn answered(&self, index: usize, now: Timestamp) {
        let change = self.state_of(index).and_then(|state| state.answered(now));
        self.tell(index, change);
    }

    fn tell(&self, index: usize, change: Option<Change>) {
        if let Some(change) = change {
            tell(&self.config.name, self.label(index), change, None);
        }
    }

    fn state_of(&self, index: usize) -> Option<&Arc<EndpointState>> {
        self.endpoints.members.get(index).map(|member| &member.state)
    }

    /// Closes every idle connection; no other takes a stream.
    pub fn close_idle(&self) {
        let mut state = self.state.borrow_mut();
        for idle in &mut state.idle {
            self.count(-idle.len().cast_signed());
            idle.clear();
        }
        state.links.iter().for_each(|links| links.close());
    }

    /// Closes idle connections whose origin has left, and those that are too old.
    pub fn sweep(&self, now: Timestamp, cx: &mut Context<'_>) {
        for idle in &mut self.state.borrow_mut().idle {
            let before = idle.len();
            idle.retain_mut(|it| it.until > now && it.transport.poll_disturbed(cx).is_pending());
            self.count(idle.len().cast_signed() - before.cast_signed());
        }
    }

    /// Closes the connection that has been idle longest at the best supplied endpoint.
    pub fn evict_one(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(idle) = state.idle.iter_mut().max_by_key(|idle| idle.len())
            && idle.pop_front().is_some()
        {
            self.count(-1);
        }
    }

    /// Idle connections.
    #[must_use]
    pub fn idle_count(&self) -> usize {
        self.state.borrow().idle.iter().map(VecDeque::len).sum()
    }

    fn count(&self, change: isize) {
        self.idle_total.set(self.idle_total.get().saturating_add_signed(change));
    }

    fn label(&self, index: usize) -> &str {
        self.endpoints.list.get(index).map_or("", |endpoint| &endpoint.label)
    }

    /// Where `wanted` is in this group.
    #[must_use]
    pub fn position(&self, wanted: &Endpoint) -> Option<usize> {
        self.endpoints.list.iter().position(|endpoint| endpoint == wanted)
    }
}

/// Logs what happened to an endpoint, and why, if somebody knows.
pub fn tell(group: &str, endpoint: &str, change: Change, why: Option<&dyn Display>) {
    match (change, why) {
        (Change::Reached, _) => tracing::info!(group, endpoint, "an upstream endpoint is back"),
        (bad, Some(why)) if bad.is_bad() => {
            tracing::warn!(group, endpoint, %why, "an upstream endpoint is {bad}");
        }
        (bad, None) if bad.is_bad() => tracing::warn!(group, endpoint, "an upstream endpoint is {bad}"),
        (good, _) => tracing::info!(group, endpoint, "an upstream endpoint is {good}"),
    }
}
