//! The worker's end of the access log.
//!
//! Lines collect in a batch; a full batch goes to the log writer (`control::log_writer`) through a
//! bounded queue, and the writer sends the empty buffer back. Nothing here waits: when the queue is full,
//! because the disk or the reader of standard output is slow, lines gather up to a bound, and beyond it they
//! are dropped and counted. In steady state nothing is allocated.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::Duration;

use crate::limits::{LOG_BACKLOG_BYTES_MAX, LOG_BATCH_BYTES, LOG_LAST_ATTEMPTS, LOG_LAST_PAUSE_MS};

/// Capacity of a new buffer: the line that fills a batch goes beyond the batch's limit.
const BUFFER_BYTES: usize = LOG_BATCH_BYTES + LOG_BATCH_BYTES / 8;

/// The access log as one worker sees it. Not `Sync`: it belongs to one thread.
#[derive(Debug)]
pub struct LogSink {
    tx: SyncSender<Vec<u8>>,
    recycled: Receiver<Vec<u8>>,
    batch: Vec<u8>,
    /// Lines in `batch`.
    lines: u64,
    dropped: u64,
}

impl LogSink {
    /// A sink that hands batches to `tx` and takes empty buffers from `recycled`; both are bounded.
    #[must_use]
    pub fn new(tx: SyncSender<Vec<u8>>, recycled: Receiver<Vec<u8>>) -> Self {
        LogSink { tx, recycled, batch: Vec::new(), lines: 0, dropped: 0 }
    }

    /// Appends the one line that `write` writes, and hands the batch over when it is full. While the log writer
    /// is behind, lines gather here up to [`LOG_BACKLOG_BYTES_MAX`]; beyond that they are dropped and counted.
    pub fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.batch.capacity() == 0 {
            self.batch = self.recycled.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER_BYTES));
            debug_assert!(self.batch.is_empty(), "the log writer empties what it sends back");
        }
        if self.batch.len() >= LOG_BACKLOG_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        write(&mut self.batch);
        self.lines += 1;
        if self.batch.len() >= LOG_BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands over what there is, so that a quiet worker's lines do not wait for a full batch. Never blocks: with
    /// no room in the queue the lines stay, for the next call.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.tx.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => self.lines = 0,
            Err(TrySendError::Full(batch)) => self.batch = batch,
            Err(TrySendError::Disconnected(mut batch)) => {
                batch.clear();
                self.batch = batch;
                self.dropped += std::mem::take(&mut self.lines);
            }
        }
    }

    /// Lines dropped so far because the log writer was behind or gone.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether there is nothing to [`LogSink::flush`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

/// The last lines of a worker that ends are handed over, too: it has nothing else to do any more, so here, and
/// only here, it waits for room, a moment.
impl Drop for LogSink {
    fn drop(&mut self) {
        for _ in 0..LOG_LAST_ATTEMPTS {
            self.flush();
            if self.batch.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(LOG_LAST_PAUSE_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: every line is either handed over, whole and in order, or counted. Method: the other ends of
    //! the queues are the test's.

    use std::sync::mpsc::sync_channel;

    use super::*;

    fn sink(batches: usize) -> (LogSink, Receiver<Vec<u8>>, SyncSender<Vec<u8>>) {
        let (tx, rx) = sync_channel(batches);
        let (back, recycled) = sync_channel(batches);
        (LogSink::new(tx, recycled), rx, back)
    }

    #[test]
    fn lines_wait_for_a_full_batch_or_a_flush() {
        let (mut sink, rx, _back) = sink(2);
        assert!(sink.is_empty());
        sink.flush();
        sink.line(|out| out.extend(b"one\n"));
        sink.line(|out| out.extend(b"two\n"));
        assert!(!sink.is_empty() && rx.try_recv().is_err());
        sink.flush();
        assert_eq!(rx.try_recv().unwrap(), b"one\ntwo\n");
        sink.line(|out| out.resize(LOG_BATCH_BYTES, b'x'));
        assert_eq!((rx.try_recv().unwrap().len(), sink.is_empty()), (LOG_BATCH_BYTES, true));
        sink.flush();
        assert!(rx.try_recv().is_err());
        assert_eq!(sink.dropped(), 0);
    }

    #[test]
    fn lines_gather_while_the_queue_is_full() {
        let (mut sink, rx, _back) = sink(1);
        for batch in [&b"a\n"[..], b"b\n", b"c\n"] {
            sink.line(|out| out.extend(batch));
            sink.flush();
        }
        assert_eq!((sink.dropped(), sink.is_empty()), (0, false));
        assert_eq!(rx.try_recv().unwrap(), b"a\n");
        sink.flush();
        assert_eq!((rx.try_recv().unwrap(), sink.dropped()), (b"b\nc\n".to_vec(), 0));
    }

    #[test]
    fn a_writer_that_stays_behind_costs_lines_and_no_more_memory() {
        let (mut sink, rx, _back) = sink(1);
        sink.line(|out| out.extend(b"first\n"));
        sink.flush();
        for _ in 0..=LOG_BACKLOG_BYTES_MAX / 1024 {
            sink.line(|out| out.resize(out.len() + 1024, b'x'));
        }
        assert_eq!(sink.dropped(), 1);
        assert_eq!(rx.try_recv().unwrap(), b"first\n");
        sink.flush();
        assert_eq!(rx.try_recv().unwrap().len(), LOG_BACKLOG_BYTES_MAX, "what was kept is whole");
    }

    #[test]
    fn a_writer_that_is_gone_costs_lines_only() {
        let (mut sink, rx, _back) = sink(1);
        drop(rx);
        sink.line(|out| out.extend(b"a\n"));
        sink.flush();
        assert_eq!(sink.dropped(), 1);
    }

    #[test]
    fn buffers_come_back() {
        let (mut sink, rx, back) = sink(1);
        sink.line(|out| out.extend(b"a\n"));
        sink.flush();
        let mut batch = rx.try_recv().unwrap();
        let address = batch.as_ptr();
        batch.clear();
        back.try_send(batch).unwrap();
        sink.line(|out| out.extend(b"b\n"));
        sink.flush();
        let batch = rx.try_recv().unwrap();
        assert_eq!(batch.as_ptr(), address);
    }

    #[test]
    fn the_end_of_a_worker_loses_no_line() {
        let (mut sink, rx, _back) = sink(1);
        sink.line(|out| out.extend(b"last\n"));
        drop(sink);
        assert_eq!(rx.try_recv().unwrap(), b"last\n");
    }
}
