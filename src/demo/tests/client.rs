//! A client that sees every byte.

use crate::demo::start;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// A connection to an origin, and what was read ahead from it.
pub(super) struct Client {
    pub(super) reader: BufReader<TcpStream>,
}

/// A response head.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) text: String,
}

impl Head {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    /// A connection to a fresh origin.
    pub(super) fn new() -> Client {
        Client::to(start().unwrap())
    }

    pub(super) fn to(origin: std::net::SocketAddr) -> Client {
        let stream = TcpStream::connect(origin).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        Client { reader: BufReader::new(stream) }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request with Host and no body.
    pub(super) fn ask(&mut self, method: &str, target: &str) {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: demo\r\n\r\n"));
    }

    /// GET, and the whole of the reply.
    pub(super) fn get(&mut self, target: &str) -> (Head, Vec<u8>) {
        self.ask("GET", target);
        self.reply()
    }

    /// The status of a GET; `None` when the connection broke off, as that of a refused client may.
    pub(super) fn get_status(&mut self, target: &str) -> Option<u16> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: demo\r\n\r\n");
        self.reader.get_mut().write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        line.split(' ').nth(1)?.parse().ok()
    }

    pub(super) fn head(&mut self) -> Head {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            assert_ne!(self.reader.read_line(&mut text).unwrap(), 0, "closed within the head: {text:?}");
        }
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        Head { status, text }
    }

    /// A head and the body it announces.
    pub(super) fn reply(&mut self) -> (Head, Vec<u8>) {
        let head = self.head();
        let body = match (head.field("Content-Length"), head.field("Transfer-Encoding")) {
            (Some(length), None) => self.exactly(length.parse().unwrap()),
            (None, Some("chunked")) => std::iter::from_fn(|| self.chunk()).flatten().collect(),
            (None, None) if matches!(head.status, 204 | 304) => Vec::new(),
            other => panic!("framing: {other:?}"),
        };
        (head, body)
    }

    pub(super) fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        let mut body = vec![0; bytes];
        self.reader.read_exact(&mut body).unwrap();
        body
    }

    /// The next chunk; `None` is the last one.
    pub(super) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let bytes = usize::from_str_radix(line.strip_suffix("\r\n").unwrap(), 16).unwrap();
        let chunk = self.exactly(bytes);
        assert_eq!(self.exactly(2), b"\r\n");
        (bytes > 0).then_some(chunk)
    }

    /// Everything until the origin closes.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }

    /// Half-closes.
    pub(super) fn leave(&mut self) {
        self.reader.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}
