//! What goes over a connection of the admin listener: blocking reads and writes, each step with a deadline of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::h1::head::{Parsed, parse_request};
use crate::h1::{Fields, HeadScan, RequestHead};
use crate::limits::{self, MessageLimits};

use super::reply::{Answer, Reply};

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Its head,
    pub head: &'a RequestHead,
    /// its fields,
    pub fields: &'a Fields,
    /// and the bytes that both point into.
    pub bytes: &'a [u8],
    /// It came over the loopback interface.
    pub local: bool,
}

/// Reads a request and finds the answer to it; `None` for a client that left, or never said a word.
pub fn listen(stream: &TcpStream, until: Instant, answer: impl Fn(Ask<'_>) -> Answer) -> Option<Answer> {
    let limits = MessageLimits { head_bytes_max: limits::ADMIN_HEAD_BYTES_MAX, ..MessageLimits::default() };
    let (mut buf, mut fields, mut scan) = (Vec::new(), Fields::new(), HeadScan::default());
    let mut scratch = [0; 1024];
    let local = stream.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
    loop {
        match read(stream, &mut scratch, until) {
            Ok(0) => return None,
            Ok(n) => buf.extend_from_slice(scratch.get(..n)?),
            Err(error) if error.kind() == ErrorKind::TimedOut && !buf.is_empty() => {
                return Some(Answer::Reply(Reply::refusal(408)));
            }
            Err(_) => return None,
        }
        if !scan.grew(&buf) {
            continue;
        }
        match parse_request(&buf, &limits, &mut fields) {
            Ok(Parsed::Partial) => {}
            Ok(Parsed::Complete(head)) => {
                return Some(answer(Ask { head: &head, fields: &fields, bytes: &buf, local }));
            }
            Err(error) => return Some(Answer::Reply(Reply::refusal(error.status()))),
        }
    }
}

/// One read that ends by `until`.
pub fn read(mut stream: &TcpStream, scratch: &mut [u8], until: Instant) -> io::Result<usize> {
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
pub fn send(mut stream: &TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
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
pub fn linger(stream: &TcpStream, until: Instant) {
    let mut scratch = [0; 1024];
    let _ = stream.shutdown(Shutdown::Write);
    while read(stream, &mut scratch, until).is_ok_and(|n| n > 0) {}
}

/// Now, in seconds since the Unix epoch.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time until `until`.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    //! Goal: no client holds a thread beyond its deadlines. Method: real sockets with short deadlines; what is said over them
    //! is tested on the wire (`tests/wire/admin.rs`).

    use std::net::TcpListener;

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
}
