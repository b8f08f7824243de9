//! One end of a connection as a script: sends what it is told, reads with deadlines.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::PATIENCE;
use super::head::{Head, split_field};
use super::tls::{Handshake, TlsStream};

/// The socket below a peer.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => Write::write_all(&mut &*s, bytes),
            Stream::Unix(s) => Write::write_all(&mut &*s, bytes),
            Stream::Tls(s) => s.write_all(bytes),
        }
    }

    fn read(&self, scratch: &mut [u8], wait: Duration) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.set_read_timeout(Some(wait)).and_then(|()| Read::read(&mut &*s, scratch)),
            Stream::Unix(s) => s.set_read_timeout(Some(wait)).and_then(|()| Read::read(&mut &*s, scratch)),
            Stream::Tls(s) => s.read(scratch, wait),
        }
    }

    fn set_write_timeout(&self) {
        match self {
            Stream::Tcp(s) => s.set_write_timeout(Some(PATIENCE)).unwrap(),
            Stream::Unix(s) => s.set_write_timeout(Some(PATIENCE)).unwrap(),
            Stream::Tls(s) => s.tcp.set_write_timeout(Some(PATIENCE)).unwrap(),
        }
    }

    fn shutdown(&self, how: Shutdown) {
        // A connection that is already gone is as shut as it gets.
        let _ = match self {
            Stream::Tcp(s) => s.shutdown(how),
            Stream::Unix(s) => s.shutdown(how),
            Stream::Tls(s) => {
                s.shutdown(how);
                Ok(())
            }
        };
    }
}

/// Ends a connection from outside its script, if the script has not ended it.
pub struct Leash(Weak<Stream>);

impl Leash {
    /// Shuts both directions down.
    pub fn pull(&self) {
        if let Some(stream) = self.0.upgrade() {
            stream.shutdown(Shutdown::Both);
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: FIN.
    Fin,
    /// By force: RST.
    Reset,
    /// With TLS: FIN without close_notify.
    Cut,
}

/// A body, and whether its framing said that it is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The payload.
    pub bytes: Vec<u8>,
    /// The length was reached, the final chunk came, or a close-delimited body ended with FIN.
    pub complete: bool,
    /// Fields after the final chunk.
    pub trailers: Vec<(String, String)>,
}

impl Body {
    /// The value of a trailer field.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// One step of the chunked coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Payload.
    Data(Vec<u8>),
    /// The final chunk with its trailer fields.
    Last(Vec<(String, String)>),
    /// The connection ended inside the coding.
    Cut,
}

/// A response with its body.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status line and fields.
    pub head: Head,
    /// Its body.
    pub body: Body,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }
}

/// A connection that a script holds.
pub struct Peer {
    stream: Arc<Stream>,
    buf: Vec<u8>,
    end: Option<End>,
}

