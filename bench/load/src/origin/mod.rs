//! The origin behind the proxies. One thread, everything it sends is prepared once.
//!
//! | target | answer |
//! | --- | --- |
//! | `/bytes/N` | N bytes with Content-Length |
//! | `/sink` | reads the body, then two bytes |
//! | `/events/MS` | an event stream: the head and one event at once, then one event every MS milliseconds |
//! | `/hang` | nothing, ever |
//! | `/echo` | 101, then every short WebSocket message back |
//!
//! A connection that begins with the preface of HTTP/2 has every call echoed, whatever its target.

pub mod calls;
pub mod events;

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::head::{Head, HeadBuffer, Pushed};
use crate::limits::{
    BACKLOG, BODIES_MAX, BODY_BYTES_MAX, HEAD_BYTES_MAX, LINKS_MAX, READ_BYTES_MAX, TURN_MAX,
};
use crate::link::{Links, Ready, now_ns};
use crate::session::Session;

/// The answer to the key of RFC 6455 §1.3, the only key our clients send: saves a SHA-1.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const EVENTS_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
Transfer-Encoding: chunked\r\n\r\n";
const SUNK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

/// Tokens of the descriptors that are no connections.
const STDIN: usize = 0;
const LISTENER: usize = 1;

/// What a connection is doing.
enum Mode {
    Requests,
    /// Reads a body of which so many bytes are due.
    Sink(u64, bool),
    Stream {
        stream: u64,
        interval_ns: u64,
    },
    Hang,
    Echo(Vec<u8>),
    Calls(Box<Session>),
}

struct Client {
    head: HeadBuffer,
    mode: Mode,
}

struct Origin {
    links: Links,
    listener: OwnedFd,
    clients: HashMap<usize, Client>,
    bodies: HashMap<(usize, bool), Rc<[u8]>>,
    schedule: events::Schedule,
    scratch: Vec<u8>,
}

/// Serves until stdin ends; prints its port first.
///
/// # Errors
/// When it cannot listen.
pub fn run() -> Result<(), String> {
    serve().map_err(|error| error.to_string())
}

fn serve() -> io::Result<()> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    net::listen(&listener, BACKLOG)?;
    let address = SocketAddrV4::try_from(net::getsockname(&listener)?)?;
    let links = Links::new()?;
    links.watch(rustix::stdio::stdin(), STDIN)?;
    links.watch(listener.as_fd(), LISTENER)?;
    writeln!(io::stdout().lock(), "{{\"state\":\"ready\",\"port\":{}}}", address.port())?;
    let (clients, bodies) = (HashMap::new(), HashMap::new());
    let schedule = events::Schedule::default();
    Origin { links, listener, clients, bodies, schedule, scratch: vec![0; READ_BYTES_MAX] }.run()
}

