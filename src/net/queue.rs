//! Requests that wait for room at an endpoint of a group.
//!
//! Each worker keeps its own in order, and wakes the first when one of its requests has left an endpoint. Room that another
//! worker has made is found by looking now and then: a worker wakes nobody but its own.
//!
//! Some wait for one endpoint while others have room: their session is there, or they have tried the others. Such a request
//! is *choosy*, and holds nobody up: it is everybody's turn who has none but choosy ones ahead.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

use crate::proxy::health::Busy;

/// Whoever waits on this worker, the first who came first.
#[derive(Debug, Default)]
pub struct Queue(RefCell<VecDeque<Waiter>>);

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    choosy: bool,
    waker: Waker,
}

impl Queue {
    /// Whether it is the turn of `ticket`; else that is announced to `cx`.
    fn poll_turn(&self, ticket: u64, cx: &mut Context<'_>) -> bool {
        let mut line = self.0.borrow_mut();
        if let Some(waiter) = line.iter_mut().find(|waiter| waiter.ticket == ticket) {
            waiter.waker.clone_from(cx.waker());
        }
        line.iter().take_while(|waiter| waiter.ticket != ticket).all(|waiter| waiter.choosy)
    }

    /// Nobody waits but for an endpoint of its own: who comes may try.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.borrow().iter().all(|waiter| waiter.choosy)
    }

    /// Joins the line at its end; the ticket.
    fn join(&self) -> u64 {
        let mut line = self.0.borrow_mut();
        let ticket = line.back().map_or(0, |last| last.ticket + 1);
        line.push_back(Waiter { ticket, choosy: false, waker: Waker::noop().clone() });
        ticket
    }

    fn leave(&self, ticket: u64) {
        self.0.borrow_mut().retain(|waiter| waiter.ticket != ticket);
        self.wake();
    }

    fn choose(&self, ticket: u64, choosy: bool) {
        let mut line = self.0.borrow_mut();
        let waiter = line.iter_mut().find(|waiter| waiter.ticket == ticket && waiter.choosy != choosy);
        let Some(waiter) = waiter else { return };
        waiter.choosy = choosy;
        if choosy {
            drop(line);
            self.wake(); // it is the turn of those behind it
        }
    }

    /// Wakes those whose turn it is, the first one first.
    fn wake(&self) {
        let line = self.0.borrow();
        let holding = line.iter().position(|waiter| !waiter.choosy).unwrap_or(line.len());
        line.iter().take(holding.saturating_add(1)).for_each(|waiter| waiter.waker.wake_by_ref());
    }
}

/// A request that is with an endpoint. When it is dropped, the next one in line looks for room.
#[derive(Debug)]
pub struct Entry {
    busy: Option<Busy>,
    queue: Option<Rc<Queue>>,
}

impl Entry {
    /// `busy` is a place; whoever waits for one stands in `queue`, if places are counted out.
    #[must_use]
    pub fn new(busy: Busy, queue: Option<Rc<Queue>>) -> Entry {
        Entry { busy: Some(busy), queue }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.busy.take());
        if let Some(queue) = &self.queue {
            queue.wake();
        }
    }
}

/// A request in line.
#[derive(Debug)]
pub struct Waiting {
    queue: Rc<Queue>,
    all: Arc<AtomicU32>,
    ticket: u64,
}

impl Waiting {
    /// Joins the line, unless `most` are in line already, all workers together, as `all` has it.
    #[must_use]
    pub fn enter(queue: Rc<Queue>, all: &Arc<AtomicU32>, most: u32) -> Option<Waiting> {
        let more = |n: u32| (n < most).then(|| n + 1);
        all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let ticket = queue.join();
        Some(Waiting { queue, all: Arc::clone(all), ticket })
    }

    /// Whether it is its turn; else it is woken when it may be.
    pub fn poll_turn(&self, cx: &mut Context<'_>) -> bool {
        self.queue.poll_turn(self.ticket, cx)
    }

    /// Whether there may be room for others where it cannot go.
    pub fn be_choosy(&self, choosy: bool) {
        self.queue.choose(self.ticket, choosy);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.queue.leave(self.ticket);
    }
}
