//! The admin listener: `/metrics`, `/healthz` and `/readyz`, on threads of its own.
//!
//! Blocking sockets of the standard library and a thread per connection, because there are few clients, each asks one
//! question, and a probe must be answered while every worker is busy; an HTTP library with a runtime of its own would be
//! more code to trust than this. Requests are parsed by [`crate::h1`], as strictly as a client's.
//!
//! ```text
//!  accept ─▶ wait for one of ADMIN_CONNECTIONS_MAX places ─▶ a thread: head ─▶ answer ─▶ FIN ─▶ the client's FIN
//!                                                            └── deadline ─┘└ deadline ┘└───── deadline ─────┘
//! ```
//! Each deadline is one of the whole step and not of a single read: a slow client costs its place for their sum and
//! nobody else's time. One request per connection: a scrape every few seconds gains nothing from keeping it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::h1::head::{Parsed, parse_request};
use crate::h1::{Fields, HeadScan, Known, Method, RequestHead};
use crate::limits::{self, MessageLimits};
use crate::net::shared::{Lifecycle, Shared};
use crate::proxy::respond::reason;
use crate::telemetry::date::write_http_date;
use crate::telemetry::exposition::{self, Format, Snapshot};
use crate::telemetry::metrics::Shard;

/// An address with its socket, bound and listening.
pub type Bound = (SocketAddr, OwnedFd);

/// What is reported on.
#[derive(Debug)]
pub struct Subject {
    shared: Arc<Shared>,
    shards: Vec<Arc<Shard>>,
    started_unix_ms: u64,
}

impl Subject {
    /// The process that `shared` stands for, whose workers count in `shards`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, shards: Vec<Arc<Shard>>) -> Subject {
        let started = SystemTime::now().checked_sub(shared.epoch.elapsed()).unwrap_or(UNIX_EPOCH);
        let since_1970 = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Subject { shared, shards, started_unix_ms }
    }

    fn metrics(&self, format: Format) -> String {
        let snapshot = Snapshot {
            shards: &self.shards,
            connections_open: self.shared.connections(),
            endpoints: self.shared.site.load().endpoints.iter().map(|group| group.list.len()).sum(),
            lifecycle: self.shared.lifecycle() as u8,
            started_unix_ms: self.started_unix_ms,
            version: env!("CARGO_PKG_VERSION"),
        };
        exposition::render(&snapshot, format)
    }
}

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
    let Some(reply) = listen_to(stream, Instant::now() + deadline, subject) else { return };
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if send(stream, &reply.encode(unix_s), Instant::now() + deadline).is_ok() {
        linger(stream, Instant::now() + Duration::from_millis(limits::LINGER_SILENCE_MS));
    }
}

/// Reads a request and finds the answer to it; `None` for a client that left, or never said a word.
fn listen_to(stream: &TcpStream, until: Instant, subject: &Subject) -> Option<Reply> {
    let limits = MessageLimits { head_bytes_max: limits::ADMIN_HEAD_BYTES_MAX, ..MessageLimits::default() };
    let (mut buf, mut fields, mut scan) = (Vec::new(), Fields::new(), HeadScan::default());
    let mut scratch = [0; 1024];
    loop {
        match read(stream, &mut scratch, until) {
            Ok(0) => return None,
            Ok(n) => buf.extend_from_slice(scratch.get(..n)?),
            Err(error) if error.kind() == ErrorKind::TimedOut && !buf.is_empty() => {
                return Some(Reply::refusal(408));
            }
            Err(_) => return None,
        }
        if !scan.grew(&buf) {
            continue;
        }
        match parse_request(&buf, &limits, &mut fields) {
            Ok(Parsed::Partial) => {}
            Ok(Parsed::Complete(head)) => return Some(answer(&head, &fields, &buf, subject)),
            Err(error) => return Some(Reply::refusal(error.status())),
        }
    }
}

