//! The threads of the admin listener: one that accepts for each address, and one for each connection, of which there are only
//! so many at once.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;

use super::answer::{self, Answer};
use super::subject::Subject;
use super::{events, wire};

/// An address with its socket, bound and listening.
pub type Bound = (SocketAddr, OwnedFd);

/// The threads of the listener; told to stop when dropped. Not joined: a client may take its time, and the process is
/// about to end.
#[derive(Debug)]
pub struct Admin {
    listeners: Vec<Arc<TcpListener>>,
    stopping: Arc<AtomicBool>,
}

impl Admin {
    /// Starts a thread per address.
    ///
    /// # Errors
    /// A thread cannot be started, or a socket cannot be made a blocking one.
    pub fn start(sockets: Vec<OwnedFd>, subject: Subject) -> io::Result<Admin> {
        let (subject, places) = (Arc::new(subject), Arc::new(Places::default()));
        let mut admin = Admin { listeners: Vec::new(), stopping: Arc::default() };
        for socket in sockets {
            let listener = Arc::new(TcpListener::from(socket));
            listener.set_nonblocking(false)?;
            admin.listeners.push(Arc::clone(&listener));
            let (subject, places) = (Arc::clone(&subject), Arc::clone(&places));
            let stopping = Arc::clone(&admin.stopping);
            let body = move || accept(&listener, &stopping, &places, &subject);
            std::thread::Builder::new().name("admin".into()).spawn(body)?;
        }
        Ok(admin)
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            // Ends accept(2), which closing the descriptor would not.
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, stopping: &AtomicBool, places: &Arc<Places>, subject: &Arc<Subject>) {
    loop {
        let accepted = listener.accept();
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // No descriptor, no memory: the workers say so.
            std::thread::sleep(Duration::from_millis(limits::ACCEPT_PAUSE_MS));
            continue;
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

/// Counts the connections that are being served.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
}

impl Places {
    /// Waits for a place.
    fn take(self: &Arc<Self>) -> Place {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken >= limits::ADMIN_CONNECTIONS_MAX;
        let mut taken = self.freed.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Place(Arc::clone(self))
    }
}

/// A place among [`limits::ADMIN_CONNECTIONS_MAX`]; given back when dropped.
#[derive(Debug)]
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
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
        let places = Arc::new(Places::default());
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
