//! Upstream connections of one worker: a pool per endpoint, watched while idle, and the turns among endpoints. Those in
//! HTTP/2 are shared rather than pooled: [`super::h2::link`].
//!
//! An idle connection keeps its read poll in the ring. The poll's waker is the keeper's while the connection
//! is in the pool, and the exchange's while it is out: the same poll that would notice the origin closing is
//! the one that awaits its next response. An idle connection that becomes readable is closed: either the
//! origin has left, or it speaks unasked, and neither may touch the next request.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::config::Pool;
use crate::limits;
use crate::proxy::balance::{RoundRobin, Tried};
use crate::proxy::endpoint::{Endpoint, Endpoints};
use crate::time::Timestamp;

use super::clock::Clock;
use super::h2::link::Links;
use super::shared::Shared;
use super::timer::Timer;
use super::transport::Transport;

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub transport: Transport,
    /// It has served before.
    pub reused: bool,
    /// Index of its endpoint in `endpoints`.
    pub index: usize,
    /// The list the index belongs to.
    pub endpoints: Rc<Endpoints>,
    /// When it was made.
    born: Timestamp,
    /// The origin closes it, or it is too long idle, from here on.
    idle_until: Timestamp,
}

impl Upstream {
    /// A fresh connection.
    #[must_use]
    pub fn new(transport: Transport, index: usize, endpoints: Rc<Endpoints>, now: Timestamp) -> Upstream {
        Upstream { transport, reused: false, index, endpoints, born: now, idle_until: Timestamp::NEVER }
    }

    /// The endpoint's name for logs.
    #[must_use]
    pub fn label(&self) -> &str {
        self.endpoints.0.get(self.index).map_or("", |endpoint| &endpoint.label)
    }
}

#[derive(Debug)]
struct State {
    /// The shared list this state follows.
    source: Arc<Endpoints>,
    /// This worker's copy: its count of users is no other worker's cache line.
    endpoints: Rc<Endpoints>,
    turns: RoundRobin,
    idle: Vec<VecDeque<Upstream>>,
    links: Vec<Rc<Links>>,
    keeper: Option<Waker>,
}

/// The upstream side of a worker.
#[derive(Debug)]
pub struct Upstreams {
    shared: Arc<Shared>,
    first: usize,
    state: RefCell<State>,
}

impl Upstreams {
    /// No connections yet; `worker` spreads the workers' first turns.
    #[must_use]
    pub fn new(shared: Arc<Shared>, worker: usize) -> Upstreams {
        let endpoints = shared.endpoints.load_full();
        let state = State::new(endpoints, worker);
        Upstreams { shared, first: worker, state: RefCell::new(state) }
    }

    /// The endpoint whose turn it is, among those not tried.
    pub fn pick(&self, now: Timestamp, tried: Tried) -> Option<(usize, Rc<Endpoints>)> {
        let mut state = self.state.borrow_mut();
        let latest = self.shared.endpoints.load();
        if !Arc::ptr_eq(&latest, &state.source) {
            state.follow(Arc::clone(&latest), self.first);
        }
        let index = state.turns.pick(now, tried)?;
        Some((index, Rc::clone(&state.endpoints)))
    }

    /// An idle connection to endpoint `index`, the one used last, if it still stands.
    pub fn take(&self, index: usize, now: Timestamp, cx: &mut Context<'_>) -> Option<Upstream> {
        let mut state = self.state.borrow_mut();
        let idle = state.idle.get_mut(index)?;
        while let Some(mut upstream) = idle.pop_back() {
            if upstream.idle_until > now && upstream.transport.poll_disturbed(cx).is_pending() {
                upstream.reused = true;
                return Some(upstream);
            }
        }
        None
    }

    /// The HTTP/2 connections to endpoint `index`.
    #[must_use]
    pub fn links(&self, index: usize) -> Option<Rc<Links>> {
        self.state.borrow().links.get(index).map(Rc::clone)
    }

    /// Keeps a connection whose last response is complete. `keep_alive` is what the origin promised.
    pub fn give(&self, mut upstream: Upstream, keep_alive: Option<Duration>, now: Timestamp) {
        if let Transport::Stream(stream) = upstream.transport {
            return stream.part(); // its connection was never taken
        }
        if self.shared.passes_callers_on {
            return; // its PROXY header named one client, and the next request may be another's
        }
        let pool = self.shared.config.pool;
        let mut state = self.state.borrow_mut();
        upstream.idle_until = idle_until(pool, upstream.born, keep_alive, now);
        let current = Rc::ptr_eq(&upstream.endpoints, &state.endpoints);
        let State { idle, keeper: Some(keeper), .. } = &mut *state else { return };
        let Some(idle) = idle.get_mut(upstream.index).filter(|_| current) else { return };
        let watched = upstream.transport.poll_disturbed(&mut Context::from_waker(keeper)).is_pending();
        if watched && upstream.idle_until > now && pool.idle_max > 0 {
            if idle.len() >= pool.idle_max {
                idle.pop_front();
            }
            idle.push_back(upstream);
        }
        state.evict_beyond(self.shared.budget.idle_upstreams);
    }

    /// Closes a few idle connections, because descriptors have run out, and leaves at least `keep`; false when there is
    /// none to close.
    pub fn evict(&self, keep: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let idle = state.idle_count();
        state.evict_beyond(idle.saturating_sub(limits::EVICT_BATCH).max(keep));
        idle > keep
    }

