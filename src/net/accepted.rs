//! From an accepted connection to the protocol it speaks.
//!
//! ```text
//!   plain ──────────────────────────────▶ HTTP/1.1 ──preface──▶ HTTP/2
//!   TLS ──handshake──▶ ALPN http/1.1, none ──▲           ALPN h2 ──▲
//! ```

use std::net::SocketAddr;
use std::rc::Rc;

use super::client::Client;
use super::client_h1::{self, Ended};
use super::client_h2;
use super::h2::io::Io;
use super::shared::{Admission, Service};
use super::socket::Socket;
use super::tls::handshake;
use super::transport::Transport;
use super::worker::Worker;

/// Serves one connection with TLS to its end.
pub async fn serve_tls(worker: Rc<Worker>, socket: Socket, peer: SocketAddr, admission: Admission) {
    let accepted = worker.clock.now();
    let socket = match handshake::greet(&worker, socket, accepted).await {
        Ok(socket) => socket,
        Err(None) => return,
        Err(Some(refused)) => return Box::pin(part(worker, refused, peer)).await,
    };
    if socket.tls().is_some_and(|tls| tls.speaks_h2()) {
        let io = Io::of_client(Rc::clone(&worker), socket, Vec::new());
        return Box::pin(client_h2::serve(worker, io, peer, admission, Service::Tls)).await;
    }
    serve(worker, socket, peer, admission, Service::Tls).await;
}

/// Serves one connection to its end.
pub async fn serve(
    worker: Rc<Worker>,
    socket: Socket,
    peer: SocketAddr,
    admission: Admission,
    service: Service,
) {
    let mut client = Client::new(&worker, socket.into(), peer);
    client.redirects = service == Service::Redirect;
    if client_h1::serve(&worker, &mut client).await == Ended::Http2
        && let Transport::Socket(socket) = client.transport
    {
        let io = Io::of_client(Rc::clone(&worker), socket, client.inbox.bytes().to_vec());
        Box::pin(client_h2::serve(worker, io, peer, admission, service)).await;
    }
}

/// Leaves a client whose handshake failed the time to read why.
async fn part(worker: Rc<Worker>, socket: Socket, peer: SocketAddr) {
    Client::new(&worker, socket.into(), peer).linger(&worker).await;
}
