//! Requests and responses: closed loop, fixed rate, once and then idle, uploads, requests that expire, and with
//! half of the clients reading something else, slowly or at full speed.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::engine::{Load, Report, Tally, Verdict};
use crate::head::{Head, HeadBuffer, Pushed};

use crate::limits::{OVERDUE_MAX, SLOW_BUFFER_BYTES, SLOW_BYTES, SLOW_TICK_NS};
use crate::link::Links;

/// When a connection asks again.
#[derive(Clone, Copy, PartialEq)]
pub enum Pace {
    /// As soon as it has its response.
    Loop,
    /// Never: one exchange, then idle.
    Once,
    /// So many requests a second over all connections. Latency counts from the moment a request was due.
    Rate(f64),
}

/// What every second connection does instead, unmeasured.
#[derive(Clone)]
pub struct Company {
    /// What it asks for.
    pub request: Rc<[u8]>,
    /// It reads slowly.
    pub slow: bool,
}

/// Which responses are right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Any 2xx.
    Success,
    /// The proxy gave up on the origin: 502, 503 or 504, as its makers chose.
    Expired,
}

/// Where a connection is.
#[derive(Default)]
struct Client {
    head: HeadBuffer,
    /// Bytes of the body that are due, once the head is there.
    body: Option<u64>,
    close: bool,
    started: u64,
    busy: bool,
    done: bool,
}

/// The load.
pub struct Exchanges {
    request: Rc<[u8]>,
    company: Option<Company>,
    pace: Pace,
    expect: Expect,
    clients: Vec<Client>,
    idle: Vec<usize>,
    turn: bool,
    overdue: VecDeque<u64>,
    /// Requests that were due while that was full.
    dropped: u64,
    next_due: u64,
    not_done: usize,
    tally: Tally,
}

impl Exchanges {
    /// A load of so many connections.
    #[must_use]
    pub fn new(
        request: Rc<[u8]>,
        company: Option<Company>,
        pace: Pace,
        expect: Expect,
        count: usize,
    ) -> Self {
        let clients = (0..count).map(|_| Client::default()).collect();
        Self {
            request,
            company,
            pace,
            expect,
            clients,
            idle: Vec::new(),
            turn: false,
            overdue: VecDeque::new(),
            dropped: 0,
            next_due: 0,
            not_done: count,
            tally: Tally::default(),
        }
    }

    /// What this connection does, if it is not one that is measured.
    fn company(&self, id: usize) -> Option<&Company> {
        self.company.as_ref().filter(|_| id.is_multiple_of(2))
    }

    fn is_slow(&self, id: usize) -> bool {
        self.company(id).is_some_and(|company| company.slow)
    }

    fn ask(&mut self, links: &mut Links, id: usize, started: u64) {
        let request = Rc::clone(self.company(id).map_or(&self.request, |company| &company.request));
        if let Some(client) = self.clients.get_mut(id) {
            client.busy = true;
            client.started = started;
        }
        // A lost connection shows itself at the next wait.
        let _ = links.send(id, request);
    }

    /// Takes bytes of a response; true when it has ended.
    fn take(&mut self, id: usize, mut bytes: &[u8]) -> Result<bool, ()> {
        let expect = self.expect;
        let client = self.clients.get_mut(id).ok_or(())?;
        while !bytes.is_empty() && client.body.is_none() {
            match client.head.push(bytes) {
                Pushed::More => return Ok(false),
                Pushed::Bad => return Err(()),
                // 100-continue: the response proper follows.
                Pushed::Head(head, rest) if head.status < 200 => bytes = rest,
                Pushed::Head(head, rest) => {
                    client.body = Some(length(&head, expect).ok_or(())?);
                    client.close = head.close;
                    bytes = rest;
                }
            }
        }
        let Some(due) = client.body else { return Ok(false) };
        let left = due.checked_sub(bytes.len() as u64).ok_or(())?;
        client.body = (left > 0).then_some(left);
        Ok(left == 0)
    }

    /// A response has ended: counts it and decides what the connection does next.
    fn finish(&mut self, links: &mut Links, id: usize, now: u64) -> Verdict {
        let measured = self.company(id).is_none();
        let Some(client) = self.clients.get_mut(id) else { return Verdict::Broken };
        client.busy = false;
        self.not_done -= usize::from(!client.done);
        client.done = true;
        let (started, close) = (client.started, client.close);
        if measured && !self.tally.stopped {
            self.tally.latencies.record(now.saturating_sub(started));
        }
        if close {
            return Verdict::Reopen;
        }
        self.next(links, id, now);
        Verdict::Keep
    }

