//! The threads of the admin listener: one that accepts for each address, and one for each connection, of which there are only
//! so many at once.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::limits;

use super::reply::Answer;
use super::subject::Subject;
use super::{answer, events, wire};

/// An address with its socket, bound and listening.
pub type Bound = (SocketAddr, OwnedFd);

/// The threads of the listener; told to stop when dropped. Not joined: a client may take its time, and the process is
/// about to end.
#[derive(Debug)]
pub struct Admin {
    /// An eventfd: rings when the threads are to end. Their sockets may be those of a successor too, so nothing is done to
    /// the sockets themselves.
    stop: Arc<OwnedFd>,
    places: Arc<Places>,
}

impl Admin {
    /// Starts a thread per address.
    ///
    /// # Errors
    /// A thread cannot be started, or a socket cannot be made one that does not block.
    pub fn start(sockets: Vec<OwnedFd>, subject: Subject) -> io::Result<Admin> {
        let subject = Arc::new(subject);
        let places = Arc::new(Places::new(sockets.len()));
        let admin = Admin { stop: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?), places };
        for socket in sockets {
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?; // a successor may be faster
            let (subject, places) = (Arc::clone(&subject), Arc::clone(&admin.places));
            let stop = Arc::clone(&admin.stop);
            let body = move || {
                accept(&listener, &stop, &places, &subject);
                places.free();
            };
            std::thread::Builder::new().name("admin".into()).spawn(body)?;
        }
        Ok(admin)
    }

    /// Accepts nobody any more.
    pub fn stop(&self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
    }

    /// Waits for those who were accepted, as long as it takes those who are quick.
    pub fn finish(self) {
        self.stop();
        self.places.wait_until_empty(Duration::from_millis(limits::ADMIN_GRACE_MS));
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, stop: &OwnedFd, places: &Arc<Places>, subject: &Arc<Subject>) {
    while wait(listener, stop) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => {
                // No descriptor, no memory: the workers say so.
                std::thread::sleep(Duration::from_millis(limits::ACCEPT_PAUSE_MS));
                continue;
            }
        };
        let (place, subject) = (places.take(), Arc::clone(subject));
        let body = move || {
            serve(&stream, &subject);
            drop(place);
        };
        // Without a thread the connection is closed: its owner tries again, as after any other failed scrape.
        let _ = std::thread::Builder::new().name("admin-client".into()).spawn(body);
    }
}

/// Waits for a client; false when it is time to end.
fn wait(listener: &TcpListener, stop: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
    if poll(&mut fds, None).is_err() {
        return true; // a signal
    }
    let [stop, _] = fds;
    stop.revents().is_empty()
}

/// Counts the connections that are being served, and the threads that accept them.
#[derive(Debug)]
struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
    accepting: usize,
}

impl Places {
    /// All free, for so many threads that accept.
    fn new(accepting: usize) -> Places {
        Places { taken: Mutex::new(accepting), freed: Condvar::new(), accepting }
    }

    /// Waits for a place.
    fn take(self: &Arc<Self>) -> Place {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken >= self.accepting + limits::ADMIN_CONNECTIONS_MAX;
        let mut taken = self.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Place(Arc::clone(self))
    }

    fn free(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.freed.notify_all();
    }

    fn wait_until_empty(&self, patience: Duration) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.freed.wait_timeout_while(taken, patience, |taken| *taken > 0));
    }
}

/// A place among [`limits::ADMIN_CONNECTIONS_MAX`]; given back when dropped.
#[derive(Debug)]
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.free();
    }
}

fn serve(stream: &TcpStream, subject: &Subject) {
    let deadline = Duration::from_millis(limits::ADMIN_DEADLINE_MS);
    let answer = wire::listen(stream, Instant::now() + deadline, |ask| answer::answer(ask, subject));
    let (reply, deed) = match answer {
        None => return,
        Some(Answer::Reply(reply)) => (reply, None),
        Some(Answer::ReplyThen(reply, deed)) => (reply, Some(deed)),
        Some(Answer::Events { head_only }) => return events::stream(stream, subject, head_only),
    };
    let sent = wire::send(stream, &reply.encode(wire::unix_s()), Instant::now() + deadline);
    if let Some(deed) = deed {
        deed(subject);
    }
    if sent.is_ok() {
        wire::linger(stream, Instant::now() + Duration::from_millis(limits::LINGER_SILENCE_MS));
    }
}

#[cfg(test)]
mod tests {
    //! Goal: no more than the bound are served at once. Method: all places, and one more.

    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let places = Arc::new(Places::new(0));
        let mut all: Vec<Place> = (0..limits::ADMIN_CONNECTIONS_MAX).map(|_| places.take()).collect();
        let (taken, waits) = std::sync::mpsc::channel();
        let next = Arc::clone(&places);
        std::thread::spawn(move || taken.send(next.take()));
        assert!(waits.recv_timeout(Duration::from_millis(50)).is_err(), "one more than there are");
        all.pop();
        let place = waits.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(*places.taken.lock().unwrap(), limits::ADMIN_CONNECTIONS_MAX);
        drop((place, all));
        assert_eq!(*places.taken.lock().unwrap(), 0);
    }
}
