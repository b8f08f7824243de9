//! Everything a worker's thread owns, and how its connections run.
//!
//! Nothing here is shared with another worker but [`Shared`]: no lock, no blocking call, no name resolution
//! and no file on this thread.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::h1::Fields;
use crate::limits;
use crate::proxy::ids::RequestIds;
use crate::proxy::retry::kept::KeptBodies;
use crate::telemetry::metrics::{Counter, Shard};
use crate::time::{Phase, Timestamp};

use super::buffers::BufferPool;
use super::clock::Clock;
use super::journal::Journal;
use super::log_sink::LogSink;
use super::shared::{Lifecycle, Shared};
use super::site::Views;
use super::steer::Excess;
use super::timer::Timers;
use super::transaction::TransactionPool;

/// Everything a worker's tasks use.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// The process.
    pub shared: Arc<Shared>,
    /// Clocks.
    pub clock: Rc<Clock>,
    /// Deadlines.
    pub timers: Rc<Timers>,
    /// Free buffers.
    pub pool: BufferPool,
    /// Free cells of exchanges.
    pub transactions: TransactionPool,
    /// Request bodies that may have to be sent again.
    pub kept: Rc<KeptBodies>,
    /// Where every read lands.
    pub scratch: RefCell<Box<[u8]>>,
    /// Field table of the head being parsed.
    pub fields: RefCell<Fields>,
    /// What is served, and connections to those who serve it.
    pub views: Views,
    /// Counters.
    pub metrics: Arc<Shard>,
    /// Access log.
    pub journal: Journal,
    /// Whether it has more connections than others.
    pub excess: Excess,
    /// Request identifiers.
    pub ids: RefCell<RequestIds>,
    /// Tasks that a drain waits for, and who waits for the last one.
    held: Cell<usize>,
    released: RefCell<Option<Waker>>,
}

impl Worker {
    /// A worker that owns nothing yet but its share of the process. `id_seed` is random and its own.
    #[must_use]
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        metrics: Arc<Shard>,
        log: Option<LogSink>,
        id_seed: [u64; 2],
    ) -> Rc<Worker> {
        let clock = Rc::new(Clock::new(shared.epoch));
        clock.refresh();
        Rc::new(Worker {
            index,
            timers: Timers::new(Rc::clone(&clock)),
            clock,
            pool: BufferPool::new(shared.budget.pipes),
            transactions: TransactionPool::default(),
            kept: Rc::default(),
            scratch: RefCell::new(vec![0; limits::SCRATCH_BYTES].into_boxed_slice()),
            fields: RefCell::new(Fields::new()),
            views: Views::new(Arc::clone(&shared), id_seed[0], Arc::clone(&metrics)),
            journal: Journal::new(log, &shared.site.load().config, Arc::clone(&metrics)),
            metrics,
            excess: Excess::default(),
            ids: RefCell::new(RequestIds::new(id_seed)),
            held: Cell::new(0),
            released: RefCell::new(None),
            shared,
        })
    }

    /// Ready when nothing holds the worker any more.
    pub fn poll_released(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.get() == 0 {
            return Poll::Ready(());
        }
        *self.released.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How many connections, streams and listeners hold the worker.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.held.get()
    }

    /// The worker, held: a drain does not end while this is alive.
    #[must_use]
    pub fn hold(self: &Rc<Self>) -> Hold {
        self.held.set(self.held.get() + 1);
        Hold(Rc::clone(self))
    }

    /// Runs a client connection as a task of its own. A panic in it closes that connection and nothing else:
    /// the runtime would unwind the whole worker.
    pub fn spawn_connection(self: &Rc<Self>, connection: impl Future<Output = ()> + 'static) {
        self.metrics.add(Counter::ConnectionsAccepted, 1);
        monoio::spawn(Contained { task: connection, worker: self.hold(), counts: true });
    }

    /// Runs a stream of a client's connection, its panics contained in the same way.
    pub fn spawn_stream(self: &Rc<Self>, stream: impl Future<Output = ()> + 'static) {
        monoio::spawn(Contained { task: stream, worker: self.hold(), counts: false });
    }

    /// Waits for `future` until `at`. `None` when that has passed, which counts as a timeout of `phase`, or when a drain
    /// cuts what still runs.
    pub async fn within<F: Future + ?Sized>(
        &self,
        at: Timestamp,
        phase: Phase,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        let mut timer = self.timers.timer();
        poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if self.shared.lifecycle() == Lifecycle::Cutting {
                return Poll::Ready(None);
            }
            if self.clock.now() >= at {
                self.metrics.add(Counter::timeout(phase), 1);
                return Poll::Ready(None);
            }
            timer.arm(at, cx);
            Poll::Pending
        })
        .await
    }

    /// Sleeps for `ms` milliseconds.
    pub async fn pause(&self, ms: u64) {
        let until = self.clock.refresh().after(Some(Duration::from_millis(ms)));
        self.timers.timer().sleep_until(until).await;
    }
}

/// Keeps the worker from ending its drain; released when dropped.
#[derive(Debug)]
pub struct Hold(Rc<Worker>);

impl std::ops::Deref for Hold {
    type Target = Rc<Worker>;

    fn deref(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.set(self.0.held.get().saturating_sub(1));
        if self.0.held.get() == 0
            && let Some(waiter) = self.0.released.borrow().as_ref()
        {
            waiter.wake_by_ref();
        }
    }
}

pin_project_lite::pin_project! {
    /// A connection's or a stream's task, its panics contained. Written out rather than as an `async` block, because each of
    /// those that takes a future by value holds it twice: three of them made an idle connection cost 11 KiB.
    struct Contained<F> {
        #[pin]
        task: F,
        worker: Hold,
        counts: bool,
    }
}

impl<F: Future<Output = ()>> Future for Contained<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.worker.clock.refresh();
        // Unwind safety: a panicked task is never polled again, and what it shares with others (the worker's
        // cells) is valid between any two of its statements.
        match catch_unwind(AssertUnwindSafe(|| this.task.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(_) => {
                this.worker.metrics.add(Counter::ConnectionPanics, 1);
                tracing::error!("a connection's task panicked; the connection was closed");
            }
        }
        if *this.counts {
            this.worker.metrics.add(Counter::ConnectionsClosed, 1);
        }
        Poll::Ready(())
    }
}
