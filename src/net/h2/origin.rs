//! A connection to an origin that speaks HTTP/2: greeted, driven, asked whether it still lives, and ended.
//!
//! ```text
//!   greet (our preface, its SETTINGS) ─▶ streams ─▶ idle, too old, or GOAWAY ─▶ the last stream ends ─▶ closed
//! ```

use std::future::{Future as _, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};

use crate::config::Pool;
use crate::limits;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::error::Failure;
use crate::telemetry::metrics::Counter;
use crate::time::Timestamp;

use super::super::shared::Lifecycle;
use super::super::socket::Socket;
use super::super::timer::Timer;
use super::super::worker::Worker;
use super::io::{Io, Tap};
use super::link::Link;

/// A connection whose origin has shown that it speaks HTTP/2.
pub struct Greeted {
    send: SendRequest<Bytes>,
    connection: Connection<Io, Bytes>,
    tap: Tap,
}

fn builder(worker: &Worker) -> Builder {
    let head = u32::try_from(worker.views.latest().config.message.head_bytes_max).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(head)
        .initial_window_size(limits::H2_ORIGIN_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::H2_ORIGIN_WINDOW_BYTES)
        .max_send_buffer_size(limits::H2_SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(limits::H2_ORIGIN_STREAMS_MAX);
    builder
}

/// Exchanges prefaces. Whatever answers without SETTINGS is no origin for this protocol, and is found out before a
/// request is lost on it.
///
/// # Errors
/// The connection broke, or the origin speaks something else.
pub async fn greet(worker: &Rc<Worker>, socket: Socket) -> io::Result<Greeted> {
    let io = Io::of_origin(Rc::clone(worker), socket);
    let tap = io.tap();
    let (send, mut connection) = builder(worker).handshake(io).await.map_err(io::Error::other)?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(io::Error::other(error))),
        Poll::Pending if tap.watch().owed().is_none() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok(Greeted { send, connection, tap })
}

/// What it means that an origin could not be greeted.
#[must_use]
pub fn failure(error: &io::Error) -> Failure {
    let h2 = error.get_ref().and_then(|inner| inner.downcast_ref::<h2::Error>());
    match h2 {
        Some(h2) if h2.is_go_away() && h2.is_remote() => Failure::StreamRefused,
        // It hung up before it said anything.
        Some(h2) if h2.get_io().is_some_and(|io| io.kind() != ErrorKind::InvalidData) => {
            Failure::UpstreamClosed
        }
        None if error.kind() == ErrorKind::UnexpectedEof => Failure::UpstreamClosed,
        Some(_) | None => Failure::NotHttp2,
    }
}

/// Drives the connection from here on, in a task of its own.
pub fn start(worker: &Rc<Worker>, greeted: Greeted, endpoint: &Endpoint, pool: Pool) -> Rc<Link> {
    let Greeted { send, mut connection, tap } = greeted;
    tap.cork();
    let link = Link::new(send, endpoint);
    let now = worker.clock.now();
    let heard = (tap.watch().bytes(), now);
    let mut life = Life {
        pings: connection.ping_pong(),
        pinged: None,
        heard,
        tap,
        age_until: now.after(Some(pool.age_max)),
        pool,
        idle_since: Some(now),
        parting: None,
        timer: worker.timers.timer(),
        link: Rc::clone(&link),
    };
    let driver = Rc::clone(worker);
    worker.spawn_stream(async move {
        poll_fn(|cx| {
            let over = life.poll(&driver, &mut connection, cx);
            match life.tap.poll_flush(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Ready(Ok(())) | Poll::Pending => over,
            }
        })
        .await;
        life.link.close();
    });
    link
}

/// Where a connection stands.
struct Life {
    link: Rc<Link>,
    pings: Option<PingPong>,
    /// When the PING went out that is not answered.
    pinged: Option<Timestamp>,
    /// Bytes heard so far, and when the last of them came.
    heard: (u64, Timestamp),
    tap: Tap,
    age_until: Timestamp,
    pool: Pool,
    idle_since: Option<Timestamp>,
    /// When the last stream of a connection that takes no more had ended.
    parting: Option<Timestamp>,
    timer: Timer,
}

impl Life {
    fn poll(
        &mut self,
        worker: &Worker,
        connection: &mut Connection<Io, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.link.driven_by(cx.waker());
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an origin's HTTP/2 connection failed");
                }
                return Poll::Ready(());
            }
            let now = worker.clock.now();
            if self.is_dead(worker, now, cx) {
                return Poll::Ready(());
            }
            let running = self.link.streams() > 0;
            self.idle_since = if running { None } else { self.idle_since.or(Some(now)) };
            let draining = worker.shared.lifecycle() != Lifecycle::Running;
            let wake = if self.link.is_open() {
                let idle = self.pool.idle_timeout;
                let idle_until = self.idle_since.map_or(Timestamp::NEVER, |since| since.after(Some(idle)));
                let until = idle_until.min(self.age_until);
                if now >= until || draining && !running {
                    self.link.close();
                    continue; // says GOAWAY
                }
                until
            } else if running {
                Timestamp::NEVER
            } else {
                let linger = Duration::from_millis(limits::LINGER_SILENCE_MS);
                let until = self.parting.get_or_insert(now).after(Some(linger));
                if draining || now >= until {
                    return Poll::Ready(()); // it does not take our GOAWAY
                }
                until
            };
            self.timer.arm(wake.min(self.next_ping()), cx);
            return Poll::Pending;
        }
    }

    /// Asks a connection that has gone quiet under its streams whether it lives; true when it does not.
    fn is_dead(&mut self, worker: &Worker, now: Timestamp, cx: &mut Context<'_>) -> bool {
        let bytes = self.tap.watch().bytes();
        if bytes != self.heard.0 {
            self.heard = (bytes, now);
        }
        let Some(pings) = &mut self.pings else { return false };
        match self.pinged {
            Some(_) if pings.poll_pong(cx).is_ready() => self.pinged = None,
            Some(at) if now >= at.after(Some(patience(self.pool))) => {
                worker.metrics.add(Counter::UpstreamPingTimeouts, 1);
                tracing::warn!("an origin's HTTP/2 connection does not answer PING; closed");
                return true;
            }
            Some(_) => {}
            None => {
                let quiet = now >= self.heard.1.after(Some(self.pool.ping));
                if quiet && self.link.streams() > 0 && pings.send_ping(Ping::opaque()).is_ok() {
                    self.pinged = Some(now);
                    // Registers for the answer.
                    let _ = pings.poll_pong(cx);
                }
            }
        }
        false
    }

    fn next_ping(&self) -> Timestamp {
        match self.pinged {
            Some(at) => at.after(Some(patience(self.pool))),
            None if self.link.streams() > 0 => self.heard.1.after(Some(self.pool.ping)),
            None => Timestamp::NEVER,
        }
    }
}

/// How long an answer to a PING is awaited.
fn patience(pool: Pool) -> Duration {
    pool.ping.min(Duration::from_millis(limits::H2_PONG_MS))
}
