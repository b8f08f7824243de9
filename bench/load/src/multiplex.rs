//! HTTP/2 requests: each connection has so many streams under way, or had one request and is idle.

use std::collections::HashMap;

use crate::engine::{Load, Tally, Verdict};
use crate::frames::{self, Broken, Method};

use crate::link::Links;
use crate::session::{Event, Session};

/// What each connection does.
pub struct Plan {
    /// The target of every request.
    pub target: String,
    /// Bytes that the body of every response must have.
    pub body_bytes: u64,
    /// Requests under way on each connection.
    pub streams: usize,
    /// Only the first ones; then the connection idles.
    pub once: bool,
}

/// A request under way.
struct Asked {
    started: u64,
    due: u64,
    ok: bool,
}

struct Client {
    session: Session,
    /// Number of the stream after the last one.
    next: u32,
    asked: HashMap<u32, Asked>,
    done: bool,
}

/// The load.
pub struct Multiplexed {
    plan: Plan,
    blocks: [Vec<u8>; 2],
    clients: Vec<Client>,
    not_done: usize,
    tally: Tally,
}

impl Client {
    fn new(done: bool) -> Self {
        Self { session: Session::client(), next: 1, asked: HashMap::new(), done }
    }

    fn ask(&mut self, blocks: &[Vec<u8>; 2], body_bytes: u64, now: u64) {
        let [first, later] = blocks;
        self.session.head(self.next, if self.next == 1 { first } else { later }, true);
        self.asked.insert(self.next, Asked { started: now, due: body_bytes, ok: false });
        self.next += 2;
    }
}

impl Multiplexed {
    /// So many connections.
    #[must_use]
    pub fn new(plan: Plan, count: usize) -> Self {
        Self {
            blocks: frames::request(Method::Get, &plan.target),
            plan,
            clients: (0..count).map(|_| Client::new(false)).collect(),
            not_done: count,
            tally: Tally::default(),
        }
    }

    /// Takes bytes; the streams that ended, by when they were asked.
    fn take(client: &mut Client, bytes: &[u8]) -> Result<Vec<u64>, Broken> {
        let (mut ended, asked) = (Vec::new(), &mut client.asked);
        client.session.receive(bytes, |_, event| {
            let (stream, end) = match event {
                Event::Head { stream, ok, end } => {
                    asked.get_mut(&stream).ok_or(Broken)?.ok |= ok;
                    (stream, end)
                }
                Event::Data { stream, bytes, end } => {
                    let one = asked.get_mut(&stream).ok_or(Broken)?;
                    one.due = one.due.checked_sub(bytes.len() as u64).ok_or(Broken)?;
                    (stream, end)
                }
                Event::Reset(_) | Event::GoAway => return Err(Broken),
            };
            if end {
                let one = asked.remove(&stream).filter(|one| one.ok && one.due == 0).ok_or(Broken)?;
                ended.push(one.started);
            }
            Ok(())
        })?;
        Ok(ended)
    }
}

impl Load for Multiplexed {
    fn opened(&mut self, links: &mut Links, id: usize, now: u64) {
        let Some(client) = self.clients.get_mut(id) else { return };
        *client = Client::new(client.done);
        (0..self.plan.streams).for_each(|_| client.ask(&self.blocks, self.plan.body_bytes, now));
        // A lost connection shows itself at the next wait.
        let _ = links.say(id, &mut client.session);
    }

    fn received(&mut self, links: &mut Links, id: usize, bytes: &[u8], now: u64) -> Verdict {
        let Some(client) = self.clients.get_mut(id) else { return Verdict::Broken };
        let Ok(ended) = Self::take(client, bytes) else { return Verdict::Broken };
        for started in &ended {
            if !self.tally.stopped {
                self.tally.latencies.record(now.saturating_sub(*started));
                if !self.plan.once {
                    client.ask(&self.blocks, self.plan.body_bytes, now);
                }
            }
        }
        if !ended.is_empty() && !client.done {
            client.done = true;
            self.not_done -= 1;
        }
        if links.say(id, &mut client.session) { Verdict::Keep } else { Verdict::Broken }
    }

    fn lost(&mut self, _id: usize) -> bool {
        self.tally.errors += 1;
        !self.plan.once
    }

    fn is_ready(&self) -> bool {
        self.not_done == 0
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
