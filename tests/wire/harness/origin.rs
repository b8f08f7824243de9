//! Scripted origins: each connection runs one closure, which may stall, drip, lie and vanish as it likes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::ServerConfig;

use super::head::Head;
use super::peer::{Body, Leash, Peer};
use super::tls::TlsStream;

/// What the test may ask an origin.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicUsize,
    heads: Mutex<Vec<Head>>,
    leashes: Mutex<Vec<Leash>>,
}

/// A listener whose connections are scripts. Dropping it ends them all.
pub struct Origin {
    /// Where it listens; meaningless for a Unix socket.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// One connection of an origin.
pub struct Conn {
    peer: Peer,
    /// Number of the connection, from 0.
    pub number: usize,
    shared: Arc<Shared>,
}

/// One request as the origin read it.
pub struct Request {
    /// Request line and fields.
    pub head: Head,
    /// Its body.
    pub body: Body,
}

impl Deref for Conn {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }
}

impl Conn {
    /// The next request head, recorded; `None` when the connection ended first.
    pub fn request_head(&mut self) -> Option<Head> {
        // A pooled connection may idle for longer than a script's patience, so wait for its next byte first.
        while !self.peer.stirs_within(Duration::from_secs(1)) {}
        let head = self.peer.try_head()?;
        self.shared.heads.lock().unwrap().push(head.clone());
        Some(head)
    }

    /// The next request with its body.
    pub fn request(&mut self) -> Option<Request> {
        let head = self.request_head()?;
        let body = self.peer.request_body(&head);
        Some(Request { head, body })
    }

    /// The connection alone, for whoever keeps no record of its requests.
    pub fn into_peer(self) -> Peer {
        self.peer
    }

    /// Ends both directions now.
    pub fn close(self) {
        self.peer.close();
    }

    /// Ends both directions without a word of TLS about it.
    pub fn cut_now(self) {
        self.peer.cut();
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        self.peer.reset();
    }
}

impl Origin {
    /// An origin on a port of its own.
    pub fn start(script: impl Fn(Conn) + Send + Sync + 'static) -> Origin {
        Origin::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// An origin on a given address: one that comes back.
    pub fn start_at(addr: SocketAddr, script: impl Fn(Conn) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind(addr).expect("bind");
        let addr = listener.local_addr().unwrap();
        Origin::accept_with(addr, script, move || {
            let (stream, _) = listener.accept().expect("accept");
            Peer::from_tcp(stream)
        })
    }

    /// An origin with TLS on a port of its own.
    pub fn start_tls(config: Arc<ServerConfig>, script: impl Fn(Conn) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().unwrap();
        Origin::accept_with(addr, script, move || {
            let (stream, _) = listener.accept().expect("accept");
            Peer::from_tls(TlsStream::server(stream, &config))
        })
    }

    /// An origin on a Unix socket.
    pub fn start_unix(path: &Path, script: impl Fn(Conn) + Send + Sync + 'static) -> Origin {
        let listener = UnixListener::bind(path).expect("bind");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Origin::accept_with(nowhere, script, move || {
            let (stream, _) = listener.accept().expect("accept");
            Peer::from_unix(stream)
        })
    }

    /// An origin that answers each request with the bytes `answer` makes of it.
    pub fn serve(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Origin::start(answering(answer))
    }

    /// As [`Origin::serve`], on a given address.
    pub fn serve_at(
        addr: SocketAddr,
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Origin {
        Origin::start_at(addr, answering(answer))
    }

    fn accept_with(
        addr: SocketAddr,
        script: impl Fn(Conn) + Send + Sync + 'static,
        accept: impl Fn() -> Peer + Send + 'static,
    ) -> Origin {
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || {
                loop {
                    let peer = accept();
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                    shared.leashes.lock().unwrap().push(peer.leash());
                    let conn = Conn { peer, number, shared: shared.clone() };
                    let script = script.clone();
                    thread::spawn(move || script(conn));
                }
            }
        });
        Origin { addr, shared, acceptor: Some(acceptor) }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Request heads read so far.
    pub fn heads(&self) -> Vec<Head> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Request heads read so far for one path.
    pub fn heads_for(&self, path: &str) -> Vec<Head> {
        self.heads().into_iter().filter(|head| head.target() == path).collect()
    }

    /// Stops listening and ends all connections, as a crash would.
    pub fn kill(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take().filter(|_| self.addr.port() != 0) {
            // The acceptor notices the flag on its next connection.
            let _ = TcpStream::connect(self.addr);
            let _ = acceptor.join();
        }
        self.shared.leashes.lock().unwrap().drain(..).for_each(|leash| leash.pull());
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The script that answers request after request.
pub fn answering(answer: impl Fn(&Request) -> Vec<u8>) -> impl Fn(Conn) {
    move |mut conn| {
        while let Some(request) = conn.request() {
            if !request.body.complete || conn.try_send(answer(&request)).is_err() {
                return;
            }
        }
    }
}

/// An address where nobody listens, and nobody will: it stays bound until the tests end.
pub fn dead_address() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    addr
}

/// A listener that takes no connection: its queue is full, so the kernel drops every SYN. The connections that
/// fill it must be kept.
pub fn deaf_listener() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        fillers.push(filler);
    }
    (addr, (socket, fillers))
}
