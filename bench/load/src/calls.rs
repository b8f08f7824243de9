//! gRPC calls that stay open both ways: each has one message under way, and what comes back must be the message.

use crate::engine::{Load, Tally, Verdict};
use crate::frames::{self, Broken, Method};

use crate::link::Links;
use crate::session::{Event, Session};

/// A message of 64 bytes behind gRPC's own prefix: not compressed, and its length in four bytes.
const MESSAGE: &[u8; 69] = b"\0\0\0\0\x40The quick brown fox jumps over the lazy dog, sixty-four bytes ok";

#[derive(Default, Clone)]
struct Call {
    /// Bytes of the echo that have come.
    seen: usize,
    started: u64,
    heard: bool,
}

struct Client {
    session: Session,
    calls: Vec<Call>,
}

/// The load.
pub struct Calls {
    blocks: [Vec<u8>; 2],
    clients: Vec<Client>,
    silent: usize,
    tally: Tally,
}

impl Calls {
    /// So many connections, with so many calls each.
    #[must_use]
    pub fn new(target: &str, calls: usize, count: usize) -> Self {
        let client = || Client { session: Session::client(), calls: vec![Call::default(); calls] };
        Self {
            blocks: frames::request(Method::Post, target),
            clients: (0..count).map(|_| client()).collect(),
            silent: calls * count,
            tally: Tally::default(),
        }
    }
}

/// Stream of a call, and back.
fn stream_of(call: usize) -> u32 {
    call as u32 * 2 + 1
}

fn call_of(stream: u32) -> usize {
    (stream / 2) as usize
}

impl Load for Calls {
    fn opened(&mut self, links: &mut Links, id: usize, now: u64) {
        let Some(Client { session, calls }) = self.clients.get_mut(id) else { return };
        let [first, later] = &self.blocks;
        for (number, call) in calls.iter_mut().enumerate() {
            let stream = stream_of(number);
            session.head(stream, if number == 0 { first } else { later }, false);
            session.open(stream);
            call.started = now;
            // The first messages of all calls fit the first window.
            let _ = session.data(stream, MESSAGE);
        }
        // A lost connection shows itself at the next wait.
        let _ = links.say(id, session);
    }

    fn received(&mut self, links: &mut Links, id: usize, bytes: &[u8], now: u64) -> Verdict {
        let Some(Client { session, calls }) = self.clients.get_mut(id) else { return Verdict::Broken };
        let (stopped, silent, latencies) = (self.tally.stopped, &mut self.silent, &mut self.tally.latencies);
        let seen = session.receive(bytes, |session, event| match event {
            Event::Head { ok: true, end: false, .. } => Ok(()),
            Event::Data { stream, bytes, end: false } => {
                let call = calls.get_mut(call_of(stream)).ok_or(Broken)?;
                if MESSAGE.get(call.seen..call.seen + bytes.len()) != Some(bytes) {
                    return Err(Broken);
                }
                call.seen += bytes.len();
                if call.seen < MESSAGE.len() {
                    return Ok(());
                }
                latencies.record(now.saturating_sub(call.started));
                *silent -= usize::from(!call.heard);
                *call = Call { seen: 0, started: now, heard: true };
                if stopped { Ok(()) } else { session.data(stream, MESSAGE) }
            }
            Event::Head { .. } | Event::Data { .. } | Event::Reset(_) | Event::GoAway => Err(Broken),
        });
        if seen.is_ok() && links.say(id, session) { Verdict::Keep } else { Verdict::Broken }
    }

    fn is_ready(&self) -> bool {
        self.silent == 0
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
