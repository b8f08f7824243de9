//! Requests that wait for room at an endpoint of a group.
//!
//! Each worker keeps its own in order, and wakes the first when one of its requests has left an endpoint. Room that another
//! worker has made is found by looking now and then: a worker wakes nobody but its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

use crate::proxy::health::Busy;

use super::group::Group;

/// Whoever waits on this worker, the first who came first.
#[derive(Debug, Default)]
pub struct Queue(RefCell<VecDeque<(u64, Waker)>>);

impl Queue {
    /// Whether `ticket` is the first in line; its turn is announced to `cx`.
    fn poll_first(&self, ticket: u64, cx: &mut Context<'_>) -> bool {
        let mut line = self.0.borrow_mut();
        if let Some((_, waker)) = line.iter_mut().find(|(other, _)| *other == ticket) {
            waker.clone_from(cx.waker());
        }
        line.front().is_some_and(|(first, _)| *first == ticket)
    }

    /// Nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Joins the line at its end; the ticket.
    fn join(&self) -> u64 {
        let mut line = self.0.borrow_mut();
        let ticket = line.back().map_or(0, |(last, _)| last + 1);
        line.push_back((ticket, Waker::noop().clone()));
        ticket
    }

    fn leave(&self, ticket: u64) {
        self.0.borrow_mut().retain(|(other, _)| *other != ticket);
        self.wake_first();
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.0.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

/// A request that is with an endpoint. When it is dropped, the next one in line looks for room.
#[derive(Debug)]
pub struct Entry {
    busy: Option<Busy>,
    group: Option<Rc<Group>>,
}

impl Entry {
    /// `busy` is a place of `group`, if places there are counted out.
    #[must_use]
    pub fn new(busy: Busy, group: Option<Rc<Group>>) -> Entry {
        Entry { busy: Some(busy), group }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.busy.take());
        if let Some(group) = &self.group {
            group.queue.wake_first();
        }
    }
}

/// A request in line.
#[derive(Debug)]
pub struct Waiting {
    group: Rc<Group>,
    all: Arc<AtomicU32>,
    ticket: u64,
}

impl Waiting {
    /// Joins the line of `group`, unless `most` are in line already, all workers together, as `all` has it.
    #[must_use]
    pub fn enter(group: Rc<Group>, all: &Arc<AtomicU32>, most: u32) -> Option<Waiting> {
        let more = |n: u32| (n < most).then(|| n + 1);
        all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let ticket = group.queue.join();
        Some(Waiting { group, all: Arc::clone(all), ticket })
    }

    /// Whether it is the first in line; else it is woken when it may be.
    pub fn poll_first(&self, cx: &mut Context<'_>) -> bool {
        self.group.queue.poll_first(self.ticket, cx)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.group.queue.leave(self.ticket);
    }
}
