//! The worker's end of the access log.
//!
//! Lines collect in a batch; a full batch goes to the log writer (`control::log_writer`) through a
//! bounded queue, and the writer sends the empty buffer back. Nothing here waits: when the queue is full,
//! because the disk or the reader of standard output is slow, the batch is dropped and its lines are
//! counted. In steady state nothing is allocated.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use crate::limits::LOG_BATCH_BYTES;

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

    /// Appends the one line that `write` writes, and hands the batch over when it is full.
    pub fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.batch.capacity() == 0 {
            self.batch = self.recycled.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER_BYTES));
            debug_assert!(self.batch.is_empty(), "the log writer empties what it sends back");
        }
        write(&mut self.batch);
        self.lines += 1;
        if self.batch.len() >= LOG_BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands over what there is, so that a quiet worker's lines do not wait for a full batch. Never blocks.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        match self.tx.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(mut batch) | TrySendError::Disconnected(mut batch)) => {
                batch.clear();
                self.batch = batch;
                self.dropped += lines;
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

/// The last lines of a worker that ends are handed over, too.
impl Drop for LogSink {
    fn drop(&mut self) {
        self.flush();
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
    fn a_full_queue_drops_the_batch_and_counts_its_lines() {
        let (mut sink, rx, _back) = sink(1);
        for batch in [&b"a\n"[..], b"b\n"] {
            sink.line(|out| out.extend(batch));
            sink.line(|out| out.extend(batch));
            sink.flush();
        }
        assert_eq!((sink.dropped(), sink.is_empty()), (2, true));
        assert_eq!(rx.try_recv().unwrap(), b"a\na\n");
        sink.line(|out| out.extend(b"c\n"));
        sink.flush();
        assert_eq!((rx.try_recv().unwrap(), sink.dropped()), (b"c\n".to_vec(), 2));
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