impl Peer {
    /// Connects as a client.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Peer {
        Peer::from_tcp(TcpStream::connect_timeout(&addr, PATIENCE).expect("connect"))
    }

    /// Connects as a client whose receive buffer is small and does not grow.
    #[track_caller]
    pub fn connect_narrow(addr: SocketAddr) -> Peer {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.connect(&addr.into()).expect("connect");
        Peer::from_tcp(socket.into())
    }

    /// Takes over a TCP connection.
    pub fn from_tcp(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).unwrap();
        Peer::over(Stream::Tcp(stream))
    }

    /// Takes over a Unix connection.
    pub fn from_unix(stream: UnixStream) -> Peer {
        Peer::over(Stream::Unix(stream))
    }

    /// Connects as a client with TLS.
    #[track_caller]
    pub fn connect_tls(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Peer {
        Peer::try_connect_tls(addr, config, name).expect("a handshake")
    }

    /// As [`Peer::connect_tls`], or why not.
    pub fn try_connect_tls(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Peer> {
        let tcp = TcpStream::connect_timeout(&addr, PATIENCE).expect("connect");
        Ok(Peer::from_tls(TlsStream::client(tcp, config, name)?))
    }

    /// Takes over a TLS connection.
    pub fn from_tls(stream: TlsStream) -> Peer {
        Peer::over(Stream::Tls(Box::new(stream)))
    }

    /// What its TLS handshake came to.
    #[track_caller]
    pub fn handshake(&self) -> Handshake {
        match &*self.stream {
            Stream::Tls(stream) => stream.handshake(),
            Stream::Tcp(_) | Stream::Unix(_) => panic!("no TLS"),
        }
    }

    /// Ends both directions without a word of TLS about it.
    pub fn cut(self) {
        self.stream.shutdown(Shutdown::Both);
    }

    fn over(stream: Stream) -> Peer {
        stream.set_write_timeout();
        Peer { stream: Arc::new(stream), buf: Vec::new(), end: None }
    }

    /// A second handle, so that one thread can write while another reads. The connection closes with the last.
    pub fn writer(&self) -> Peer {
        Peer { stream: self.stream.clone(), buf: Vec::new(), end: None }
    }

    /// A way to end the connection that does not keep it open.
    pub fn leash(&self) -> Leash {
        Leash(Arc::downgrade(&self.stream))
    }

    // ----- writing

    /// Sends all of it.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("send");
    }

    /// Sends all of it, or says why not.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends in pieces of `size` bytes until done or refused.
    pub fn send_pieces(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            if self.try_send(piece).is_err() {
                return;
            }
        }
    }

    /// Ends the sending direction.
    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write);
    }

    /// Ends both directions now. Merely dropped, the socket lives on for as long as a process that another test is
    /// just spawning has a copy of it.
    pub fn close(self) {
        self.stream.shutdown(Shutdown::Write);
        self.stream.shutdown(Shutdown::Both);
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        let tcp = match &*self.stream {
            Stream::Tcp(s) => Some(s),
            Stream::Tls(s) => Some(&s.tcp),
            Stream::Unix(_) => None,
        };
        if let Some(s) = tcp {
            socket2::SockRef::from(s).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }

    // ----- reading bytes

    /// Reads once into the buffer; false at the end of the stream. `None` when the deadline passed.
    fn fill(&mut self, deadline: Instant) -> Option<bool> {
        if self.end.is_some() {
            return Some(false);
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut scratch = [0; 16 * 1024];
        match self.stream.read(&mut scratch, left) {
            Ok(0) => self.end = Some(End::Fin),
            Ok(n) => self.buf.extend_from_slice(&scratch[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => self.end = Some(End::Cut),
            Err(_) => self.end = Some(End::Reset),
        }
        Some(self.end.is_none())
    }

    /// Reads until `enough` finds its end in the buffer; `None` when the connection ended first.
    #[track_caller]
    fn take_when(&mut self, what: &str, enough: impl Fn(&[u8]) -> Option<usize>) -> Option<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(n) = enough(&self.buf) {
                return Some(self.buf.drain(..n).collect());
            }
            match self.fill(deadline) {
                Some(true) => {}
                Some(false) => return None,
                None => panic!("{what} never came; so far {:?}", String::from_utf8_lossy(&self.buf)),
            }
        }
    }

    /// Reads exactly `n` bytes.
    #[track_caller]
    pub fn exactly(&mut self, n: usize) -> Vec<u8> {
        self.try_exactly(n).expect("the connection ended early")
    }

    /// Reads exactly `n` bytes, unless the connection ends first.
    #[track_caller]
    pub fn try_exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        self.take_when("data", |buf| (buf.len() >= n).then_some(n))
    }

    /// What is there, at most `most` bytes; waits for the first. `None` when the connection ended first.
    #[track_caller]
    pub fn some(&mut self, most: usize) -> Option<Vec<u8>> {
        self.take_when("data", |buf| (!buf.is_empty()).then_some(buf.len().min(most)))
    }

    /// How the connection ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.end
    }

    /// Reads up to and including `pattern`, unless the connection ends first.
    #[track_caller]
    fn through(&mut self, pattern: &[u8]) -> Option<Vec<u8>> {
        self.take_when("a line or head", |buf| {
            buf.windows(pattern.len()).position(|w| w == pattern).map(|at| at + pattern.len())
        })
    }

    /// Everything until the connection ends, and how it ended.
    #[track_caller]
    pub fn until_end(&mut self) -> (Vec<u8>, End) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.fill(deadline) {
                Some(true) => {}
                Some(false) => return (std::mem::take(&mut self.buf), self.end.unwrap_or(End::Fin)),
                None => panic!("never closed; so far {:?}", String::from_utf8_lossy(&self.buf)),
            }
        }
    }

    /// Asserts that the connection ends without another byte.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let (rest, _) = self.until_end();
        assert!(rest.is_empty(), "unexpected {:?}", String::from_utf8_lossy(&rest));
    }

    /// Whether a byte or the end came within `wait`.
    pub fn stirs_within(&mut self, wait: Duration) -> bool {
        !self.buf.is_empty() || self.fill(Instant::now() + wait).is_some()
    }

    // ----- reading messages

    /// The next head.
    #[track_caller]
    pub fn head(&mut self) -> Head {
        self.try_head().expect("the connection ended before a head")
    }

    /// The next head, unless the connection ends first.
    #[track_caller]
    pub fn try_head(&mut self) -> Option<Head> {
        self.through(b"\r\n\r\n").map(|bytes| Head::parse(&bytes))
    }

    /// The next step of a chunked body. Chunk extensions fail the test: the proxy drops them.
    #[track_caller]
    pub fn chunk(&mut self) -> Chunk {
        let Some(line) = self.through(b"\r\n") else { return Chunk::Cut };
        let digits = std::str::from_utf8(&line[..line.len() - 2]).expect("a chunk size");
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("chunk size {digits:?}"));
        if size == 0 {
            return self.trailers().map_or(Chunk::Cut, Chunk::Last);
        }
        let Some(mut data) = self.try_exactly(size + 2) else { return Chunk::Cut };
        assert_eq!(data.split_off(size), b"\r\n", "a chunk ends with CRLF");
        Chunk::Data(data)
    }

    #[track_caller]
    fn trailers(&mut self) -> Option<Vec<(String, String)>> {
        let mut trailers = Vec::new();
        loop {
            let line = self.through(b"\r\n")?;
            if line == b"\r\n" {
                return Some(trailers);
            }
            trailers.push(split_field(&String::from_utf8_lossy(&line)));
        }
    }

    /// A whole chunked body, or as much of it as came.
    #[track_caller]
    pub fn chunked(&mut self) -> Body {
        let mut body = Body::default();
        loop {
            match self.chunk() {
                Chunk::Data(data) => body.bytes.extend(data),
                Chunk::Last(trailers) => return Body { complete: true, trailers, ..body },
                Chunk::Cut => return body,
            }
        }
    }

    #[track_caller]
    fn sized(&mut self, n: usize) -> Body {
        match self.try_exactly(n) {
            Some(bytes) => Body { bytes, complete: true, trailers: Vec::new() },
            None => Body { bytes: std::mem::take(&mut self.buf), ..Body::default() },
        }
    }

    /// The body of a request.
    #[track_caller]
    pub fn request_body(&mut self, head: &Head) -> Body {
        match head.has("transfer-encoding") {
            true => self.chunked(),
            false => self.sized(head.content_length().unwrap_or(0)),
        }
    }

    /// The body of a response to `method`.
    #[track_caller]
    pub fn response_body(&mut self, method: &str, head: &Head) -> Body {
        let bodiless = method == "HEAD" || matches!(head.status(), 100..=199 | 204 | 304);
        if bodiless {
            return self.sized(0);
        }
        if head.has("transfer-encoding") {
            return self.chunked();
        }
        match head.content_length() {
            Some(n) => self.sized(n),
            None => {
                let (bytes, end) = self.until_end();
                Body { bytes, complete: end == End::Fin, trailers: Vec::new() }
            }
        }
    }

    /// The next response, to a request with `method`.
    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        let head = self.head();
        let body = self.response_body(method, &head);
        Response { head, body }
    }

    /// The next response, to anything but `HEAD`.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        let method = if request.as_ref().starts_with(b"HEAD ") { "HEAD" } else { "GET" };
        self.send(request);
        self.response_to(method)
    }
}
