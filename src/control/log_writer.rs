//! The log writer: one thread that writes the workers' batches of access-log lines.
//!
//! Workers must never wait for a disk or for the reader of a pipe, so they hand whole batches over through
//! a bounded queue (see [`crate::net::log_sink`]); what this thread cannot take in time, they drop and
//! count. Here nothing but this thread waits.
//!
//! # Invariants
//! - A batch is whole lines of one worker, and batches of one worker are written in the order they came.
//! - An output that fails loses lines, which are counted, and never stops the program. A line that was cut
//!   short is ended before the next one begins.
//! - Memory: at most [`LOG_BATCHES_MAX`] batches per worker wait, and as many empty buffers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;

use crate::config::LogTarget;
use crate::limits::{LOG_BATCHES_MAX, POOLED_BUFFER_BYTES_MAX};
use crate::net::log_sink::LogSink;

/// Access of a new log file: it names clients and what they asked for.
const FILE_MODE: u32 = 0o640;
/// At most one warning about a failing output in this time.
const WARNING_PAUSE: Duration = Duration::from_secs(60);
/// How long [`LogWriter::finish`] waits for an output that does not take the last lines.
const FINISH_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The control side of the log writer.
#[derive(Debug)]
pub struct LogWriter {
    /// `None` when nothing is logged.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// The file to open again; `None` for standard output.
    path: Option<PathBuf>,
    /// Wakes the thread with an empty batch.
    tx: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    thread: thread::JoinHandle<()>,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    /// A file that replaces the output before the next batch.
    replacement: Mutex<Option<File>>,
    /// Lines that could not be written.
    lost: AtomicU64,
}

impl LogWriter {
    /// Opens `target` and starts the thread; one sink per worker, none when nothing is logged.
    ///
    /// # Errors
    /// The file cannot be opened (the error names it), or the thread cannot be started.
    pub fn start(target: &LogTarget, workers: usize) -> io::Result<(LogWriter, Vec<LogSink>)> {
        match target {
            LogTarget::Off => Ok((LogWriter { running: None }, Vec::new())),
            LogTarget::Stdout => {
                // A copy of the descriptor: std's own writer splits batches at lines behind a lock.
                let stdout = io::stdout().as_fd().try_clone_to_owned()?;
                LogWriter::spawn(stdout.into(), None, workers)
            }
            LogTarget::File(path) => LogWriter::spawn(open(path)?, Some(path.clone()), workers),
        }
    }

    /// Opens the log file again, after it was renamed (SIGUSR1). Batches handed over from now on go to the
    /// new file. When it cannot be opened the old one is kept.
    pub fn reopen(&self) {
        let Some(running) = &self.running else { return };
        let Some(path) = &running.path else { return };
        match open(path) {
            Ok(file) => {
                running.shared.lock_replacement().replace(file);
                // So that the old file is closed now; a queue with no room has something to wake it.
                let _ = running.tx.try_send(Vec::new());
            }
            Err(error) => tracing::warn!(%error, "access log: keeping the old file"),
        }
    }

    /// Lines that the output did not take, so far. Lines that workers dropped are not among them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.running.as_ref().map_or(0, |running| running.shared.lost.load(Ordering::Relaxed))
    }

    /// [`LogWriter::lost`] for whoever outlives the writer.
    #[must_use]
    pub fn losses(&self) -> Box<dyn Fn() -> u64 + Send + Sync> {
        let shared = self.running.as_ref().map(|running| Arc::clone(&running.shared));
        Box::new(move || shared.as_ref().map_or(0, |shared| shared.lost.load(Ordering::Relaxed)))
    }

    /// Writes what is left and ends the thread; call it when all sinks are dropped. Gives up after five
    /// seconds, so that a stuck output (a stopped reader of standard output) cannot keep the process.
    pub fn finish(self) {
        let Some(running) = self.running else { return };
        drop(running.tx);
        match running.ended.recv_timeout(FINISH_PAUSE_MAX) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if running.thread.join().is_err() {
                    tracing::warn!("access log: the log writer panicked");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("access log: the last lines are stuck, left behind")
            }
        }
    }

    /// Starts the thread on an output that is open.
    fn spawn(output: File, path: Option<PathBuf>, workers: usize) -> io::Result<(LogWriter, Vec<LogSink>)> {
        let (tx, rx) = sync_channel(LOG_BATCHES_MAX * workers.max(1));
        let (sinks, back) = (0..workers)
            .map(|_| {
                let (back, recycled) = sync_channel(LOG_BATCHES_MAX);
                (LogSink::new(tx.clone(), recycled), back)
            })
            .unzip();
        let shared = Arc::new(Shared::default());
        let output = Output { file: output, torn: false, warned: None, shared: Arc::clone(&shared) };
        let (alive, ended) = sync_channel(0);
        let thread = thread::Builder::new().name("ringress-log".to_owned()).spawn(move || {
            let _alive = alive;
            run(output, &rx, Recycler { back, next: 0 });
        })?;
        Ok((LogWriter { running: Some(Running { path, tx, shared, ended, thread }) }, sinks))
    }
}

