//! Goal: whatever the order of events, an exchange keeps its promises. Method: seeded random schedules of
//! a client, an origin and a clock drive [`Exchange`] as the data path does, beside a shadow model that
//! knows only bytes and times. Each failing seed is printed and can be replayed.
//!
//! Checked at every step: nothing is read from a sender while its receiver owes a read; a deadline runs as
//! long as anything is waited for, and is the one of the side that is waited for; payload passes unchanged;
//! a cut response is never complete; a connection is reusable only when both messages have ended.

use crate::h1::{Framing, Method, Version};
use crate::proxy::exchange::{Exchange, Request, Response, Verdict};
use crate::proxy::retry::Cause;
use crate::time::{Phase, Timeouts, Timestamp};

/// SplitMix64: enough randomness for a schedule, and the same on every machine.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// At most `n`.
    fn size(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64 + 1)).expect("no more than n")
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A body as its sender frames it.
struct Script {
    framing: Framing,
    wire: Vec<u8>,
    payload: Vec<u8>,
    sent: usize,
}

impl Script {
    fn random(rng: &mut Rng, response: bool) -> Script {
        let payload: Vec<u8> = (0..=250).cycle().take(rng.size(199)).collect();
        match rng.below(if response { 4 } else { 3 }) {
            0 => Script { framing: Framing::None, wire: Vec::new(), payload: Vec::new(), sent: 0 },
            1 => Script {
                framing: Framing::Length(payload.len() as u64),
                wire: payload.clone(),
                payload,
                sent: 0,
            },
            2 => Script { framing: Framing::Chunked, wire: chunked(&payload, rng), payload, sent: 0 },
            _ => Script { framing: Framing::UntilClose, wire: payload.clone(), payload, sent: 0 },
        }
    }

    fn read(&mut self, rng: &mut Rng) -> Vec<u8> {
        let n = (1 + rng.size(39)).min(self.wire.len() - self.sent);
        let piece = self.wire[self.sent..self.sent + n].to_vec();
        self.sent += n;
        piece
    }

    fn is_sent(&self) -> bool {
        self.sent == self.wire.len()
    }
}