    /// Endpoint `index` of the list could not be connected to. The first failure after a success is logged.
    pub fn failed(&self, index: usize, why: &dyn std::fmt::Display, now: Timestamp) {
        let mut state = self.state.borrow_mut();
        if state.turns.failed(index, now) {
            tracing::warn!(endpoint = state.label(index), %why, "cannot connect to an upstream endpoint");
        }
    }

    /// Endpoint `index` of the list accepted a connection. The first success after a failure is logged.
    pub fn connected(&self, index: usize) {
        let mut state = self.state.borrow_mut();
        if state.turns.connected(index) {
            tracing::info!(endpoint = state.label(index), "an upstream endpoint is back");
        }
    }

    /// Closes every idle connection (drain).
    pub fn close_idle(&self) {
        let mut state = self.state.borrow_mut();
        state.idle.iter_mut().for_each(VecDeque::clear);
        state.links.iter().for_each(|links| links.close());
    }

    /// Watches idle connections for ever: closes those whose origin has left and those that are too old.
    pub async fn keep(&self, clock: &Clock, mut timer: Timer) {
        const SWEEP: Option<Duration> = Some(Duration::from_secs(1));
        poll_fn(|cx| {
            let now = clock.refresh();
            let mut state = self.state.borrow_mut();
            state.keeper.get_or_insert_with(|| cx.waker().clone());
            for idle in &mut state.idle {
                idle.retain_mut(|u| u.idle_until > now && u.transport.poll_disturbed(cx).is_pending());
            }
            timer.arm(now.after(SWEEP), cx);
            Poll::<()>::Pending
        })
        .await;
    }
}

impl State {
    fn new(source: Arc<Endpoints>, first: usize) -> State {
        let endpoints = Rc::new(Endpoints::clone(&source));
        let n = endpoints.0.len();
        let idle = (0..n).map(|_| VecDeque::new()).collect();
        let links = (0..n).map(|_| Rc::default()).collect();
        State { source, endpoints, turns: RoundRobin::new(n, first), idle, links, keeper: None }
    }

    /// Takes a new list over: connections to addresses that stayed are kept.
    fn follow(&mut self, latest: Arc<Endpoints>, first: usize) {
        let mut next = State::new(latest, first);
        next.keeper = self.keeper.take();
        for (index, endpoint) in next.endpoints.0.iter().enumerate() {
            let Some(old) = self.position(endpoint) else { continue };
            if let (Some(from), Some(to)) = (self.links.get_mut(old), next.links.get_mut(index)) {
                *to = std::mem::take(from);
            }
            let (Some(from), Some(to)) = (self.idle.get_mut(old), next.idle.get_mut(index)) else { continue };
            for mut upstream in from.drain(..) {
                upstream.index = index;
                upstream.endpoints = Rc::clone(&next.endpoints);
                to.push_back(upstream);
            }
        }
        // To endpoints that are gone, no connection takes another stream.
        self.links.iter().for_each(|links| links.close());
        *self = next;
    }

    fn label(&self, index: usize) -> &str {
        self.endpoints.0.get(index).map_or("", |endpoint| &endpoint.label)
    }

    fn idle_count(&self) -> usize {
        self.idle.iter().map(VecDeque::len).sum()
    }

    /// Closes idle connections, those of the best supplied endpoint first and the longest idle of them, until
    /// `most` are left.
    fn evict_beyond(&mut self, most: usize) {
        for _ in most..self.idle_count() {
            if let Some(idle) = self.idle.iter_mut().max_by_key(|idle| idle.len()) {
                idle.pop_front();
            }
        }
    }

    fn position(&self, wanted: &Endpoint) -> Option<usize> {
        self.endpoints.0.iter().position(|endpoint| endpoint == wanted)
    }
}

/// When an idle connection is to be closed: by our limit, by its age, and a second before the origin would.
fn idle_until(pool: Pool, born: Timestamp, keep_alive: Option<Duration>, now: Timestamp) -> Timestamp {
    let grace = Duration::from_secs(limits::KEEP_ALIVE_GRACE_S);
    let promised = keep_alive.map(|timeout| timeout.saturating_sub(grace));
    now.after(Some(pool.idle_timeout)).min(born.after(Some(pool.age_max))).min(now.after(promised))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    /// Goal: an idle connection is closed at the first of three limits. Method: each one the first in turn.
    #[test]
    fn idle_connections_are_closed_at_the_first_limit() {
        let pool = Pool {
            idle_max: 1,
            idle_timeout: Duration::from_secs(60),
            age_max: Duration::from_secs(600),
            ..Pool::default()
        };
        let until = |born, keep_alive: Option<u64>, now| {
            idle_until(pool, Timestamp(born), keep_alive.map(Duration::from_secs), Timestamp(now)).0
        };
        assert_eq!(until(0, None, 10 * S), 70 * S, "our idle limit");
        assert_eq!(until(0, None, 590 * S), 600 * S, "its age");
        assert_eq!(until(0, Some(5), 10 * S), 14 * S, "the origin's promise, less a second");
        assert_eq!(until(0, Some(1), 10 * S), 10 * S, "a promise of a second is not used");
        assert_eq!(until(0, Some(500), 10 * S), 70 * S, "a longer promise than our limit");
    }
}