impl Origin {
    fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            self.tick();
            self.links.wait(self.schedule.next(), &mut ready)?;
            for one in ready.drain(..) {
                match one.id.checked_sub(LINKS_MAX) {
                    Some(STDIN) => return Ok(()),
                    Some(_) => self.accept(),
                    None if self.links.is_current(one) => self.turn(one),
                    None => {}
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..TURN_MAX {
            match net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => {
                    let Ok(id) = self.links.adopt(fd) else { continue };
                    self.clients.insert(id, Client { head: HeadBuffer::default(), mode: Mode::Requests });
                }
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn turn(&mut self, ready: Ready) {
        let id = ready.id;
        let mut alive = !ready.writable || self.links.flush(id);
        if alive && ready.readable {
            alive = match self.links.read(id, &mut self.scratch) {
                Ok(None) => true,
                Ok(Some(0)) | Err(_) => false,
                Ok(Some(count)) => {
                    let scratch = std::mem::take(&mut self.scratch);
                    let alive = self.received(id, scratch.get(..count).unwrap_or_default());
                    self.scratch = scratch;
                    alive
                }
            };
        }
        if !alive {
            self.links.close(id);
        }
    }

    /// Takes bytes of a client; false to close.
    fn received(&mut self, id: usize, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some(client) = self.clients.get_mut(&id) else { return false };
            match &mut client.mode {
                Mode::Requests => match client.head.push(bytes) {
                    Pushed::More => return true,
                    Pushed::Bad => return false,
                    Pushed::Head(head, rest) => {
                        bytes = rest;
                        if !self.answer(id, &head) {
                            return false;
                        }
                    }
                },
                Mode::Sink(due, close) => {
                    let taken = (*due).min(bytes.len() as u64);
                    *due -= taken;
                    bytes = bytes.get(taken as usize..).unwrap_or_default();
                    let (done, close) = (*due == 0, *close);
                    if done && !self.reply(id, SUNK.into(), close) {
                        return false;
                    }
                }
                Mode::Calls(session) => {
                    return calls::received(session, bytes).is_ok() && self.links.say(id, session);
                }
                Mode::Stream { .. } | Mode::Hang => return true,
                Mode::Echo(partial) => {
                    partial.extend_from_slice(bytes);
                    return partial.len() <= HEAD_BYTES_MAX && echo(&mut self.links, id, partial);
                }
            }
        }
        true
    }

    /// Starts the answer to one request; false to close.
    fn answer(&mut self, id: usize, head: &Head) -> bool {
        let mut parts = head.target.trim_start_matches('/').split('/');
        let (place, number) = (parts.next(), parts.next().and_then(|part| part.parse::<usize>().ok()));
        match (place, number) {
            (Some("bytes"), Some(count)) => match self.body(count, head.close) {
                Some(body) => self.reply(id, body, head.close),
                None => self.reply(id, NOT_FOUND.into(), head.close),
            },
            (Some("sink"), _) => match head.length {
                Some(0) | None => self.reply(id, SUNK.into(), head.close),
                Some(length) => self.become_mode(id, Mode::Sink(length, head.close)),
            },
            (Some("events"), Some(milliseconds)) => self.stream(id, milliseconds as u64),
            (Some("hang"), _) => self.become_mode(id, Mode::Hang),
            (Some("echo"), _) => {
                self.become_mode(id, Mode::Echo(Vec::new())) && self.links.send(id, SWITCHING.into())
            }
            (Some("*"), _) => self.become_mode(id, Mode::Calls(Box::new(Session::server()))),
            _ => self.reply(id, NOT_FOUND.into(), head.close),
        }
    }

    fn become_mode(&mut self, id: usize, mode: Mode) -> bool {
        self.clients.get_mut(&id).map(|client| client.mode = mode).is_some()
    }

    fn reply(&mut self, id: usize, bytes: Rc<[u8]>, close: bool) -> bool {
        let sent = self.become_mode(id, Mode::Requests) && self.links.send(id, bytes);
        if close {
            self.links.close_when_sent(id);
        }
        sent
    }

    /// The response with a body of `count` bytes, made once. A client that asked to close is told so: behind a TCP
    /// relay it is wrk itself, which takes a close without notice for a failure.
    fn body(&mut self, count: usize, close: bool) -> Option<Rc<[u8]>> {
        if let Some(body) = self.bodies.get(&(count, close)) {
            return Some(Rc::clone(body));
        }
        if count > BODY_BYTES_MAX || self.bodies.len() >= BODIES_MAX {
            return None;
        }
        let close_field = if close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n{close_field}Content-Length: {count}\r\n\r\n"
        );
        let mut response = head.into_bytes();
        response.extend((0..count).map(|at| b'a' + (at % 26) as u8));
        let response: Rc<[u8]> = response.into();
        self.bodies.insert((count, close), Rc::clone(&response));
        Some(response)
    }

    fn stream(&mut self, id: usize, milliseconds: u64) -> bool {
        let interval_ns = milliseconds.max(1) * 1_000_000;
        let stream = self.schedule.start(id, now_ns(), interval_ns);
        self.become_mode(id, Mode::Stream { stream, interval_ns })
            && self.links.send(id, EVENTS_HEAD.into())
            && self.links.send(id, events::chunk(now_ns()))
    }

    /// Sends every event that is due. A stream that is gone drops out of the schedule here.
    fn tick(&mut self) {
        let now = now_ns();
        while let Some((at, due)) = self.schedule.pop(now) {
            let Some(Mode::Stream { stream, interval_ns }) =
                self.clients.get(&due.id).map(|client| &client.mode)
            else {
                continue;
            };
            if *stream != due.stream || !self.links.is_open(due.id) {
                continue;
            }
            let interval_ns = *interval_ns;
            if self.links.send(due.id, events::chunk(now_ns())) {
                self.schedule.again(at, &due, interval_ns);
            } else {
                self.links.close(due.id);
            }
        }
    }
}

/// Sends every complete message back, unmasked. Only the short form: payloads below 126 bytes.
fn echo(links: &mut Links, id: usize, partial: &mut Vec<u8>) -> bool {
    while let [first, length, rest @ ..] = partial.as_slice() {
        let size = usize::from(length & 0x7f);
        if size > 125 || length & 0x80 == 0 {
            return false;
        }
        let (Some(mask), Some(payload)) = (rest.get(..4), rest.get(4..4 + size)) else { return true };
        let mut reply = vec![*first, length & 0x7f];
        reply.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        if !links.send(id, reply.into()) {
            return false;
        }
        partial.drain(..2 + 4 + size);
    }
    true
}
