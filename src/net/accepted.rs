//! From an accepted connection to the protocol it speaks.
//!
//! ```text
//!   (--accept-proxy: PROXY header, then as without)
//!   plain ──────────────────────────────▶ HTTP/1.1 ──preface──▶ HTTP/2
//!   TLS ──handshake──▶ ALPN http/1.1, none ──▲           ALPN h2 ──▲
//! ```

use std::rc::Rc;

use crate::config::Service;

use crate::telemetry::metrics::Counter;

use super::caller::{self, Caller};
use super::client::Client;
use super::client_h1::{self, Ended};
use super::client_h2;
use super::h2::io::Io;
use super::socket::Socket;
use super::steer::Admission;
use super::tls::handshake;
use super::transport::Transport;
use super::worker::Worker;

/// Serves one connection whose peer has to say first whom it is from. Only connections from peers in `--accept-proxy`
/// have this larger future.
pub async fn serve_introduced(
    worker: Rc<Worker>,
    mut socket: Socket,
    caller: Caller,
    mut admission: Admission,
    service: Service,
) {
    let introduced = Box::pin(caller::introduce(&worker, &mut socket, caller)).await;
    let Some(caller) = introduced else { return };
    if !admission.claim(&worker.views.latest(), caller.address.ip()) {
        return worker.metrics.add(Counter::ConnectionsRefused, 1);
    }
    match service {
        Service::Tls => Box::pin(serve_tls(worker, socket, caller, admission)).await,
        Service::Plain | Service::Redirect => {
            Box::pin(serve(worker, socket, caller, admission, service)).await;
        }
    }
}

/// Serves one connection with TLS to its end. No `async fn`, for the room: see [`serve`].
pub fn serve_tls(
    worker: Rc<Worker>,
    socket: Socket,
    caller: Caller,
    admission: Admission,
) -> impl Future<Output = ()> {
    let accepted = worker.clock.now();
    async move {
        let socket = match handshake::greet(&worker, socket, accepted).await {
            Ok(socket) => socket,
            Err(None) => return,
            Err(Some(refused)) => return Box::pin(part(worker, refused, caller)).await,
        };
        if socket.tls().is_some_and(|tls| tls.speaks_h2()) {
            let io = Io::of_client(Rc::clone(&worker), socket, Vec::new());
            return Box::pin(client_h2::serve(worker, io, caller, admission, Service::Tls)).await;
        }
        serve(worker, socket, caller, admission, Service::Tls).await;
    }
}

/// Serves one connection to its end. Not an `async fn`: those keep what they were called with beside what they make of
/// it, 144 bytes of every idle connection.
pub fn serve(
    worker: Rc<Worker>,
    socket: Socket,
    caller: Caller,
    admission: Admission,
    service: Service,
) -> impl Future<Output = ()> {
    let mut client = Client::new(&worker, socket.into(), caller);
    client.redirects = service == Service::Redirect;
    async move {
        if client_h1::serve(&worker, &mut client).await == Ended::Http2
            && let Transport::Socket(socket) = client.transport
        {
            let before = client.inbox.bytes().to_vec();
            client.inbox.consume(usize::MAX, &worker.pool); // or its buffer stays for as long as the connection
            let io = Io::of_client(Rc::clone(&worker), socket, before);
            Box::pin(client_h2::serve(worker, io, client.caller, admission, service)).await;
        }
    }
}

/// Leaves a client whose handshake failed the time to read why.
async fn part(worker: Rc<Worker>, socket: Socket, caller: Caller) {
    Client::new(&worker, socket.into(), caller).linger(&worker).await;
}