    /// A connection is free.
    fn next(&mut self, links: &mut Links, id: usize, now: u64) {
        match self.pace {
            Pace::Loop if !self.tally.stopped => self.ask(links, id, now),
            Pace::Rate(_) => match self.overdue.pop_front() {
                Some(due) => self.ask(links, id, due),
                None => self.idle.push(id),
            },
            Pace::Loop | Pace::Once => {}
        }
    }

    /// A connection that is free; in company, by turns one that is measured and one that is not.
    fn take_idle(&mut self) -> Option<usize> {
        self.turn = !self.turn;
        let wanted = |id: &usize| id.is_multiple_of(2) == self.turn;
        let at = self.idle.iter().position(wanted).filter(|_| self.company.is_some());
        at.map(|at| self.idle.swap_remove(at)).or_else(|| self.idle.pop())
    }

    /// Starts every request that is due.
    fn keep_rate(&mut self, links: &mut Links, rate: f64, now: u64) -> u64 {
        while self.next_due <= now && !self.tally.stopped {
            match self.take_idle() {
                Some(id) if links.is_open(id) => self.ask(links, id, self.next_due),
                Some(_) => continue,
                None if self.overdue.len() < OVERDUE_MAX => self.overdue.push_back(self.next_due),
                None => self.dropped += 1,
            }
            self.next_due += (1e9 / rate) as u64;
        }
        if self.tally.stopped { u64::MAX } else { self.next_due }
    }

    fn read_slowly(&mut self, links: &mut Links, now: u64) -> u64 {
        if now < self.next_due {
            return self.next_due;
        }
        let mut some = [0; SLOW_BYTES];
        for id in (0..self.clients.len()).step_by(2) {
            let Ok(Some(count)) = links.read(id, &mut some) else { continue };
            match self.take(id, some.get(..count).unwrap_or_default()) {
                Ok(false) => self.mark_done(id),
                Ok(true) => self.ask(links, id, now),
                Err(()) => self.tally.errors += 1,
            }
        }
        self.next_due = now + SLOW_TICK_NS;
        self.next_due
    }

    /// A slow reader counts as done when its response has begun.
    fn mark_done(&mut self, id: usize) {
        let Some(client) = self.clients.get_mut(id).filter(|client| client.body.is_some()) else { return };
        self.not_done -= usize::from(!client.done);
        client.done = true;
    }
}

impl Load for Exchanges {
    fn buffer_bytes(&self, id: usize) -> Option<usize> {
        self.is_slow(id).then_some(SLOW_BUFFER_BYTES)
    }

    fn opened(&mut self, links: &mut Links, id: usize, now: u64) {
        match self.clients.get(id).is_some_and(|client| client.done) {
            true => self.next(links, id, now),
            false => self.ask(links, id, now),
        }
        if self.is_slow(id) {
            links.pause(id);
        }
    }

    fn received(&mut self, links: &mut Links, id: usize, bytes: &[u8], now: u64) -> Verdict {
        match self.take(id, bytes) {
            Ok(false) => Verdict::Keep,
            Ok(true) => self.finish(links, id, now),
            Err(()) => Verdict::Broken,
        }
    }

    /// An idle connection may end at any time; whoever does not want that says so by `Pace::Once`.
    fn lost(&mut self, id: usize) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let blameless = !client.busy && self.pace != Pace::Once;
        *client = Client { done: client.done, ..Client::default() };
        self.tally.errors += u64::from(!blameless);
        self.idle.retain(|idle| *idle != id);
        self.pace != Pace::Once
    }

    fn tick(&mut self, links: &mut Links, now: u64) -> u64 {
        match self.pace {
            Pace::Rate(rate) if self.next_due > 0 => self.keep_rate(links, rate, now),
            Pace::Loop if self.is_slow(0) => self.read_slowly(links, now),
            Pace::Loop | Pace::Once | Pace::Rate(_) => u64::MAX,
        }
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

    fn start(&mut self, now: u64) {
        self.tally = Tally::default();
        self.overdue.clear();
        self.dropped = 0;
        self.next_due = now;
    }

    fn report(&self, elapsed_ns: u64) -> Report {
        let mut report = self.tally.report(0, elapsed_ns);
        // Not errors: a machine that is too slow for the rate makes them too.
        report.push(("overdue", Some((self.overdue.len() as u64 + self.dropped) as f64)));
        report
    }
}

/// The length of a right response. All responses of the bench have one.
fn length(head: &Head, expect: Expect) -> Option<u64> {
    let right = match expect {
        Expect::Success => (200..300).contains(&head.status),
        Expect::Expired => (502..=504).contains(&head.status),
    };
    head.length.filter(|_| right)
}
