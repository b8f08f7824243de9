//! The record layer of one connection: rustls for the records, direct non-blocking calls for the socket.
//!
//! ```text
//!   read   socket ─▶ ciphertext scratch of the thread ─▶ rustls ─▶ caller's buffer
//!   write  caller's slices ─▶ records inside rustls ─▶ one send ─▶ taken
//! ```
//! * One read brings no more ciphertext than decrypts into the caller's buffer, so that nothing waits inside the
//!   session behind it. A small buffer may leave the rest of a record inside; [`Session::has_news`] says so, because
//!   the socket cannot.
//! * Bytes count as taken when the kernel has their ciphertext, not before: what was encrypted and not sent is
//!   *owed*, and the caller comes back with the same bytes in front (as it would to a socket that took none).
//! * The first records after idleness are small, so that a receiver can decrypt the first byte early.
//! * An end without close_notify is an `UnexpectedEof` error: whoever cut the connection, it was not the peer's TLS.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustls::Connection;

use crate::limits;

use super::greeting::Greeting;

thread_local! {
    /// Where ciphertext lands: one for all connections of a worker.
    static CIPHERTEXT: RefCell<Box<[u8]>> = RefCell::new(vec![0; limits::SCRATCH_BYTES].into_boxed_slice());
}

/// Most slices of one record: those of an outbox's write.
const PARTS_MAX: usize = 8;

/// The bare connection below the records.
pub trait Wire {
    /// Reads what is there: `Ok(Some(0))` is the end of the stream, `Ok(None)` is "not now".
    ///
    /// # Errors
    /// The connection is broken.
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>>;

    /// Writes as many of `slices` as the socket takes now; 0 is "not now".
    ///
    /// # Errors
    /// The connection is broken.
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends FIN.
    fn shutdown_write(&mut self);

    /// Forgets readiness: the next wait asks the ring again.
    fn yield_read(&mut self);
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// It has not.
    Open,
    /// With close_notify.
    Closed,
    /// Without, or because of an error.
    Broken(ErrorKind),
}

/// One connection's TLS.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    reading: Reading,
    /// Plaintext bytes inside rustls.
    waiting: usize,
    /// Plaintext bytes encrypted whose ciphertext is not with the kernel yet.
    owed: usize,
    /// Plaintext bytes sent since our side was last silent.
    ramp: usize,
    sent_at: Option<Instant>,
    /// A FIN is due behind the ciphertext.
    fin_due: bool,
    greeting: Option<Rc<Greeting>>,
}

impl Session {
    /// The session of a handshake that has just ended. Requests that came right behind it are inside already.
    ///
    /// # Errors
    /// What came behind the handshake is not TLS.
    pub fn new(mut connection: Connection) -> io::Result<Session> {
        connection.set_buffer_limit(None); // `encrypt` bounds what is inside
        let state = connection.process_new_packets().map_err(invalid)?;
        Ok(Session {
            waiting: state.plaintext_bytes_to_read(),
            reading: if state.peer_has_closed() { Reading::Closed } else { Reading::Open },
            connection,
            owed: 0,
            ramp: 0,
            sent_at: None,
            fin_due: false,
            greeting: None,
        })
    }