impl Shared {
    /// The slot stays valid whatever a panicking holder did: it is replaced in one step.
    fn lock_replacement(&self) -> std::sync::MutexGuard<'_, Option<File>> {
        self.replacement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Non-blocking: a FIFO that nobody reads is an error now (ENXIO), not a start that hangs for ever.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).custom_flags(flags).open(path);
    file.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot open access log {}: {error}", path.display()))
    })
}

/// The thread: ends when every sink and the [`LogWriter`] have let go of the queue.
fn run(mut output: Output, batches: &Receiver<Vec<u8>>, mut recycler: Recycler) {
    for batch in batches {
        output.replace();
        if !batch.is_empty() {
            output.write(&batch);
            recycler.give_back(batch);
        }
    }
}

/// Where the lines go.
struct Output {
    file: File,
    /// The last thing written is a line without its end.
    torn: bool,
    /// When the last warning was.
    warned: Option<Instant>,
    shared: Arc<Shared>,
}

impl Output {
    /// Takes the file that [`LogWriter::reopen`] left, if it did.
    fn replace(&mut self) {
        if let Some(file) = self.shared.lock_replacement().take() {
            self.file = file;
            self.torn = false;
        }
    }

    /// Writes a batch; what cannot be written is counted.
    fn write(&mut self, batch: &[u8]) {
        let mut rest = batch;
        let result = self.mend().and_then(|()| write_all(&self.file, &mut rest));
        let written = batch.len() - rest.len();
        if let Some(&last) = written.checked_sub(1).and_then(|last| batch.get(last)) {
            self.torn = last != b'\n';
        }
        if let Err(error) = result {
            let lost = memchr::memchr_iter(b'\n', rest).count() as u64;
            self.shared.lost.fetch_add(lost, Ordering::Relaxed);
            self.warn(&error);
        }
    }

    /// Ends a line that was cut short, so that the next line cannot be taken for its rest.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            write_all(&self.file, &mut &b"\n"[..])?;
            self.torn = false;
        }
        Ok(())
    }

    fn warn(&mut self, error: &io::Error) {
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNING_PAUSE) {
            self.warned = Some(Instant::now());
            let lost = self.shared.lost.load(Ordering::Relaxed);
            tracing::warn!(%error, lost, "access log: lines could not be written");
        }
    }
}

