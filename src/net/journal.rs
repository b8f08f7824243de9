//! The worker's end of the access log: one record per exchange, handed over once per turn of the loop.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use std::sync::Arc;

use crate::config::{Config, LogFormat};
use crate::limits;
use crate::telemetry::access_log::{AccessRecord, write_json, write_logfmt};
use crate::telemetry::metrics::{Counter, Shard};

use super::clock::Clock;
use super::log_sink::LogSink;
use super::timer::Timer;

/// Writes access records into the worker's [`LogSink`], if there is one.
#[derive(Debug)]
pub struct Journal {
    sink: RefCell<Option<LogSink>>,
    flusher: RefCell<Option<Waker>>,
    metrics: Arc<Shard>,
    format: LogFormat,
    query: bool,
}

impl Journal {
    /// A journal into `sink`.
    #[must_use]
    pub fn new(sink: Option<LogSink>, config: &Config, metrics: Arc<Shard>) -> Journal {
        Journal {
            sink: RefCell::new(sink),
            flusher: RefCell::new(None),
            metrics,
            format: config.log_format,
            query: config.log_query,
        }
    }

    /// Lines go somewhere: what they need must be remembered.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.sink.borrow().is_some()
    }

    /// Writes one line.
    pub fn record(&self, record: &AccessRecord<'_>) {
        let mut sink = self.sink.borrow_mut();
        let Some(sink) = sink.as_mut() else { return };
        let mut record = record.clone();
        if !self.query {
            record.target = record.target.split(|&b| b == b'?').next().unwrap_or_default();
        }
        let first = sink.is_empty();
        let before = sink.dropped();
        sink.line(|out| match self.format {
            LogFormat::Logfmt => write_logfmt(&record, out),
            LogFormat::Json => write_json(&record, out),
        });
        self.metrics.add(Counter::LogLinesDropped, sink.dropped() - before);
        if first && let Some(flusher) = self.flusher.borrow().as_ref() {
            flusher.wake_by_ref();
        }
    }

    /// Hands over what has gathered, each time other tasks have had their turn; for ever.
    pub async fn flush_each_turn(&self, clock: &Clock, mut timer: Timer) {
        poll_fn(|cx| {
            self.flusher.borrow_mut().get_or_insert_with(|| cx.waker().clone());
            self.flush();
            if self.sink.borrow().as_ref().is_some_and(|sink| !sink.is_empty()) {
                let retry = Some(Duration::from_millis(limits::LOG_RETRY_MS));
                timer.arm(clock.refresh().after(retry), cx);
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// Hands over the last lines and lets go of the log.
    pub fn close(&self) {
        self.flush();
        drop(self.sink.borrow_mut().take());
    }

    fn flush(&self) {
        if let Some(sink) = self.sink.borrow_mut().as_mut() {
            let before = sink.dropped();
            sink.flush();
            self.metrics.add(Counter::LogLinesDropped, sink.dropped() - before);
        }
    }
}