fn chunked(payload: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at((1 + rng.size(63)).min(rest.len()));
        wire.extend_from_slice(format!("{:x};ignored=\"1\"\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = tail;
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

/// What one receiver got, and what still waits for it.
#[derive(Default)]
struct Receiver {
    payload: Vec<u8>,
    unsent: usize,
}

struct World {
    rng: Rng,
    now: Timestamp,
    exchange: Exchange,
    request: Script,
    response: Script,
    origin: Receiver,
    client: Receiver,
    responding: bool,
    origin_closed: bool,
    broken: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed);
        let request = Script::random(&mut rng, false);
        let mut response = Script::random(&mut rng, true);
        // An origin that breaks off: its body is shorter than promised.
        let broken = rng.one_in(4)
            && matches!(response.framing, Framing::Length(_) | Framing::Chunked)
            && !response.wire.is_empty();
        if broken {
            let keep = rng.size(response.wire.len() - 1);
            response.wire.truncate(keep);
        }
        let version = if rng.one_in(4) { Version::Http10 } else { Version::Http11 };
        let facts = Request {
            method: Method::Get,
            version,
            framing: request.framing,
            persistent: true,
            expects_continue: rng.one_in(4),
            upgrade: false,
        };
        let now = Timestamp(1_000_000);
        let mut exchange = Exchange::new(facts, None, now, now);
        exchange.connected(now);
        World {
            rng,
            now,
            exchange,
            request,
            response,
            origin: Receiver::default(),
            client: Receiver::default(),
            responding: false,
            origin_closed: false,
            broken,
        }
    }

    fn step(&mut self) {
        self.now = Timestamp(self.now.0 + self.rng.below(1_000));
        match self.rng.below(5) {
            0 if self.exchange.wants_client() => self.upload(),
            1 if self.origin.unsent > 0 => self.origin_takes(),
            2 if self.client.unsent > 0 => self.client_takes(),
            3 if !self.responding => self.origin_answers(),
            4 if self.responding && self.exchange.wants_origin() => self.download(),
            _ => {}
        }
        self.check();
    }

    fn upload(&mut self) {
        if self.request.is_sent() {
            return;
        }
        let mut bytes = self.request.read(&mut self.rng);
        let piece = self.exchange.upload_mut().accept(&mut bytes).expect("a valid body");
        self.origin.payload.extend_from_slice(&bytes[..piece.payload]);
        let taken = self.rng.size(piece.payload);
        self.origin.unsent += piece.payload - taken;
        self.exchange.origin_took(taken, self.origin.unsent, self.now);
        self.exchange.client_sent(self.now).expect("no limit is set");
    }

    fn origin_takes(&mut self) {
        let taken = 1 + self.rng.size(self.origin.unsent - 1);
        self.origin.unsent -= taken;
        self.exchange.origin_took(taken, self.origin.unsent, self.now);
    }

    fn client_takes(&mut self) {
        let taken = 1 + self.rng.size(self.client.unsent - 1);
        self.client.unsent -= taken;
        self.exchange.client_took(taken, self.client.unsent, self.now);
    }

    fn origin_answers(&mut self) {
        if !self.rng.one_in(4) {
            return;
        }
        self.exchange.origin_sent(self.now);
        let head = Response {
            status: 200,
            framing: self.response.framing,
            persistent: self.response.framing != Framing::UntilClose,
            upgrade: false,
        };
        let verdict = self.exchange.judge(head, false, self.now).expect("a final head may always come");
        assert!(matches!(verdict, Verdict::Relay { .. }));
        self.responding = true;
    }

    fn download(&mut self) {
        if self.response.is_sent() {
            self.origin_closes();
            return;
        }
        let mut bytes = self.response.read(&mut self.rng);
        self.exchange.origin_sent(self.now);
        let piece = self.exchange.download_mut().accept(&mut bytes).expect("a valid body");
        self.client.payload.extend_from_slice(&bytes[..piece.payload]);
        let taken = self.rng.size(piece.payload);
        self.client.unsent += piece.payload - taken;
        self.exchange.client_took(taken, self.client.unsent, self.now);
    }

    fn origin_closes(&mut self) {
        self.origin_closed = true;
        let ended = self.exchange.download_mut().end_of_stream();
        assert_eq!(ended.is_err(), self.broken, "a short body is an error, a whole one is none");
    }

    fn check(&self) {
        let exchange = &self.exchange;
        assert!(!(exchange.wants_client() && self.origin.unsent > 0), "read ahead of a slow origin");
        assert!(!(exchange.wants_origin() && self.client.unsent > 0), "read ahead of a slow client");
        if self.broken {
            assert!(!exchange.is_complete(), "a cut response looked complete");
            assert!(!exchange.upstream_reusable() && !exchange.client_reusable());
        }
        if exchange.upstream_reusable() {
            assert!(self.origin.unsent == 0 && self.request.is_sent(), "reused inside a request");
            assert_ne!(self.response.framing, Framing::UntilClose);
        }
        self.check_deadline();
    }

    fn check_deadline(&self) {
        let timeouts = Timeouts::default();
        let Some(deadline) = self.exchange.deadline(&timeouts) else {
            panic!("waiting without a deadline");
        };
        let expected: &[Phase] = if self.client.unsent > 0 {
            &[Phase::Write]
        } else if self.responding {
            &[Phase::StreamIdle]
        } else if self.origin.unsent > 0 || self.request.is_sent() {
            &[Phase::Request]
        } else {
            &[Phase::Body, Phase::Request] // the latter while the client holds its body back
        };
        assert!(expected.contains(&deadline.phase), "{:?}, not {expected:?}", deadline.phase);
        assert!(deadline.at > self.now, "a deadline that progress did not move");
    }
}

#[test]
fn every_schedule_keeps_the_promises() {
    for seed in 0..3_000 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..400 {
                world.step();
            }
            let origin_got = &world.origin.payload[..];
            assert!(world.request.payload.starts_with(origin_got), "the upload was changed");
            assert!(world.response.payload.starts_with(&world.client.payload), "the download was changed");
            if world.exchange.is_complete() {
                assert_eq!(world.client.payload, world.response.payload);
            }
        });
        assert!(run.is_ok(), "seed {seed} broke a promise");
    }
}

fn exchange(framing: Framing, expects_continue: bool) -> Exchange {
    let request = Request {
        method: Method::Post,
        version: Version::Http11,
        framing,
        persistent: true,
        expects_continue,
        upgrade: false,
    };
    let mut exchange = Exchange::new(request, Some(100), Timestamp(0), Timestamp(5));
    exchange.connected(Timestamp(10));
    exchange
}

fn phase_at(exchange: &Exchange) -> (Phase, u64) {
    let deadline = exchange.deadline(&Timeouts::default()).expect("all timeouts are on");
    (deadline.phase, deadline.at.0)
}

const MINUTE: u64 = 60_000_000;

#[test]
fn request_timeout_waits_for_the_origin_and_body_timeout_for_the_client() {
    let mut upload = exchange(Framing::Length(10), false);
    assert_eq!(phase_at(&upload), (Phase::Body, 10 + MINUTE));
    upload.upload_mut().accept(&mut [0; 4]).unwrap();
    upload.origin_took(0, 4, Timestamp(20));
    upload.client_sent(Timestamp(20)).unwrap();
    assert_eq!(phase_at(&upload), (Phase::Request, 20 + MINUTE), "bytes wait for the origin");
    upload.origin_took(0, 4, Timestamp(25));
    assert_eq!(phase_at(&upload), (Phase::Request, 20 + MINUTE), "no progress moves no deadline");
    upload.origin_took(4, 0, Timestamp(30));
    assert_eq!(phase_at(&upload), (Phase::Body, 30 + MINUTE), "the client's turn again");
    upload.upload_mut().accept(&mut [0; 6]).unwrap();
    upload.origin_took(6, 0, Timestamp(40));
    upload.client_sent(Timestamp(40)).unwrap();
    assert_eq!(phase_at(&upload), (Phase::Request, 40 + MINUTE), "the whole request is with the origin");
}