/// Writes all of `rest`, leaving in it what was not written. Waits for an output that is full, also when
/// it is non-blocking: standard output is shared with whoever started us, who may have made it so.
fn write_all(mut file: &File, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // However this ends, the next write tells.
                let _ = poll(&mut [PollFd::new(file, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends empty buffers back to the workers.
struct Recycler {
    back: Vec<SyncSender<Vec<u8>>>,
    /// Whose turn it is. A batch does not tell whose it was, and turns even out.
    next: usize,
}

impl Recycler {
    /// Gives the buffer to the first worker, from the one whose turn it is, that has room for it. One that
    /// grew too large is freed.
    fn give_back(&mut self, mut batch: Vec<u8>) {
        if batch.capacity() > POOLED_BUFFER_BYTES_MAX {
            return;
        }
        batch.clear();
        for _ in 0..self.back.len() {
            self.next = (self.next + 1) % self.back.len();
            let Some(back) = self.back.get(self.next) else { return };
            match back.try_send(batch) {
                Ok(()) => return,
                Err(error) => batch = into_batch(error),
            }
        }
    }
}

fn into_batch(error: std::sync::mpsc::TrySendError<Vec<u8>>) -> Vec<u8> {
    use std::sync::mpsc::TrySendError::{Disconnected, Full};
    match error {
        Full(batch) | Disconnected(batch) => batch,
    }
}

#[cfg(test)]
mod tests {
    //! Goal: every line arrives in order or is counted, and no output, however broken, holds a worker up.
    //! Method: real files and pipes, read only when the test says so.

    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory of its own that goes away with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringress-log-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }

        fn log(&self) -> PathBuf {
            self.0.join("access.log")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn start(path: &Path, workers: usize) -> (LogWriter, Vec<LogSink>) {
        LogWriter::start(&LogTarget::File(path.to_owned()), workers).unwrap()
    }

    fn pipe() -> (File, File) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), writer.into())
    }

    fn say(sink: &mut LogSink, line: &str) {
        sink.line(|out| out.extend_from_slice(line.as_bytes()));
        sink.flush();
    }

    /// Numbered lines of one worker until lines were dropped. Returns how many there were.
    fn fill(sink: &mut LogSink, worker: usize) -> u64 {
        let mut lines = 0;
        while sink.dropped() == 0 {
            sink.line(|out| writeln!(out, "{worker} {lines} {:>200}", "").unwrap());
            lines += 1;
        }
        lines
    }

    /// The numbers of the lines of `worker`.
    fn numbers(log: &str, worker: usize) -> Vec<u64> {
        let prefix = format!("{worker} ");
        let lines = log.lines().filter_map(|line| line.strip_prefix(&prefix));
        lines.map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn nothing_is_started_when_nothing_is_logged() {
        let (writer, sinks) = LogWriter::start(&LogTarget::Off, 4).unwrap();
        assert!(sinks.is_empty());
        writer.reopen();
        assert_eq!(writer.lost(), 0);
        writer.finish();
    }

    #[test]
    fn an_open_error_names_the_file() {
        let directory = Directory::new("error");
        let error = LogWriter::start(&LogTarget::File(directory.0.clone()), 1).unwrap_err();
        assert!(error.to_string().contains(directory.0.to_str().unwrap()), "{error}");
        let missing = directory.0.join("no/such/file");
        let error = LogWriter::start(&LogTarget::File(missing.clone()), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    }

    #[test]
    fn all_lines_of_all_workers_are_there_at_finish_in_order_per_worker() {
        const LINES: u64 = 20_000;
        let directory = Directory::new("order");
        fs::write(directory.log(), "before\n").unwrap();
        let (writer, sinks) = start(&directory.log(), 3);
        let workers: Vec<_> = sinks
            .into_iter()
            .enumerate()
            .map(|(worker, mut sink)| {
                thread::spawn(move || {
                    for line in 0..LINES {
                        sink.line(|out| writeln!(out, "{worker} {line} {:>40}", "").unwrap());
                    }
                    sink.flush();
                    sink.dropped()
                })
            })
            .collect();
        let dropped: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        writer.finish();
        let log = fs::read_to_string(directory.log()).unwrap();
        assert!(log.starts_with("before\n") && log.ends_with('\n'));
        let mut lines = 0;
        for worker in 0..3 {
            let numbers = numbers(&log, worker);
            assert!(numbers.is_sorted_by(|a, b| a < b));
            lines += numbers.len() as u64;
        }
        assert_eq!((lines + dropped, log.lines().count() as u64), (3 * LINES, lines + 1));
    }

    #[test]
    fn a_new_file_is_readable_by_owner_and_group_only() {
        let directory = Directory::new("mode");
        let (writer, sinks) = start(&directory.log(), 1);
        let mode = fs::metadata(directory.log()).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        drop(sinks);
        writer.finish();
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (mut reader, output) = pipe();
        let (writer, mut sinks) = LogWriter::spawn(output, None, 1).unwrap();
        let mut sink = sinks.pop().unwrap();
        let began = Instant::now();
        let before = fill(&mut sink, 0);
        for _ in 0..100_000 {
            sink.line(|out| out.extend_from_slice(b"x\n"));
        }
        assert!(began.elapsed() < Duration::from_secs(20), "a worker waited: {:?}", began.elapsed());
        let read = thread::spawn(move || {
            let mut log = String::new();
            reader.read_to_string(&mut log).unwrap();
            log
        });
        sink.flush();
        let dropped = sink.dropped();
        drop(sink);
        writer.finish();
        let log = read.join().unwrap();
        assert!(dropped > 0);
        assert_eq!(log.lines().count() as u64 + dropped, before + 100_000);
        let numbers = numbers(&log, 0);
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "the first lines are kept, in order");
    }

    #[test]
    fn finish_does_not_wait_for_ever() {
        let (reader, output) = pipe();
        let (writer, mut sinks) = LogWriter::spawn(output, None, 1).unwrap();
        fill(&mut sinks[0], 0);
        drop(sinks);
        let began = Instant::now();
        writer.finish();
        assert!(began.elapsed() >= FINISH_PAUSE_MAX && began.elapsed() < 4 * FINISH_PAUSE_MAX);
        drop(reader);
    }

    #[test]
    fn after_reopen_lines_go_to_the_new_file() {
        let directory = Directory::new("reopen");
        let rotated = directory.0.join("access.log.1");
        let (writer, mut sinks) = start(&directory.log(), 1);
        say(&mut sinks[0], "0 1\n");
        wait_until(|| fs::read_to_string(directory.log()).unwrap() == "0 1\n");
        fs::rename(directory.log(), &rotated).unwrap();
        say(&mut sinks[0], "0 2\n");
        wait_until(|| fs::read_to_string(&rotated).unwrap() == "0 1\n0 2\n");
        writer.reopen();
        say(&mut sinks[0], "0 3\n");
        drop(sinks);
        writer.finish();
        assert_eq!(fs::read_to_string(&rotated).unwrap(), "0 1\n0 2\n");
        assert_eq!(fs::read_to_string(directory.log()).unwrap(), "0 3\n");
    }

    #[test]
    fn a_reopen_that_fails_keeps_the_old_file() {
        let directory = Directory::new("keep");
        let moved = Directory::new("keep-moved");
        let (writer, mut sinks) = start(&directory.log(), 1);
        fs::rename(directory.log(), moved.log()).unwrap();
        fs::create_dir(directory.log()).unwrap();
        writer.reopen();
        say(&mut sinks[0], "0 1\n");
        drop(sinks);
        writer.finish();
        assert_eq!(fs::read_to_string(moved.log()).unwrap(), "0 1\n");
    }

    #[test]
    fn an_idle_writer_lets_go_of_the_old_file() {
        let (mut reader, output) = pipe();
        let directory = Directory::new("idle");
        let (writer, sinks) = LogWriter::spawn(output, Some(directory.log()), 1).unwrap();
        writer.reopen();
        // The end of the pipe comes only when its last writer is closed.
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
        drop(sinks);
        writer.finish();
    }

    #[test]
    fn a_broken_output_is_counted_and_a_good_one_taken_up_again() {
        let directory = Directory::new("broken");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (writer, mut sinks) = LogWriter::spawn(full, Some(directory.log()), 1).unwrap();
        sinks[0].line(|out| out.extend_from_slice(b"0 1\n"));
        say(&mut sinks[0], "0 2\n");
        wait_until(|| writer.lost() == 2);
        let (reader, broken) = pipe();
        drop(reader);
        *writer.running.as_ref().unwrap().shared.lock_replacement() = Some(broken);
        say(&mut sinks[0], "0 3\n");
        wait_until(|| writer.lost() == 3);
        writer.reopen();
        say(&mut sinks[0], "0 4\n");
        drop(sinks);
        writer.finish();
        assert_eq!(fs::read_to_string(directory.log()).unwrap(), "0 4\n");
    }

    #[test]
    fn a_non_blocking_output_is_waited_for() {
        let (mut reader, output) = pipe();
        rustix::io::ioctl_fionbio(&output, true).unwrap();
        let (writer, mut sinks) = LogWriter::spawn(output, None, 1).unwrap();
        let lines = fill(&mut sinks[0], 0);
        let read = thread::spawn(move || {
            let mut log = String::new();
            reader.read_to_string(&mut log).unwrap();
            log
        });
        sinks[0].flush();
        let dropped = sinks[0].dropped();
        drop(sinks);
        let shared = Arc::clone(&writer.running.as_ref().unwrap().shared);
        writer.finish();
        assert_eq!(read.join().unwrap().lines().count() as u64, lines - dropped);
        assert_eq!(shared.lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_line_cut_short_is_ended_before_the_next() {
        let (mut reader, output) = pipe();
        let mut output = Output { file: output, torn: false, warned: None, shared: Arc::default() };
        output.write(b"cut sho");
        output.write(b"next\n");
        output.write(b"last\n");
        drop(output);
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        assert_eq!(log, "cut sho\nnext\nlast\n");
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "waited for too long");
            thread::yield_now();
        }
    }
}
