//! Both ends of an exchange in HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tungstenite::handshake::derive_accept_key;

use super::exchange::{Abort, Answering, Ask, Asking, Client, Cut, Exchange, Fields, Framing, Piece, Server};
use super::{Chunk, Conn, End, Head, Origin, PATIENCE, Peer};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// How much of a message is still to be said, or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Bytes(usize),
    Chunks,
    Tunnel,
}

/// Nothing is left.
const OVER: Left = Left::Bytes(0);

impl Left {
    fn of(framing: Framing) -> Left {
        match framing {
            Framing::Nothing => OVER,
            Framing::Length(length) => Left::Bytes(length),
            Framing::Unknown => Left::Chunks,
        }
    }

    /// What a head announces.
    fn behind(head: &Head) -> Left {
        match head.has("transfer-encoding") {
            true => Left::Chunks,
            false => Left::Bytes(head.content_length().unwrap_or(0)),
        }
    }
}

/// One end of an exchange in HTTP/1.1.
struct Http1Exchange {
    /// Until it is closed or goes home.
    peer: Option<Peer>,
    /// Where the connection goes when both messages are over.
    home: Sender<Peer>,
    /// The request, on the origin's side.
    request: Head,
    number: usize,
    /// The method of the request.
    method: String,
    /// Of the other side's message, once its head was read.
    reading: Option<Left>,
    /// Of our message, once its head was sent.
    writing: Option<Left>,
    /// The other side has said that this is the last exchange on its connection (RFC 9112 §9.6).
    last: bool,
}

impl Http1Exchange {
    fn peer(&mut self) -> &mut Peer {
        self.peer.as_mut().expect("open")
    }

    fn cut(&mut self) -> Cut {
        self.writing = None; // no other exchange on this one
        Cut::Connection(self.peer().ended().expect("its end"))
    }

    fn lines(head: &str, fields: &Fields) -> String {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{head}\r\n{fields}")
    }
}

/// The line that announces a body.
fn announcement(framing: Framing) -> String {
    match framing {
        Framing::Nothing => String::new(),
        Framing::Length(length) => format!("Content-Length: {length}\r\n"),
        Framing::Unknown => "Transfer-Encoding: chunked\r\n".to_owned(),
    }
}

impl Exchange for Http1Exchange {
    fn send(&mut self, bytes: &[u8], last: bool) -> bool {
        let writing = self.writing.expect("behind a head");
        let mut message = Vec::new();
        self.writing = Some(match writing {
            Left::Bytes(left) => {
                assert_eq!(last, left == bytes.len(), "the length that was announced");
                message.extend_from_slice(bytes);
                Left::Bytes(left - bytes.len())
            }
            Left::Tunnel => {
                message.extend_from_slice(bytes);
                if last { OVER } else { Left::Tunnel }
            }
            Left::Chunks => {
                if !bytes.is_empty() {
                    message.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                    message.extend_from_slice(bytes);
                    message.extend_from_slice(b"\r\n");
                }
                message.extend_from_slice(if last { b"0\r\n\r\n" } else { b"" });
                if last { OVER } else { Left::Chunks }
            }
        });
        let sent = self.peer().try_send(message).is_ok();
        if last && writing == Left::Tunnel {
            self.peer().half_close();
        }
        sent
    }

    fn send_trailers(&mut self, trailers: &Fields) {
        assert_eq!(self.writing, Some(Left::Chunks), "no place for trailers");
        let end = Http1Exchange::lines("0", trailers);
        self.peer().send(end + "\r\n");
        self.writing = Some(OVER);
    }

    fn piece(&mut self) -> Piece {
        match self.reading.expect("behind a head") {
            OVER => Piece::End(Vec::new()),
            Left::Bytes(left) => match self.peer().some(left) {
                Some(data) => {
                    self.reading = Some(Left::Bytes(left - data.len()));
                    Piece::Data(data)
                }
                None => Piece::Cut(self.cut()),
            },
            Left::Tunnel => match self.peer().some(usize::MAX) {
                Some(data) => Piece::Data(data),
                None if self.peer().ended() == Some(End::Fin) => Piece::End(Vec::new()),
                None => Piece::Cut(self.cut()),
            },
            Left::Chunks => match self.peer().chunk() {
                Chunk::Data(data) => Piece::Data(data),
                Chunk::Last(trailers) => {
                    self.reading = Some(OVER);
                    Piece::End(trailers)
                }
                Chunk::Cut => Piece::Cut(self.cut()),
            },
        }
    }

    fn broken_off(&mut self) -> Cut {
        self.peer().assert_closed();
        self.cut()
    }

    fn abort(mut self: Box<Self>, abort: Abort) {
        let peer = self.peer.take().expect("open");
        match abort {
            Abort::Leave => peer.cut(),
            Abort::Reset => peer.reset(),
        }
    }
}

