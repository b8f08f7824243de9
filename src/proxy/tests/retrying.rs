//! Goal: a request that is sent again is the same request, whole, whatever part of it was sent before. Method: seeded
//! schedules of a client that sends its body in pieces, and of origins that take some of it and die; the exchange and
//! the kept body as the data path uses them, and the last origin's bytes against the body that the client meant.

use std::rc::Rc;

use proptest::prelude::*;

use crate::config::route::Retry;
use crate::h1::{Framing, Method, Version};
use crate::proxy::exchange::{Exchange, Request, Response, Verdict};
use crate::proxy::retry::kept::{KeptBodies, KeptBody};
use crate::proxy::retry::{self, Again, Cause, Heard, Reason};
use crate::time::{Phase, Timeouts, Timestamp};

const NOW: Timestamp = Timestamp(5);
const HEAD: &[u8] = b"PUT / HTTP/1.1\r\n\r\n";
const BROKE: Cause = Cause::ResetBeforeResponse { reused: false };

fn exchange(method: Method, framing: Framing) -> Exchange {
    let request = Request {
        method,
        version: Version::Http11,
        framing,
        persistent: true,
        expects_continue: false,
        upgrade: false,
    };
    Exchange::new(request, None, Timestamp(0), NOW)
}

/// The data path in small: bytes staged for the origin, and what it got.
struct Path {
    exchange: Exchange,
    kept: KeptBody,
    staged: Vec<u8>,
    origin: Vec<u8>,
}

impl Path {
    fn new(framing: Framing, kept_max: usize) -> Path {
        let kept = KeptBody::new(kept_max, &Rc::new(KeptBodies::default()));
        let exchange = exchange(Method::Put, framing);
        let mut path = Path { exchange, kept, staged: HEAD.to_vec(), origin: Vec::new() };
        path.exchange.connected(NOW);
        path
    }

    /// Bytes come from the client.
    fn upload(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let before = self.staged.len();
        let flow = self.exchange.upload_mut();
        let piece = flow.accept(&mut bytes).unwrap();
        assert_eq!(piece.consumed, bytes.len());
        for part in [piece.prefix.as_slice(), &bytes[..piece.payload], piece.suffix] {
            self.staged.extend_from_slice(part);
        }
        if piece.done {
            flow.finish(&mut self.staged);
        }
        self.kept.push(&self.staged[before..]);
        self.exchange.body_kept(self.kept.length());
        self.exchange.client_sent(NOW).unwrap();
        self.exchange.origin_took(0, self.staged.len(), NOW);
    }

    /// The origin takes up to `bytes` of what is staged.
    fn take(&mut self, bytes: usize) {
        let taken: Vec<u8> = self.staged.drain(..bytes.min(self.staged.len())).collect();
        self.origin.extend_from_slice(&taken);
        self.exchange.origin_took(taken.len(), self.staged.len(), NOW);
    }

    /// The origin dies, and another one is connected.
    fn again(&mut self, stopped_first: bool) -> Result<(), Reason> {
        if stopped_first {
            self.exchange.origin_stopped_reading();
        }
        let policy = Retry { reset_before_response: true, max: u8::MAX, ..Retry::default() };
        let retry::Verdict::Again(again) = self.exchange.attempt(BROKE).judge(&policy) else {
            return Err(Reason::BodyGone);
        };
        self.exchange.again(again, NOW);
        assert!(!self.exchange.wants_client(), "nothing is read while there is no origin");
        self.origin.clear();
        self.staged = [HEAD, self.kept.bytes().unwrap_or_default()].concat();
        self.exchange.connected(NOW);
        Ok(())
    }
}

fn chunked(payload: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in payload.chunks(size) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nA: b\r\n\r\n");
    wire
}

/// What an origin makes of a body, and whether it is whole.
fn understood(wire: &[u8], framing: Framing) -> (Vec<u8>, bool) {
    let (mut decoder, mut buf) = (crate::h1::BodyDecoder::new(framing), wire.to_vec());
    let decoded = decoder.decode(&mut buf).unwrap();
    assert_eq!(decoded.consumed, wire.len(), "nothing behind the body");
    (buf[..decoded.payload].to_vec(), decoder.is_done())
}

