//! After a 101: bytes both ways, untouched, each direction ending on its own.
//!
//! ```text
//!   each direction:   Open ──sender ended──▶ Draining ──all sent, receiver told──▶ Ended
//! ```
//! A side that ends its sending (FIN) is passed on as just that; the other direction runs on. The tunnel ends
//! when both have, when a side breaks, or when neither says anything for `--tunnel-timeout`.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use crate::limits;
use crate::proxy::error::Failure;
use crate::proxy::exchange::Deadline;
use crate::telemetry::metrics::Counter;
use crate::time::{Phase, Timestamp};

use super::buffers::Outbox;
use super::client::Client;
use super::transport::Transport;
use super::upstream::Upstream;
use super::worker::Worker;

/// What a tunnel came to.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Bytes from the client to the origin.
    pub bytes_in: u64,
    /// Bytes from the origin to the client.
    pub bytes_out: u64,
    /// What ended it, if not both sides.
    pub failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Draining,
    Ended,
}

/// One direction.
struct Way {
    stage: Stage,
    outbox: Outbox,
    bytes: u64,
    /// The last read filled the scratch: more is waiting than one read brings, so splicing pays.
    bulky: bool,
    /// Splicing is on and has worked so far.
    splices: bool,
}

impl Way {
    fn new(outbox: Outbox, splices: bool) -> Way {
        Way { stage: Stage::Open, outbox, bytes: 0, bulky: false, splices }
    }

    /// Moves what can be moved; true when anything was.
    fn pump(&mut self, from: &mut Transport, to: &mut Transport, worker: &Worker) -> io::Result<bool> {
        let mut progress = !self.outbox.is_empty() && self.send(to, worker, &[])? > 0;
        let mut moved = 0;
        while self.stage == Stage::Open && self.outbox.is_empty() && from.is_readable() {
            let arrived = if self.bulky && self.splices {
                self.splice(from, to, worker)?
            } else {
                self.copy(from, to, worker)?
            };
            match arrived {
                None => break,
                Some(0) => self.stage = Stage::Draining,
                Some(n) => moved += n,
            }
            progress = true;
            if moved >= limits::TURN_BYTES_MAX {
                from.yield_read();
                break;
            }
        }
        if self.stage == Stage::Draining && self.outbox.is_empty() {
            to.shutdown_write();
            self.stage = Stage::Ended;
        }
        Ok(progress)
    }

    fn copy(
        &mut self,
        from: &mut Transport,
        to: &mut Transport,
        worker: &Worker,
    ) -> io::Result<Option<usize>> {
        let mut scratch = worker.scratch.borrow_mut();
        let arrived = from.try_read(&mut scratch)?;
        if let Some(n) = arrived {
            self.bulky = n == scratch.len();
            worker.metrics.add(Counter::BytesCopied, n as u64);
            self.send(to, worker, scratch.get(..n).unwrap_or_default())?;
        }
        Ok(arrived)
    }

    fn splice(
        &mut self,
        from: &mut Transport,
        to: &mut Transport,
        worker: &Worker,
    ) -> io::Result<Option<usize>> {
        match self.outbox.fill_pipe(from, &worker.pool, u64::MAX) {
            Ok(Some(n)) => {
                self.bytes += n as u64;
                worker.metrics.add(Counter::BytesSpliced, n as u64);
                self.bulky = n >= limits::SCRATCH_BYTES;
                self.send(to, worker, &[])?;
                Ok(Some(n))
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.splices = false;
                self.copy(from, to, worker)
            }
            other => other,
        }
    }

    fn send(&mut self, to: &mut Transport, worker: &Worker, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.outbox.send(to, &worker.pool, &[bytes])?;
        self.bytes += bytes.len() as u64;
        Ok(taken)
    }

    fn poll(&mut self, from: &mut Transport, to: &mut Transport, cx: &mut Context<'_>) -> bool {
        let wanted = self.stage == Stage::Open && self.outbox.is_empty();
        let readable = wanted && from.poll_readable(cx).is_ready();
        if !wanted {
            from.absorb(cx);
        }
        let writable = !self.outbox.is_empty() && to.poll_writable(cx).is_ready();
        readable || writable
    }
}

/// Runs a tunnel to its end. `to_client` holds the 101 and what came behind it.
pub async fn run(
    worker: &Worker,
    client: &mut Client,
    mut upstream: Upstream,
    to_client: Outbox,
    to_origin: Outbox,
) -> Ended {
    let clear = client.transport.splices() && upstream.transport.splices();
    let splices = clear && client.view.config.splice_min.is_some();
    let mut up = Way::new(to_origin, splices);
    let mut down = Way::new(to_client, splices);
    // What the client sent behind its request is the tunnel's first bytes.
    up.bytes += client.inbox.bytes().len() as u64;
    if !client.inbox.is_empty() {
        up.outbox.stage(&worker.pool).extend_from_slice(client.inbox.bytes());
    }
    client.inbox.consume(usize::MAX, &worker.pool);
    let failure = relay(worker, client, &mut upstream, &mut up, &mut down).await.err();
    up.outbox.release(&worker.pool);
    down.outbox.release(&worker.pool);
    Ended { bytes_in: up.bytes, bytes_out: down.bytes, failure }
}

async fn relay(
    worker: &Worker,
    client: &mut Client,
    upstream: &mut Upstream,
    up: &mut Way,
    down: &mut Way,
) -> Result<(), Failure> {
    let mut active = worker.clock.now();
    loop {
        let went_up = up.pump(&mut client.transport, &mut upstream.transport, worker);
        let went_down = down.pump(&mut upstream.transport, &mut client.transport, worker);
        match (went_up, went_down) {
            (Ok(false), Ok(false)) => {}
            (Ok(_), Ok(_)) => active = worker.clock.now(),
            (Err(_), _) | (_, Err(_)) => return Err(Failure::TunnelBroken),
        }
        if up.stage == Stage::Ended && down.stage == Stage::Ended {
            return Ok(());
        }
        wait(worker, client, upstream, (up, down), active).await?;
    }
}

async fn wait(
    worker: &Worker,
    client: &mut Client,
    upstream: &mut Upstream,
    (up, down): (&mut Way, &mut Way),
    active: Timestamp,
) -> Result<(), Failure> {
    let deadline = Deadline { at: active.after(client.timeouts().tunnel), phase: Phase::Tunnel };
    poll_fn(|cx| {
        let upward = up.poll(&mut client.transport, &mut upstream.transport, cx);
        let downward = down.poll(&mut upstream.transport, &mut client.transport, cx);
        if upward || downward {
            return Poll::Ready(Ok(()));
        }
        client.poll_deadline(worker, Some(deadline), cx).map(Err)
    })
    .await
}