fn answer(head: &RequestHead, fields: &Fields, bytes: &[u8], subject: &Subject) -> Reply {
    let head_only = match head.method {
        Method::Get => false,
        Method::Head => true,
        Method::Post
        | Method::Put
        | Method::Delete
        | Method::Options
        | Method::Patch
        | Method::Connect
        | Method::Trace
        | Method::Other => return Reply::refusal(405),
    };
    let path = head.path.of(bytes).split(|&byte| byte == b'?').next().unwrap_or_default();
    let reply = match path {
        b"/metrics" => {
            let accept = fields.iter().filter(|field| field.known == Known::Accept);
            let format =
                Format::wanted(accept.filter_map(|field| str::from_utf8(field.value.of(bytes)).ok()));
            Reply { content_type: format.content_type(), ..Reply::text(200, subject.metrics(format)) }
        }
        b"/healthz" => Reply::text(200, "ok\n".into()),
        b"/readyz" => match subject.shared.lifecycle() {
            Lifecycle::Running => Reply::text(200, "ok\n".into()),
            // Asked before a successor had taken over, and answered after: the service is as ready as ever.
            Lifecycle::Draining if subject.shared.has_successor() => Reply::text(200, "ok\n".into()),
            Lifecycle::Draining | Lifecycle::Cutting => Reply::text(503, "draining\n".into()),
        },
        _ => Reply::text(404, "not here: there are /metrics, /healthz and /readyz\n".into()),
    };
    Reply { head_only, ..reply }
}

/// A response that ends its connection.
#[derive(Debug)]
struct Reply {
    status: u16,
    content_type: &'static str,
    body: String,
    head_only: bool,
}

impl Reply {
    fn text(status: u16, body: String) -> Reply {
        Reply { status, content_type: "text/plain; charset=utf-8", body, head_only: false }
    }

    fn refusal(status: u16) -> Reply {
        Reply::text(status, format!("{}\n", reason(status)))
    }

    fn encode(&self, unix_s: u64) -> Vec<u8> {
        let Reply { status, content_type, body, .. } = self;
        let mut out = format!("HTTP/1.1 {status} {}\r\nDate: ", reason(*status)).into_bytes();
        write_http_date(unix_s, &mut out);
        // RFC 9110 §15.5.6: a 405 MUST say what is allowed.
        let allow = if *status == 405 { "\r\nAllow: GET, HEAD" } else { "" };
        let rest = format!(
            "{allow}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        out.extend_from_slice(rest.as_bytes());
        if !self.head_only {
            out.extend_from_slice(body.as_bytes());
        }
        out
    }
}

/// One read that ends by `until`.
fn read(mut stream: &TcpStream, scratch: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(scratch) {
            // The kernel's word for a timeout; `left` has the last one.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            read => return read,
        }
    }
}

/// Sends all of `bytes` by `until`.
fn send(mut stream: &TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends our side and waits a moment for the client's: closing before would reset a connection that holds bytes nobody
/// read, such as a body, and the client could lose the response.
fn linger(stream: &TcpStream, until: Instant) {
    let mut scratch = [0; 1024];
    let _ = stream.shutdown(Shutdown::Write);
    while read(stream, &mut scratch, until).is_ok_and(|n| n > 0) {}
}

/// The time until `until`.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    //! Goal: no client holds a thread beyond its deadlines, and no more than the bound are served. Method: real sockets
    //! with short deadlines; what is said over them is tested on the wire (`tests/wire/admin.rs`).

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(100)
    }

    #[test]
    fn a_client_that_does_not_read_is_given_up_at_the_deadline() {
        let (_client, server) = pair();
        let started = Instant::now();
        let sent = send(&server, &vec![b'x'; 64 * 1024 * 1024], soon());
        assert_eq!(sent.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(
            started.elapsed() >= Duration::from_millis(100) && started.elapsed() < Duration::from_secs(5)
        );
    }

    /// Bytes that keep coming do not move the deadline.
    #[test]
    fn a_client_that_drips_is_given_up_at_the_deadline() {
        let (mut client, server) = pair();
        let drip = std::thread::spawn(move || {
            for _ in 0..5_000 / 2 {
                if client.write_all(b"x").is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let started = Instant::now();
        linger(&server, soon());
        drop(server);
        drip.join().unwrap();
        assert!(
            started.elapsed() >= Duration::from_millis(100) && started.elapsed() < Duration::from_secs(5)
        );
    }

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

    #[test]
    fn replies_are_exact() {
        let text = |reply: Reply| String::from_utf8(reply.encode(784_111_777)).unwrap();
        assert_eq!(
            text(Reply::text(200, "ok\n".into())),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 3\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nok\n"
        );
        assert!(text(Reply::refusal(405)).contains("\r\nAllow: GET, HEAD\r\n"));
        let head = text(Reply { head_only: true, ..Reply::text(404, "gone".into()) });
        assert!(head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
