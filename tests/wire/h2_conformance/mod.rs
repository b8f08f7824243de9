//! Goal: whatever a client of HTTP/2 sends, the answer is one that RFC 9113 and RFC 7541 allow, and no origin sees
//! anything of a request that is malformed. Method: a table of cases, each a few frames on a connection of its own and
//! one outcome, in the clear and with TLS. Sections are of RFC 9113 where no other is named.

mod case;
mod connection;
mod hpack;
mod messages;
mod streams;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::frames::{self, Frames, code, flag, literal, request};
use crate::harness::*;
use crate::tls::Tls;
use case::Case;

/// The body of every response.
const BODY: &str = "0123456789";

/// A proxy with TLS in front of an origin that counts the requests it read whole.
struct Bench {
    tls: Tls,
    origin: Origin,
    whole: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Bench {
        let whole = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&whole);
        let origin = Origin::serve(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY.len());
            (if request.head.first.starts_with("HEAD ") { head } else { head + BODY }).into_bytes()
        });
        Bench { tls: Tls::of(&origin), origin, whole }
    }

    /// Runs all cases both in the clear and with TLS, and fails with all that failed.
    #[track_caller]
    fn run(&mut self, cases: &[Case]) {
        let (addrs, trusting) = (self.tls.proxy.addrs.clone(), self.tls.authority.trusting());
        let mut failures = Vec::new();
        for case in cases {
            let clear = attempt(|| case.run(&mut Frames::connect(addrs[0])));
            failures.extend(clear.err().map(|error| format!("{}: {error}", case.name)));
            let tls = attempt(|| case.run(&mut Frames::connect_tls(addrs[1], &trusting)));
            failures.extend(tls.err().map(|error| format!("{} (TLS): {error}", case.name)));
        }
        self.tls.proxy.assert_healthy();
        assert!(
            failures.is_empty(),
            "{} of {} failed:\n{}",
            failures.len(),
            2 * cases.len(),
            failures.join("\n")
        );
    }
}

/// Runs a case whose patience may end, so that the others run too.
fn attempt(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("what was due never came".to_owned()))
}

/// Frames, settings, errors, flow control of the connection (§3 to §7).
#[test]
fn connections_conform() {
    Bench::new().run(&connection::cases());
}

/// Streams, their states and windows (§5, §6).
#[test]
fn streams_conform() {
    Bench::new().run(&streams::cases());
}

/// Header compression (RFC 7541).
#[test]
fn header_blocks_conform() {
    Bench::new().run(&hpack::cases());
}

/// Messages that are well-formed are served (§8).
#[test]
fn messages_are_served() {
    let mut bench = Bench::new();
    let cases = messages::served();
    bench.run(&cases);
    assert_eq!(bench.whole.load(Ordering::SeqCst), 2 * cases.len());
}

/// Requests with a malformed head: no origin hears of them (§8.1.1: "MUST NOT forward").
#[test]
fn malformed_heads_are_not_forwarded() {
    let mut bench = Bench::new();
    bench.run(&messages::malformed_heads());
    assert_eq!(bench.tls.proxy.get("/last").text(), BODY);
    let heads = bench.origin.heads();
    assert!(heads.iter().all(|head| head.target() == "/last"), "{heads:?}");
}

/// Requests that turn out to be malformed after their head: no origin takes one for whole.
#[test]
fn malformed_bodies_are_never_whole() {
    let mut bench = Bench::new();
    bench.run(&messages::malformed_bodies());
    assert_eq!(bench.tls.proxy.get("/last").text(), BODY);
    assert_eq!(bench.whole.load(Ordering::SeqCst), 1);
}

/// A stream's window holds while nobody takes its data (§6.9.1): 64 KiB, and 32 more that the exchange reads ahead.
#[test]
fn windows_are_enforced() {
    let (deaf, _fillers) = deaf_listener();
    let proxy = Proxy::to(&[&deaf.to_string()], &[]);
    let beyond = case::case("§6.9.1 DATA beyond a stream's window")
        .send(case::post(1))
        .send([case::data(1, flag::NONE, [0; 1 << 14]).as_slice(); 8].concat())
        .ends_or_resets(1, code::FLOW_CONTROL_ERROR);
    assert_eq!(beyond.run(&mut Frames::connect(proxy.addr())), Ok(()));
}

/// Whoever does not begin as §3.4 has it is not served, and cut off.
#[test]
fn a_connection_begins_with_its_preface() {
    let origin = Origin::serve(|_| ok(BODY));
    let tls = Tls::of(&origin);
    let mut config = (*tls.authority.trusting()).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let preface = |rest: Vec<u8>| [frames::PREFACE, &rest].concat();
    for bytes in [
        b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX".to_vec(),
        preface(frames::ping(&[0; 8])),
        preface(case::get(1)),
        preface([case::get(1), frames::settings(&[])].concat()),
        preface(frames::frame(frames::kind::SETTINGS, flag::ACK, 0, [])),
    ] {
        for mut peer in [tls.proxy.client(), Peer::connect_tls(tls.proxy.addrs[1], &config, "wire.test")] {
            peer.send(&bytes);
            let _ = peer.until_end();
        }
    }
    assert!(origin.heads().is_empty());
}

/// What is malformed and gets past `h2`, which shows it to nobody: it must not get past us.
#[test]
fn what_cannot_be_refused_is_not_forwarded() {
    let trailers = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&trailers);
    let origin = Origin::serve(move |request| {
        seen.lock().unwrap().extend(request.body.trailers.clone());
        ok(BODY)
    });
    let proxy = Proxy::of(&origin);
    let fragment = case::case("§8.3.1 a fragment in :path")
        .send(case::head(1, flag::WHOLE, request("GET", "/a#b")))
        .answers(1, 200);
    assert_eq!(fragment.run(&mut Frames::connect(proxy.addr())), Ok(()));
    assert_eq!(origin.heads().last().unwrap().target(), "/a");
    let pseudo = case::case("§8.3 a pseudo-field in trailers")
        .send(case::post(1))
        .send(case::head(1, flag::WHOLE, [literal(":path", "/x"), literal("x-sum", "4")].concat()))
        .answers(1, 200);
    assert_eq!(pseudo.run(&mut Frames::connect(proxy.addr())), Ok(()));
    assert_eq!(*trailers.lock().unwrap(), [("x-sum".to_owned(), "4".to_owned())]);
}