proptest! {
    #[test]
    fn a_kept_body_arrives_whole(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        chunk in prop::option::of(1usize..50),
        steps in prop::collection::vec((0u8..4, 1usize..80), 0..80),
    ) {
        let (framing, wire) = match chunk {
            Some(size) => (Framing::Chunked, chunked(&payload, size)),
            None => (Framing::Length(payload.len() as u64), payload.clone()),
        };
        let (mut path, mut rest) = (Path::new(framing, usize::MAX), wire.as_slice());
        // Whatever happened, in the end everything is passed on.
        let end = (0..800u16).map(|n| (u8::from(n % 2 == 1), usize::MAX));
        for (event, bytes) in steps.into_iter().chain(end) {
            match event {
                0 if path.exchange.wants_client() => {
                    prop_assert!(path.staged.is_empty() || path.origin.is_empty(), "backpressure");
                    let (now, later) = rest.split_at(bytes.min(rest.len()).min(7));
                    path.upload(now);
                    rest = later;
                }
                0 | 1 => path.take(bytes),
                _ => prop_assert_eq!(path.again(event == 3), Ok(())),
            }
        }
        prop_assert!(rest.is_empty() && path.exchange.upload().is_complete());
        let body = path.origin.strip_prefix(HEAD).unwrap();
        prop_assert_eq!(understood(body, framing), (payload, true));
    }
}

#[test]
fn a_body_that_was_not_kept_is_sent_once() {
    let mut path = Path::new(Framing::Length(20), 10);
    path.upload(b"0123456789");
    path.take(usize::MAX);
    assert_eq!(path.again(false), Ok(()), "ten bytes are kept");
    assert_eq!(path.staged, [HEAD, b"0123456789"].concat());
    path.take(usize::MAX);
    path.upload(b"x");
    assert_eq!(path.again(false), Err(Reason::BodyGone), "eleven are not");

    let mut untouched = Path::new(Framing::Length(20), 0);
    assert_eq!(untouched.again(true), Ok(()), "nothing was taken from the client");
    assert!(untouched.exchange.wants_client());
}

/// Goal: after a repeat it is the origin that is waited for, until it has what was kept; then the client again.
#[test]
fn the_origin_owes_until_it_has_what_was_kept() {
    let phase = |path: &Path| path.exchange.deadline(&Timeouts::default()).unwrap().phase;
    let mut path = Path::new(Framing::Length(20), 10);
    path.upload(b"01234");
    path.again(false).unwrap();
    assert_eq!((phase(&path), path.exchange.wants_client()), (Phase::Request, false));
    path.take(HEAD.len() + 4);
    assert!(!path.exchange.wants_client(), "one byte is left");
    path.take(1);
    assert_eq!((phase(&path), path.exchange.wants_client()), (Phase::Body, true));
}

#[test]
fn a_response_that_is_not_wanted_may_be_replaced_until_the_client_has_seen_one() {
    let unavailable = Response { status: 503, framing: Framing::None, persistent: true, upgrade: false };
    let hint = Response { status: 103, ..unavailable };
    let policy = Retry { reset_before_response: true, statuses: vec![503], ..Retry::default() };
    let mut exchange = exchange(Method::Get, Framing::None);
    for retries in 0..policy.max {
        exchange.connected(NOW);
        exchange.origin_sent(NOW);
        let attempt = exchange.attempt(Cause::Status(unavailable.status));
        assert_eq!((attempt.heard, attempt.retries), (Heard::Bytes, retries));
        assert_eq!(attempt.judge(&policy), retry::Verdict::Again(Again::Retry));
        exchange.again(Again::Retry, NOW);
        assert_eq!(exchange.attempt(BROKE).heard, Heard::Nothing, "a fresh start");
    }
    let last = exchange.attempt(Cause::Status(503));
    assert_eq!(last.judge(&policy), retry::Verdict::GiveUp(Reason::Exhausted));
    exchange.connected(NOW);
    exchange.origin_sent(NOW);
    assert!(
        matches!(exchange.judge(unavailable, false, NOW), Ok(Verdict::Relay { .. })),
        "then it is passed on"
    );

    let mut hinted = self::exchange(Method::Get, Framing::None);
    hinted.connected(NOW);
    hinted.origin_sent(NOW);
    assert_eq!(hinted.judge(hint, false, NOW), Ok(Verdict::Interim));
    for cause in [Cause::Status(503), BROKE, Cause::RefusedStream] {
        assert_eq!(hinted.attempt(cause).judge(&policy), retry::Verdict::GiveUp(Reason::Unsafe), "{cause:?}");
    }
    assert!(!hinted.is_farewell(Response { status: 408, persistent: false, ..unavailable }, true));
}
