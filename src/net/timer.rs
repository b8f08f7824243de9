//! The worker's timer wheel, driven: one entry per connection, one sleeping task per worker.
//!
//! A task arms its [`Timer`] with its earliest deadline and is woken when that has passed; whether it has,
//! and what it means, the task decides from its own state.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use monoio::time::{Sleep, sleep};

use crate::time::Timestamp;
use crate::time::wheel::{EntryId, Wheel};

use super::clock::Clock;

/// The wheel of a worker and its driver's state.
#[derive(Debug)]
pub struct Timers {
    clock: Rc<Clock>,
    wheel: RefCell<Wheel<Option<Waker>>>,
    /// When the driver will wake by itself.
    driver_wakes_at: Cell<Timestamp>,
    driver: RefCell<Option<Waker>>,
}

impl Timers {
    /// An empty wheel.
    #[must_use]
    pub fn new(clock: Rc<Clock>) -> Rc<Timers> {
        let wheel = RefCell::new(Wheel::new(clock.now()));
        Rc::new(Timers {
            clock,
            wheel,
            driver_wakes_at: Cell::new(Timestamp::NEVER),
            driver: RefCell::new(None),
        })
    }

    /// An entry of the wheel, unarmed.
    #[must_use]
    pub fn timer(self: &Rc<Self>) -> Timer {
        let id = self.wheel.borrow_mut().insert(None);
        Timer { timers: Rc::clone(self), id }
    }

    /// Entries of the wheel.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wheel.borrow().len()
    }

    /// Nobody has a timer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes every task that owns a timer, so that it looks at what has changed (drain).
    pub fn wake_all(&self) {
        self.wheel.borrow().for_each(|waker| {
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        });
    }

    /// Turns the wheel for ever.
    pub async fn drive(self: Rc<Self>) {
        let mut sleep = pin!(sleep(Duration::ZERO)); // set anew before each use
        loop {
            let next = self.wheel.borrow().next_wake();
            self.driver_wakes_at.set(next);
            if let Some(at) = self.clock.instant(next).filter(|_| next != Timestamp::NEVER) {
                sleep.as_mut().reset(at.into());
            }
            poll_fn(|cx| self.poll_due(cx, next, sleep.as_mut())).await;
            self.wheel.borrow_mut().advance(self.clock.refresh(), |_, waker| {
                if let Some(waker) = waker {
                    waker.wake_by_ref();
                }
            });
        }
    }

    fn poll_due(&self, cx: &mut Context<'_>, next: Timestamp, sleep: Pin<&mut Sleep>) -> Poll<()> {
        if self.driver_wakes_at.get() < next {
            return Poll::Ready(()); // somebody armed an earlier deadline
        }
        let mut driver = self.driver.borrow_mut();
        if driver.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        if next == Timestamp::NEVER { Poll::Pending } else { sleep.poll(cx) }
    }
}

/// One entry of the wheel; leaves it when dropped.
#[derive(Debug)]
pub struct Timer {
    timers: Rc<Timers>,
    id: EntryId,
}

impl Timer {
    /// Wakes the polling task at `deadline` or soon after. A deadline that only moves later costs one store.
    pub fn arm(&mut self, deadline: Timestamp, cx: &Context<'_>) {
        let mut wheel = self.timers.wheel.borrow_mut();
        if let Some(waker) = wheel.get_mut(self.id)
            && waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        wheel.set(self.id, deadline);
        drop(wheel);
        if deadline < self.timers.driver_wakes_at.get() {
            self.timers.driver_wakes_at.set(deadline);
            if let Some(driver) = self.timers.driver.borrow().as_ref() {
                driver.wake_by_ref();
            }
        }
    }

    /// Sleeps until `deadline`.
    pub async fn sleep_until(&mut self, deadline: Timestamp) {
        let clock = Rc::clone(&self.timers.clock);
        poll_fn(|cx| {
            if clock.refresh() >= deadline {
                return Poll::Ready(());
            }
            self.arm(deadline, cx);
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.timers.wheel.borrow_mut().remove(self.id);
    }
}
