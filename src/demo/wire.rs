//! A client connection: a socket with timeouts and one receive buffer.
//!
//! Invariant: `start <= end <= buf.len()`; `buf[start..end]` was received and not yet used.
//!
//! A signal interrupts reads and writes on a socket with a timeout even under `SA_RESTART` (signal(7)), so every
//! call here tries again after EINTR.

use super::bounds::{RECEIVE_BYTES, WRITE_TIMEOUT};
use super::fault::Fault;
use crate::limits::{LINGER_BYTES_MAX, LINGER_MS, LINGER_SILENCE_MS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A client connection and what it has sent.
pub(super) struct Wire {
    stream: TcpStream,
    buf: Box<[u8]>,
    start: usize,
    end: usize,
    read_timeout: Option<Duration>,
}

impl Wire {
    /// Sets the socket up: no Nagle delay, a timeout on every write.
    pub(super) fn new(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let buf = vec![0; RECEIVE_BYTES].into_boxed_slice();
        Ok(Wire { stream, buf, start: 0, end: 0, read_timeout: None })
    }

    /// What was received and not yet used.
    pub(super) fn unread(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, for a decoder that works in place.
    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Marks the first `bytes` of [`Wire::unread`] as used.
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start);
        self.start = self.start.saturating_add(bytes).min(self.end);
    }

    /// Hands out everything received and not yet used, to whoever reads the socket from here on.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        let rest = self.unread().to_vec();
        self.start = self.end;
        rest
    }

    /// Receives more; 0 is the end of the stream. Fails with `WouldBlock` after `timeout` without a byte.
    pub(super) fn fill(&mut self, timeout: Duration) -> io::Result<usize> {
        self.set_read_timeout(timeout)?;
        self.make_room();
        let room = self.buf.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            return Err(io::Error::other("receive buffer is full"));
        }
        let received = read_patiently(&self.stream, room)?;
        self.end += received;
        Ok(received)
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(bytes)
    }

    /// The socket, for a protocol other than HTTP. Its reads now time out after `idle`.
    pub(super) fn socket(&mut self, idle: Duration) -> io::Result<&TcpStream> {
        self.set_read_timeout(idle)?;
        Ok(&self.stream)
    }

    /// Waits for `pause` to pass, or for the client to leave: a client that has closed its sending side counts as
    /// gone, since no other sign of it comes until something is written.
    pub(super) fn pause(&self, pause: Duration) -> Result<(), Fault> {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(Fault::ClientLeft),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fault::Io(error.into())),
            }
        }
    }

    /// Ends the connection so that the client can read what was written last: closing while it still sends would
    /// reset the connection and may destroy the reply on its way (RFC 9112 §9.6).
    pub(super) fn linger(mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let end = Instant::now() + Duration::from_millis(LINGER_MS);
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX && Instant::now() < end {
            self.start = self.end;
            match self.fill(Duration::from_millis(LINGER_SILENCE_MS)) {
                Ok(0) | Err(_) => return,
                Ok(received) => discarded += received,
            }
        }
    }

    /// One system call when the timeout changes, none in a run of ordinary requests.
    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        if self.read_timeout != timeout {
            self.stream.set_read_timeout(timeout)?;
            self.read_timeout = timeout;
        }
        Ok(())
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buf.len() && self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}

/// Reads, and tries again after a signal.
pub(super) fn read_patiently(mut stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes some bytes, and tries again after a signal.
pub(super) fn write_patiently(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Whether `error` is what a socket's timeout gives.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
