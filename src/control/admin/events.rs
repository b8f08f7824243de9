//! The status page's events: one snapshot a second, to a few viewers (Server-Sent Events, HTML §9.2).

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::limits;

use super::reply::{self, Reply};
use super::subject::Subject;
use super::{page, wire};

/// A place among the viewers; given back when dropped.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(viewers: &'a AtomicUsize) -> Option<Seat<'a>> {
        if viewers.fetch_add(1, Ordering::Relaxed) < limits::ADMIN_VIEWERS_MAX {
            return Some(Seat(viewers));
        }
        viewers.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends events until the viewer leaves, or does not read.
pub fn stream(stream: &TcpStream, subject: &Subject, head_only: bool) {
    let deadline = Duration::from_millis(limits::ADMIN_DEADLINE_MS);
    let Some(_seat) = Seat::take(&subject.viewers) else {
        let mut full = Reply::text(503, "too many viewers: close another status page\n");
        full.head_only = head_only;
        let _ = wire::send(stream, &full.encode(wire::unix_s()), Instant::now() + deadline);
        return wire::linger(stream, Instant::now() + Duration::from_millis(limits::LINGER_SILENCE_MS));
    };
    let mut head = reply::head(200, wire::unix_s());
    head.extend_from_slice(
        b"Content-Type: text/event-stream\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\
          Connection: close\r\n\r\n",
    );
    if wire::send(stream, &head, Instant::now() + deadline).is_err() || head_only {
        return;
    }
    // A viewer of a process that has handed over comes back, and is the successor's.
    while !subject.shared.has_successor() {
        let event = format!("data: {}\n\n", page::snapshot(subject));
        if wire::send(stream, event.as_bytes(), Instant::now() + deadline).is_err() {
            return;
        }
        // A viewer says nothing more: what it does say, or its leaving, ends the pause.
        let pause = Instant::now() + Duration::from_millis(limits::ADMIN_EVENT_MS);
        match wire::read(stream, &mut [0; 64], pause) {
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_given_back() {
        let viewers = AtomicUsize::new(0);
        let mut all: Vec<Seat<'_>> =
            (0..limits::ADMIN_VIEWERS_MAX).map_while(|_| Seat::take(&viewers)).collect();
        assert_eq!(all.len(), limits::ADMIN_VIEWERS_MAX);
        assert!(Seat::take(&viewers).is_none());
        all.pop();
        assert!(Seat::take(&viewers).is_some());
        all.clear();
        assert_eq!(viewers.load(Ordering::Relaxed), 0);
    }
}
