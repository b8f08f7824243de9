//! A client's HTTP/2 connection: its streams are accepted and each becomes an exchange in a task of its own.
//!
//! ```text
//!   handshake ─▶ serving ─▶ GOAWAY (drain, idleness) ─▶ the last stream ends ─▶ closed
//! ```
//! This task drives the connection's frames. A stream's deadlines are its exchange's; what is left for the connection
//! is idleness, the drain, and the bounds that `h2` enforces (see [`builder`]).

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::header::ALLOW;
use http::{HeaderValue, Request, Response, StatusCode};
use tungstenite::handshake::client::generate_key;

use crate::config::Service;
use crate::h1::{HeadError, Method};
use crate::limits;
use crate::proxy::error::Failure;
use crate::proxy::respond;
use crate::telemetry::metrics::Counter;
use crate::time::{Phase, Timestamp};
use crate::translate::Malformed;
use crate::translate::request::{self, Opening};

use super::caller::Caller;
use super::client::Client;
use super::client_h1;
use super::facts::{Facts, Line};
use super::h2::inbound::Inbound;
use super::h2::io::{Io, Tap};
use super::record;
use super::shared::Lifecycle;
use super::steer::Admission;
use super::timer::Timer;
use super::tls::greeting::Greeting;
use super::transport::Transport;
use super::worker::Worker;

/// What every connection is held to. `h2` bounds streams that are reset before they run, resets that it is made to send,
/// CONTINUATION and unread answers within these; what else a client can flood with has its price in [`super::h2::watch`].
fn builder(worker: &Worker) -> Builder {
    let view = worker.views.latest();
    let message = &view.config.message;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits::H2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(message.head_bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(limits::H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(limits::H2_SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(limits::H2_OWN_RESETS_MAX)
        .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS_MAX)
        .data_frame_budget(limits::H2_SMALL_FRAMES_BYTES_MAX)
        .enable_connect_protocol();
    builder
}

/// What all streams of a connection share.
struct Peer {
    caller: Caller,
    greeting: Option<Rc<Greeting>>,
    redirects: bool,
}

/// Serves one connection to its end; `service` is that of its listener.
pub async fn serve(worker: Rc<Worker>, io: Io, caller: Caller, admission: Admission, service: Service) {
    let redirects = service == Service::Redirect;
    let tap = io.tap();
    let peer = Peer { caller, greeting: tap.greeting(), redirects };
    let began = worker.clock.now();
    if let Some(mut connection) = Box::pin(greet(&worker, io, began)).await {
        let timer = worker.timers.timer();
        let owed = Some((0, began));
        tap.cork();
        let mut life =
            Life { timer, tap, owed, idle_since: None, parting: None, cut_at: None, flooded: false };
        poll_fn(|cx| {
            let over = life.poll(&worker, &peer, &mut connection, cx);
            match life.tap.poll_flush(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Ready(Ok(())) | Poll::Pending => over,
            }
        })
        .await;
    }
    drop(admission);
}

/// The connection, once its client has greeted; `None` if that failed, or took too long. Boxed, as the greeting itself is: an
/// idle connection pays for one of them, and not for the room of both, 2.2 KiB.
async fn greet(worker: &Worker, io: Io, began: Timestamp) -> Option<Box<Connection<Io, Bytes>>> {
    let mut handshake = pin!(builder(worker).handshake(io));
    let at = began.after(worker.views.latest().config.timeouts.header);
    let connection = worker.within(at, Phase::Header, handshake.as_mut()).await?;
    connection.ok().map(Box::new)
}

/// Where a connection stands.
struct Life {
    timer: Timer,
    tap: Tap,
    /// What the client owes the rest of (a head, its SETTINGS), and since when.
    owed: Option<(u64, Timestamp)>,
    idle_since: Option<Timestamp>,
    /// GOAWAY was sent: until when the client may take its leave once nothing runs.
    parting: Option<Timestamp>,
    /// What runs is cut: until when its last frames may leave.
    cut_at: Option<Timestamp>,
    /// The client was told that it floods.
    flooded: bool,
}

impl Life {
    fn poll(
        &mut self,
        worker: &Rc<Worker>,
        peer: &Peer,
        connection: &mut Connection<Io, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => open(worker, peer, request, respond),
                Poll::Ready(Some(Err(error))) => {
                    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                        record_flood(worker, peer);
                    }
                    tracing::debug!(%error, "a client's HTTP/2 connection failed");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending if self.flooded => return Poll::Ready(()), // nor does it read what it was told
                Poll::Pending if self.tap.watch().is_flooded(worker.clock.now()) => {
                    self.flooded = true;
                    record_flood(worker, peer);
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                Poll::Pending => match self.look(worker, connection, cx) {
                    Look::Wait => return Poll::Pending,
                    Look::Again => {}
                    Look::Close => return Poll::Ready(()),
                },
            }
        }
    }

    /// What time and the drain ask for.
    fn look(
        &mut self,
        worker: &Worker,
        connection: &mut Connection<Io, Bytes>,
        cx: &mut Context<'_>,
    ) -> Look {
        let now = worker.clock.now();
        let view = worker.views.latest();
        let timeouts = &view.config.timeouts;
        let lifecycle = worker.shared.lifecycle();
        let running = connection.has_streams();
        let mut cut = Timestamp::NEVER;
        if lifecycle == Lifecycle::Cutting {
            // What still runs is cut, and recorded, by its own exchange; but what it said may not get through.
            cut = *self.cut_at.get_or_insert(now.after(Some(Duration::from_millis(limits::H2_CUT_MS))));
            if !running || now >= cut {
                return Look::Close;
            }
        }
        let before = self.owed;
        self.owed = self.tap.watch().owed().map(|which| match before {
            Some((same, since)) if same == which => (which, since),
            _ => (which, now),
        });
        let owed = self.owed.map_or(Timestamp::NEVER, |(_, since)| since.after(timeouts.header));
        if now >= owed {
            worker.metrics.add(Counter::timeout(Phase::Header), 1);
            return Look::Close;
        }
        if running {
            self.idle_since = None;
        }
        let idle = match running {
            true => Timestamp::NEVER,
            false => self.idle_since.get_or_insert(now).after(timeouts.keepalive),
        };
        match self.parting {
            None if lifecycle != Lifecycle::Running || now >= idle => {
                connection.graceful_shutdown();
                self.parting = Some(now.after(Some(Duration::from_millis(limits::LINGER_MS))));
                return Look::Again;
            }
            Some(parting) if !running && now >= parting => return Look::Close,
            Some(_) | None => {}
        }
        let parting = self.parting.filter(|_| !running).unwrap_or(idle);
        self.timer.arm(owed.min(parting).min(cut), cx);
        Look::Wait
    }
}

/// Counts a client that is cut because it floods.
fn record_flood(worker: &Worker, peer: &Peer) {
    worker.metrics.add(Counter::ClientFloods, 1);
    tracing::debug!(client = %peer.caller.address, "a client was cut for a flood of HTTP/2 frames");
}

enum Look {
    Wait,
    Again,
    Close,
}

/// Begins the exchange that a stream asks for.
fn open(worker: &Rc<Worker>, peer: &Peer, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, body) = request.into_parts();
    let protocol = parts.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
    let key = protocol.map(|_| generate_key()).unwrap_or_default();
    let opening = Opening { protocol, websocket_key: &key, ended: body.is_end_stream() };
    let mut head = worker.pool.take_small();
    let framing = match request::write_head(&parts, opening, &mut head) {
        Ok(framing) => framing,
        Err(malformed) => {
            refuse(worker, peer, malformed, &head, &mut respond);
            return worker.pool.give(head);
        }
    };
    let method = if protocol.is_some() { Method::Get } else { Method::of(parts.method.as_str().as_bytes()) };
    let stream = Inbound::new(Rc::clone(worker), method, head, framing, body, respond);
    let mut client = Client::new(worker, Transport::Stream(Box::new(stream)), peer.caller.clone());
    client.greeting = peer.greeting.clone();
    client.redirects = peer.redirects;
    client.http2 = true;
    worker.spawn_stream(client_h1::serve_stream(Rc::clone(worker), client));
}