    /// As [`Session::new`], with what is known about a client.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn of_client(connection: Connection, greeting: Greeting) -> io::Result<Session> {
        Ok(Session { greeting: Some(Rc::new(greeting)), ..Session::new(connection)? })
    }

    /// What the handshake said of the client; nothing towards origins.
    #[must_use]
    pub fn greeting(&self) -> Option<&Rc<Greeting>> {
        self.greeting.as_ref()
    }

    /// HTTP/2 was agreed on.
    #[must_use]
    pub fn speaks_h2(&self) -> bool {
        self.connection.alpn_protocol() == Some(b"h2")
    }

    /// Reading has something to say that the socket does not show: plaintext inside, the end, an error.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.waiting > 0 || self.reading != Reading::Open
    }

    /// Ciphertext waits for the socket.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Reads plaintext: `Ok(Some(0))` is the end that the peer announced, `Ok(None)` is "not now".
    ///
    /// # Errors
    /// The connection is broken, or ended without close_notify (`UnexpectedEof`).
    pub fn read(&mut self, socket: &mut impl Wire, out: &mut [u8]) -> io::Result<Option<usize>> {
        if self.waiting > 0 {
            return self.take(out).map(Some);
        }
        match self.reading {
            Reading::Open => {}
            Reading::Closed => return Ok(Some(0)),
            Reading::Broken(kind) => return Err(kind.into()),
        }
        let read = self.receive(socket, out);
        if let Err(error) = &read {
            self.reading = Reading::Broken(error.kind());
        }
        read
    }

    /// Takes in what a silent peer may send (tickets, key updates): false when it said something else.
    pub fn is_quiet(&mut self, socket: &mut impl Wire) -> bool {
        matches!(self.read(socket, &mut []), Ok(None)) && !self.has_news()
    }

    fn receive(&mut self, socket: &mut impl Wire, out: &mut [u8]) -> io::Result<Option<usize>> {
        // No more than decrypts into `out`, together with the start of a record that is already inside.
        let most = out.len().saturating_sub(limits::TLS_RECORD_BYTES_MAX).max(limits::TLS_READ_BYTES);
        CIPHERTEXT.with_borrow_mut(|scratch| {
            let most = most.min(scratch.len());
            let window = scratch.get_mut(..most).unwrap_or_default();
            match socket.try_read(window)? {
                None => Ok(None),
                Some(0) => self.end_of_stream(),
                Some(n) => {
                    let filled = self.decrypt(window.get(..n).unwrap_or_default(), out);
                    let filled = filled.inspect_err(|_| {
                        let _ = self.flush(socket); // the alert that says why
                    })?;
                    if filled == 0 && self.reading == Reading::Open {
                        socket.yield_read(); // not a whole record yet; ask the ring, whoever sends such
                        return Ok(None);
                    }
                    Ok(Some(filled))
                }
            }
        })
    }

    fn end_of_stream(&mut self) -> io::Result<Option<usize>> {
        self.connection.read_tls(&mut io::empty())?;
        self.connection.process_new_packets().map_err(invalid)?;
        self.reading = Reading::Broken(ErrorKind::UnexpectedEof); // close_notify would have ended it before
        Err(ErrorKind::UnexpectedEof.into())
    }

    /// Feeds all of `ciphertext` in; plaintext goes to `out` as far as there is room.
    fn decrypt(&mut self, mut ciphertext: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !ciphertext.is_empty() && self.connection.read_tls(&mut ciphertext)? > 0 {
            let state = self.connection.process_new_packets().map_err(invalid)?;
            self.waiting = state.plaintext_bytes_to_read();
            filled += self.take(out.get_mut(filled..).unwrap_or_default())?;
            if state.peer_has_closed() {
                self.reading = Reading::Closed;
                break; // RFC 8446 §6.1: what comes behind close_notify is ignored
            }
        }
        Ok(filled)
    }

    fn take(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        // rustls hands out one record's plaintext at a time.
        while self.waiting > 0 && filled < out.len() {
            let n = self.connection.reader().read(out.get_mut(filled..).unwrap_or_default())?;
            self.waiting = self.waiting.saturating_sub(n);
            filled += n;
        }
        Ok(filled)
    }

    /// Encrypts and sends `slices`; returns how many of their bytes are with the kernel. A caller whose bytes were
    /// not all taken comes back with the rest of them in front.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn write(&mut self, socket: &mut impl Wire, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = 0;
        debug_assert!(self.owed <= all, "what was refused comes again, in front");
        loop {
            if !self.flush(socket)? {
                return Ok(taken);
            }
            taken += std::mem::take(&mut self.owed);
            if taken >= all {
                return Ok(all);
            }
            let most = match all - taken {
                rest if rest <= limits::TLS_SEND_BYTES + limits::TLS_SEND_REST_BYTES => rest,
                _ => limits::TLS_SEND_BYTES,
            };
            self.owed = self.encrypt(slices, taken, most)?;
            if self.owed == 0 {
                return Err(ErrorKind::BrokenPipe.into()); // we said close_notify before
            }
        }
    }

    /// Encrypts at most `most` bytes of `slices` from `from` on; returns how many.
    fn encrypt(&mut self, slices: &[IoSlice<'_>], from: usize, most: usize) -> io::Result<usize> {
        self.begin_ramp();
        let mut done = 0;
        while done < most {
            let record = match self.ramp < limits::TLS_RAMP_BYTES {
                true => limits::TLS_SMALL_RECORD_BYTES,
                false => most, // rustls cuts it into full records
            };
            let (parts, used) = part(slices, from + done, record.min(most - done));
            let parts = parts.get(..used).unwrap_or_default();
            if parts.is_empty() {
                break;
            }
            let written = self.connection.writer().write_vectored(parts)?;
            if written == 0 {
                break;
            }
            done += written;
            self.ramp = self.ramp.saturating_add(written);
        }
        Ok(done)
    }

    fn begin_ramp(&mut self) {
        let now = Instant::now();
        let idle = Duration::from_millis(limits::TLS_RAMP_IDLE_MS);
        let before = self.sent_at.replace(now);
        if before.is_none_or(|before| now.saturating_duration_since(before) > idle) {
            self.ramp = 0;
        }
    }

    /// Sends ciphertext in one call; true when none is left.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self, socket: &mut impl Wire) -> io::Result<bool> {
        if self.connection.wants_write() {
            match self.connection.write_tls(&mut Sink(socket)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => drop(sent?),
            }
        }
        let empty = !self.connection.wants_write();
        if empty && std::mem::take(&mut self.fin_due) {
            socket.shutdown_write();
        }
        Ok(empty)
    }

    /// Says close_notify, and FIN behind it if `fin`; true when both are with the kernel. What is not goes out with
    /// later waits for reading.
    pub fn close(&mut self, socket: &mut impl Wire, fin: bool) -> bool {
        self.connection.send_close_notify();
        self.fin_due |= fin;
        self.flush(socket).unwrap_or(true)
    }
}

/// At most `most` bytes of `slices` from byte `skip` on, and how many slices they are.
fn part<'a>(
    slices: &'a [IoSlice<'_>],
    mut skip: usize,
    mut most: usize,
) -> ([IoSlice<'a>; PARTS_MAX], usize) {
    let mut parts = [IoSlice::new(&[]); PARTS_MAX];
    let mut used = 0;
    for slice in slices {
        let rest = slice.get(skip.min(slice.len())..).unwrap_or_default();
        skip = skip.saturating_sub(slice.len());
        let here = rest.get(..most.min(rest.len())).unwrap_or_default();
        if let Some(slot) = parts.get_mut(used).filter(|_| !here.is_empty()) {
            *slot = IoSlice::new(here);
            used += 1;
            most -= here.len();
        }
    }
    (parts, used)
}

/// The socket as rustls writes to it.
struct Sink<'a, W>(&'a mut W);

impl<W: Wire> Write for Sink<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.0.try_write(bufs)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