impl Asking for Http1Exchange {
    fn next_head(&mut self) -> Head {
        let head = self.peer().head();
        self.last |= head.lists("connection", "close");
        self.reading = match (head.status(), self.method.as_str()) {
            (101, _) => {
                assert_eq!(
                    head.value("sec-websocket-accept"),
                    Some(derive_accept_key(KEY.as_bytes()).as_str())
                );
                self.writing = Some(Left::Tunnel);
                Some(Left::Tunnel)
            }
            (100..=199, _) => None,
            (204 | 304, _) | (_, "HEAD") => Some(OVER),
            _ => Some(Left::behind(&head)),
        };
        head
    }
}

impl Answering for Http1Exchange {
    fn request(&self) -> &Head {
        &self.request
    }

    fn connection(&self) -> usize {
        self.number
    }

    fn interim(&mut self, status: u16, fields: &Fields) {
        let head = Http1Exchange::lines(&format!("HTTP/1.1 {status} Interim"), fields);
        self.peer().send(head + "\r\n");
    }

    fn respond(&mut self, status: u16, fields: &Fields, framing: Framing) {
        let head = Http1Exchange::lines(&format!("HTTP/1.1 {status} Final"), fields);
        let unsaid = framing == Framing::Nothing && status == 200 && self.method != "HEAD";
        let framing_line = announcement(if unsaid { Framing::Length(0) } else { framing });
        self.peer().send(head + &framing_line + "\r\n");
        self.writing = Some(Left::of(framing));
    }

    fn switch(&mut self) {
        assert!(self.request.lists("connection", "upgrade") && self.request.lists("upgrade", "websocket"));
        let accept = derive_accept_key(self.request.value("sec-websocket-key").expect("a key").as_bytes());
        self.peer().send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ));
        (self.reading, self.writing) = (Some(Left::Tunnel), Some(Left::Tunnel));
    }
}

impl Drop for Http1Exchange {
    fn drop(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        let over = self.reading == Some(OVER) && self.writing == Some(OVER);
        match over && !self.last && peer.ended().is_none() {
            true => drop(self.home.send(peer)),
            false => peer.close(),
        }
    }
}

/// A client of HTTP/1.1: a connection for each request that runs, used again when it is over.
pub struct Http1Client {
    connect: Box<dyn Fn() -> Peer>,
    home: Sender<Peer>,
    idle: Receiver<Peer>,
}

impl Http1Client {
    /// In the clear, or with TLS for `wire.test`.
    pub fn new(addr: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Http1Client {
        let (home, idle) = channel();
        let connect = move || match &tls {
            None => Peer::connect(addr),
            Some(config) => Peer::connect_tls(addr, config, "wire.test"),
        };
        Http1Client { connect: Box::new(connect), home, idle }
    }
}

impl Client for Http1Client {
    fn ask(&mut self, ask: &Ask) -> Box<dyn Asking> {
        let mut peer = self.idle.try_recv().unwrap_or_else(|_| (self.connect)());
        let start = format!("{} {} HTTP/1.1\r\nHost: wire.test", ask.method, ask.path);
        let mut head = Http1Exchange::lines(&start, &ask.fields) + &announcement(ask.framing);
        if ask.fields.iter().any(|(name, _)| name == "te") {
            head += "Connection: TE\r\n";
        }
        if ask.websocket {
            head += &format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\n");
        }
        peer.send(head + "\r\n");
        Box::new(Http1Exchange {
            peer: Some(peer),
            home: self.home.clone(),
            request: Head::default(),
            number: 0,
            method: ask.method.to_owned(),
            reading: None,
            writing: Some(Left::of(ask.framing)),
            last: false,
        })
    }
}

/// An origin of HTTP/1.1 whose requests are taken one by one.
pub struct Http1Server {
    origin: Origin,
    scheme: &'static str,
    asked: Receiver<Http1Exchange>,
}

impl Http1Server {
    /// In the clear, or with TLS.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Http1Server {
        let (queue, asked) = channel();
        let script = move |conn: Conn| {
            let number = conn.number;
            let (home, idle) = channel();
            let _ = home.send(conn.into_peer());
            for mut peer in &idle {
                while !peer.stirs_within(Duration::from_secs(1)) {} // pooled for as long as it likes
                let Some(request) = peer.try_head() else { return };
                let exchange = Http1Exchange {
                    peer: Some(peer),
                    home: home.clone(),
                    method: request.first.split(' ').next().unwrap_or_default().to_owned(),
                    reading: Some(Left::behind(&request)),
                    last: request.lists("connection", "close"),
                    request,
                    number,
                    writing: None,
                };
                if queue.send(exchange).is_err() {
                    return;
                }
            }
        };
        let (scheme, origin) = match tls {
            None => ("", Origin::start(script)),
            Some(config) => ("https://", Origin::start_tls(config, script)),
        };
        Http1Server { origin, scheme, asked }
    }
}

impl Server for Http1Server {
    fn next(&mut self) -> Box<dyn Answering> {
        Box::new(self.asked.recv_timeout(PATIENCE).expect("no request came"))
    }

    fn upstream(&self) -> String {
        format!("{}{}", self.scheme, self.origin.addr)
    }
}