/// Answers what cannot be an exchange, and records it. `head` is as much of it as was translated.
fn refuse(
    worker: &Worker,
    peer: &Peer,
    malformed: Malformed,
    head: &[u8],
    respond: &mut SendResponse<Bytes>,
) {
    worker.metrics.add(Counter::HeadsRefused, 1);
    let now = worker.clock.now();
    let mut facts = Facts::new(now, now);
    let error = malformed.head_error();
    facts.failure = Some(Failure::BadRequest(error));
    facts.status = match malformed {
        Malformed::Connect => 405,
        Malformed::Protocol => 501, // RFC 9220 §3, for what RFC 8441 leaves open
        _ => 0,
    };
    let answered = facts.status > 0 && respond.send_response(refusal(facts.status, error), true).is_ok();
    if !answered {
        respond.send_reset(Reason::PROTOCOL_ERROR); // RFC 9113 §8.1.1
    }
    record::record(worker, peer.caller.address, Some(&Line::of_refused(head)), &facts);
}

fn refusal(status: u16, error: HeadError) -> Response<()> {
    let failure = Failure::BadRequest(error);
    let said = format!("ringress; error={}; details=\"{}\"", failure.error_type(), failure.detail());
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    if let Ok(said) = HeaderValue::from_str(&said) {
        response.headers_mut().insert("proxy-status", said);
    }
    if status == 405 {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(respond::METHODS));
    }
    response
}