#[test]
fn a_client_that_awaits_100_is_not_late() {
    let mut held = exchange(Framing::Length(10), true);
    assert_eq!(phase_at(&held).0, Phase::Request);
    let interim = Response { status: 100, framing: Framing::None, persistent: true, upgrade: false };
    assert_eq!(held.judge(interim, false, Timestamp(45)), Ok(Verdict::Interim));
    assert_eq!(phase_at(&held).0, Phase::Body);
}

#[test]
fn write_timeout_runs_from_the_first_byte_owed() {
    let mut slow = exchange(Framing::None, false);
    slow.judge(
        Response { status: 200, framing: Framing::Length(9), persistent: true, upgrade: false },
        false,
        Timestamp(45),
    )
    .unwrap();
    slow.client_took(3, 6, Timestamp(50));
    assert_eq!(phase_at(&slow), (Phase::Write, 50 + MINUTE));
    slow.client_took(0, 6, Timestamp(60));
    assert_eq!(phase_at(&slow), (Phase::Write, 50 + MINUTE), "no progress moves no deadline");
    slow.client_took(6, 0, Timestamp(70));
    assert_eq!(phase_at(&slow), (Phase::StreamIdle, 70 + 5 * MINUTE), "the origin was not late meanwhile");
}

#[test]
fn request_deadline_counts_the_whole_exchange() {
    let timeouts =
        Timeouts { request_deadline: Some(std::time::Duration::from_secs(1)), ..Timeouts::default() };
    let mut whole = exchange(Framing::None, false);
    for _ in 0..3 {
        assert_eq!(whole.deadline(&timeouts).unwrap().at, Timestamp(1_000_000));
        whole.origin_sent(Timestamp(900_000));
    }
    let off = Timeouts { request: None, ..Timeouts::default() };
    assert_eq!(whole.deadline(&off), None, "off is off");
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_length_or_by_its_bytes() {
    assert!(exchange(Framing::Length(101), false).check_declared_length().is_err());
    assert!(exchange(Framing::Length(100), false).check_declared_length().is_ok());
    let mut chunked = exchange(Framing::Chunked, false);
    let mut wire = b"65\r\n".to_vec();
    wire.extend_from_slice(&[b'x'; 0x65]);
    chunked.upload_mut().accept(&mut wire).unwrap();
    assert!(chunked.client_sent(Timestamp(20)).is_err());
}

#[test]
fn an_unasked_101_and_a_flood_of_interims_are_refused() {
    let mut plain = exchange(Framing::None, false);
    assert!(
        plain
            .judge(
                Response { status: 101, framing: Framing::None, persistent: true, upgrade: false },
                false,
                Timestamp(45)
            )
            .is_err()
    );
    let mut nameless = exchange(Framing::None, false);
    nameless
        .judge(
            Response { status: 101, framing: Framing::None, persistent: true, upgrade: true },
            false,
            Timestamp(45),
        )
        .unwrap_err();
    let hint = Response { status: 103, framing: Framing::None, persistent: true, upgrade: false };
    let refused = (0..100).find(|_| plain.judge(hint, false, Timestamp(45)).is_err());
    assert_eq!(refused, Some(crate::limits::INTERIM_RESPONSES_MAX));
}

#[test]
fn an_early_response_promises_no_keep_alive() {
    let mut early = exchange(Framing::Length(10), false);
    let head = Response { status: 413, framing: Framing::Length(0), persistent: true, upgrade: false };
    let verdict = early.judge(head, false, Timestamp(45));
    assert!(matches!(verdict, Ok(Verdict::Relay { keep_alive: false, .. })), "{verdict:?}");
    assert!(early.is_complete() && !early.client_reusable() && !early.upstream_reusable());
}

#[test]
fn a_408_that_closes_a_reused_connection_is_no_answer_to_a_get() {
    let farewell = Response { status: 408, framing: Framing::None, persistent: false, upgrade: false };
    let request = |method| Request {
        method,
        version: Version::Http11,
        framing: Framing::None,
        persistent: true,
        expects_continue: false,
        upgrade: false,
    };
    let judged = |method, response, reused| {
        let mut exchange = Exchange::new(request(method), None, Timestamp(0), Timestamp(5));
        exchange.connected(Timestamp(10));
        exchange.origin_sent(Timestamp(20));
        let farewell = exchange.is_farewell(response, reused);
        (farewell, exchange.attempt(Cause::ResetBeforeResponse { reused }).repeats_stale())
    };
    assert_eq!(judged(Method::Get, farewell, true), (true, true));
    assert_eq!(judged(Method::Get, farewell, false), (false, false), "a fresh connection's 408 is meant");
    assert_eq!(judged(Method::Post, farewell, true), (false, false));
    assert_eq!(judged(Method::Get, Response { persistent: true, ..farewell }, true), (false, false));
    assert_eq!(judged(Method::Get, Response { status: 400, ..farewell }, true), (false, false));
}
