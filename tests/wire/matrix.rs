//! Goal: whichever versions of HTTP meet, with TLS and without, an exchange is the same. Method: each case is written
//! once, against both ends step by step, and run for every pair of versions on one proxy; bodies are compared byte for
//! byte. What a version does differently is said in one place ([`Pair`]'s questions).

use std::sync::{Arc, OnceLock};
use std::thread;

use h2::Reason;

use crate::harness::*;

/// What one side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http1,
    Http1Tls,
    Http2Tls,
    H2c,
}

impl Speech {
    fn is_tls(self) -> bool {
        matches!(self, Speech::Http1Tls | Speech::Http2Tls)
    }

    fn is_http2(self) -> bool {
        matches!(self, Speech::Http2Tls | Speech::H2c)
    }
}

/// A proxy between two sides.
struct Pair {
    client: Box<dyn Client>,
    server: Box<dyn Server>,
    proxy: Proxy,
    from: Speech,
    to: Speech,
    _folder: Folder,
}

/// Keys take time to make: one authority, and one certificate for both sides.
fn identity() -> &'static (Authority, Identity) {
    static MADE: OnceLock<(Authority, Identity)> = OnceLock::new();
    MADE.get_or_init(|| {
        let authority = Authority::new();
        let identity = authority.server(&["wire.test", "127.0.0.1"]);
        (authority, identity)
    })
}

impl Pair {
    fn new(from: Speech, to: Speech) -> Pair {
        let (authority, identity) = identity();
        let folder = Folder::new();
        let (cert, key) = identity.write(&folder, "wire");
        let ca = folder.write("ca.pem", &authority.pem);
        let server = server(to, authority, identity);
        let mut flags = vec!["--tls-listen", "127.0.0.1:0", "--cert", &cert, "--key", &key];
        if to.is_tls() {
            flags.extend(["--upstream-ca", &ca]);
        }
        let proxy = Proxy::to(&[&server.upstream()], &flags);
        let client = client(from, authority, &proxy);
        Pair { client, server, proxy, from, to, _folder: folder }
    }

    /// Asks, and waits for the question to be with the origin.
    #[track_caller]
    fn ask(&mut self, ask: &Ask) -> (Box<dyn Asking>, Box<dyn Answering>) {
        let asking = self.client.ask(ask);
        let answering = self.server.next();
        assert_eq!(answering.request().target(), ask.path);
        (asking, answering)
    }

    // ----- what the versions do differently

    /// Trailers have a place behind a body of unknown length. With `Content-Length` only HTTP/2 has one, and it is left
    /// out: the engine speaks HTTP/1.1 (RFC 9110 §6.5.1 allows it).
    fn arriving(sent: &Fields, framing: Framing) -> Fields {
        if framing == Framing::Unknown { sent.clone() } else { Vec::new() }
    }

    /// What the log says of an origin that leaves without a response: a stream has a code.
    fn left_by_origin(&self, hard: bool) -> &'static str {
        match (self.to.is_http2(), hard) {
            (false, _) => "closed-before-response",
            (true, false) => "reset-cancel",
            (true, true) => "reset-internal-error",
        }
    }

    /// HTTP/1.1 ends a message by force with its connection, HTTP/2 with a reset; its code passes, CANCEL stands for
    /// the end of a connection.
    #[track_caller]
    fn assert_cut(cut: Cut, seen_by: Speech, made_by: Speech, abort: Abort) {
        let code = if made_by.is_http2() { abort.code() } else { Reason::CANCEL };
        match cut {
            Cut::Connection(_) => assert!(!seen_by.is_http2()),
            Cut::Stream(reason) => assert_eq!(reason, Some(code)),
        }
    }

    /// What the log says of a response that its origin has broken off. FIN alone is told from what is no regular end: FIN
    /// without close_notify, RST, and RST_STREAM.
    fn cut_by_origin(&self, abort: Abort) -> &'static str {
        match (self.to, abort) {
            (Speech::Http1, Abort::Leave) => "truncated-body",
            (_, _) => "reset-in-response",
        }
    }
}

fn client(from: Speech, authority: &Authority, proxy: &Proxy) -> Box<dyn Client> {
    let mut trusting = (*authority.trusting()).clone();
    if from.is_http2() {
        trusting.alpn_protocols = vec![b"h2".to_vec()];
    }
    let trusting = Arc::new(trusting);
    let (clear, tls) = (proxy.addrs[0], proxy.addrs[1]);
    match from {
        Speech::Http1 => Box::new(Http1Client::new(clear, None)),
        Speech::Http1Tls => Box::new(Http1Client::new(tls, Some(trusting))),
        Speech::Http2Tls => Box::new(Http2Client::connect(tls, Some(&trusting))),
        Speech::H2c => Box::new(Http2Client::connect(clear, None)),
    }
}

fn server(to: Speech, authority: &Authority, identity: &Identity) -> Box<dyn Server> {
    let mut serving = (*authority.serving(identity, None)).clone();
    serving.alpn_protocols = vec![if to.is_http2() { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let serving = Arc::new(serving);
    match to {
        Speech::Http1 => Box::new(Http1Server::start(None)),
        Speech::Http1Tls => Box::new(Http1Server::start(Some(serving))),
        Speech::Http2Tls => Box::new(Http2Server::start(Some(&serving))),
        Speech::H2c => Box::new(Http2Server::start(None)),
    }
}

// ----- bodies

const SIZES: [usize; 11] =
    [0, 1, 100, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 300 * 1024, 1536 * 1024];

/// Every pair of yes and no.
const EVERY_PAIR: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

/// Bytes that are others at every place.
fn content(size: usize, seed: u8) -> Vec<u8> {
    let every: Vec<u8> = (0..=250).collect();
    let mut bytes = every.repeat(size / every.len() + 2);
    bytes.drain(..usize::from(seed));
    bytes.truncate(size);
    bytes
}

fn framed(known: bool, size: usize) -> Framing {
    if known { Framing::Length(size) } else { Framing::Unknown }
}

/// At one stroke when the length is known, in pieces when it is not.
fn send_all(exchange: &mut (impl Exchange + ?Sized), bytes: &[u8], framing: Framing) {
    let piece = if framing == Framing::Unknown { 20_011 } else { usize::MAX };
    let mut rest = bytes;
    while rest.len() > piece {
        assert!(exchange.send(&rest[..piece], false), "refused");
        rest = &rest[piece..];
    }
    assert!(exchange.send(rest, true), "refused");
}

/// Asserts that a body is whole, and has no trailers.
#[track_caller]
fn assert_whole(received: &Received, expected: &[u8]) {
    assert_eq!(received.end, Ok(Vec::new()), "after {} of {} bytes", received.bytes.len(), expected.len());
    assert_eq!(received.bytes.len(), expected.len());
    assert!(received.bytes == expected, "other bytes");
}

#[track_caller]
fn assert_announced(head: &Head, framing: Framing) {
    match framing {
        Framing::Length(length) => assert_eq!(head.content_length(), Some(length), "{head:?}"),
        Framing::Unknown => assert!(!head.has("content-length"), "{head:?}"),
        Framing::Nothing => assert!(head.content_length().is_none_or(|length| length == 0), "{head:?}"),
    }
}

/// Every size up and every size down, of known length and of unknown, all on one connection.
fn bodies(pair: &mut Pair) {
    let mut expected = Vec::new();
    for (up_known, down_known) in EVERY_PAIR {
        for (up, down) in SIZES.into_iter().zip(SIZES.into_iter().rev()) {
            let (up_framing, down_framing) = (framed(up_known, up), framed(down_known, down));
            let path = format!("/bodies/{up_known}/{down_known}/{up}");
            let mut asking = pair.client.ask(&Ask::new("POST", &path, up_framing));
            let server = &mut pair.server;
            thread::scope(|scope| {
                let client = scope.spawn(move || {
                    send_all(&mut *asking, &content(up, 1), up_framing);
                    let head = asking.next_head();
                    assert_eq!(head.status(), 200);
                    assert_announced(&head, down_framing);
                    assert_whole(&asking.rest(), &content(down, 2));
                });
                let mut answering = server.next();
                assert_eq!(answering.connection(), 0);
                assert_announced(answering.request(), up_framing);
                assert_whole(&answering.rest(), &content(up, 1));
                answering.respond(200, &Vec::new(), down_framing);
                send_all(&mut *answering, &content(down, 2), down_framing);
                client.join().unwrap();
            });
            expected.push((path, up.to_string(), down.to_string()));
        }
    }
    pair.proxy.log_for(&expected.last().unwrap().0); // lines are written in order
    for (line, (path, up, down)) in pair.proxy.log_lines().iter().zip(&expected) {
        assert_eq!(
            (line.get("path"), line.get("bytes_in"), line.get("bytes_out")),
            (&**path, &**up, &**down)
        );
        assert_eq!((line.get("status"), line.get("error"), line.get("detail")), ("200", "", ""));
    }
}

/// A body that ends with its connection, and comes behind its head: whole for every client.
#[test]
fn bodies_until_close() {
    let (authority, identity) = identity();
    let folder = Folder::new();
    let (cert, key) = identity.write(&folder, "wire");
    let flags = ["--tls-listen", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    for from in [Speech::Http1, Speech::Http1Tls, Speech::Http2Tls, Speech::H2c] {
        let seen = Gate::new();
        let step = seen.clone();
        let origin = Origin::start(move |mut conn| {
            conn.request_head();
            conn.send("HTTP/1.1 200 OK\r\n\r\n");
            step.pass();
            conn.send(content(300 * 1024, 5));
            conn.close();
        });
        let proxy = Proxy::with(&origin, &flags);
        let mut client = client(from, authority, &proxy);
        let mut asking = client.ask(&Ask::new("GET", "/", Framing::Nothing));
        assert_eq!(asking.next_head().status(), 200);
        seen.open();
        assert_whole(&asking.rest(), &content(300 * 1024, 5));
        let line = proxy.log_for("/");
        assert_eq!((line.get("detail"), line.get("bytes_out")), ("", "307200"), "{from:?}");
    }
}

/// Bodies of nothing, announced in each way there is.
fn empty_bodies(pair: &mut Pair) {
    for framing in [Framing::Nothing, Framing::Length(0), Framing::Unknown] {
        let (mut asking, mut answering) = pair.ask(&Ask::new("POST", "/empty", framing));
        if framing != Framing::Nothing {
            assert!(asking.send(b"", true));
        }
        assert_whole(&answering.rest(), b"");
        answering.respond(200, &Vec::new(), framing);
        if framing != Framing::Nothing {
            assert!(answering.send(b"", true));
        }
        assert_eq!(asking.next_head().status(), 200);
        assert_whole(&asking.rest(), b"");
    }
}

/// HEAD, 204 and 304: lengths are told and nothing follows them.
fn bodiless_responses(pair: &mut Pair) {
    for (method, status, length) in
        [("HEAD", 200, Some("9")), ("HEAD", 200, None), ("GET", 204, None), ("GET", 304, Some("9"))]
    {
        let (mut asking, mut answering) = pair.ask(&Ask::new(method, "/bodiless", Framing::Nothing));
        assert_whole(&answering.rest(), b"");
        let length_field: Vec<_> = length.into_iter().map(|length| ("content-length", length)).collect();
        answering.respond(status, &fields(&length_field), Framing::Nothing);
        let head = asking.next_head();
        assert_eq!((head.status(), head.value("content-length")), (status, length), "{method} {status}");
        assert_whole(&asking.rest(), b"");
    }
}

/// Trailers pass both ways where they have a place, behind bodies and behind none.
fn trailers(pair: &mut Pair) {
    let (up, down) = (fields(&[("x-up", "1"), ("x-sum", "a b")]), fields(&[("x-down", "2"), ("x-sum", "c")]));
    for (known, size) in [(false, 0), (false, 30_000), (true, 30_000)] {
        let framing = framed(known, size);
        let ask = Ask::new("POST", "/trailers", framing).with("te", "trailers");
        let (mut asking, mut answering) = pair.ask(&ask);
        match (known, pair.from.is_http2()) {
            (true, false) => assert!(asking.send(&content(size, 3), true)),
            (_, _) => {
                assert!(asking.send(&content(size, 3), false));
                asking.send_trailers(&up);
            }
        }
        let request = answering.rest();
        assert!(request.bytes == content(size, 3), "{framing:?}");
        assert_eq!(request.end, Ok(Pair::arriving(&up, framing)), "{framing:?}");
        answering.respond(200, &Vec::new(), framing);
        match (known, pair.to.is_http2()) {
            (true, false) => assert!(answering.send(&content(size, 4), true)),
            (_, _) => {
                assert!(answering.send(&content(size, 4), false));
                answering.send_trailers(&down);
            }
        }
        assert_eq!(asking.next_head().status(), 200);
        let response = asking.rest();
        assert!(response.bytes == content(size, 4), "{framing:?}");
        assert_eq!(response.end, Ok(Pair::arriving(&down, framing)), "{framing:?}");
    }
}

// ----- order

/// Each event is with the client before the next is sent.
fn events(pair: &mut Pair) {
    let (mut asking, mut answering) = pair.ask(&Ask::new("GET", "/events", Framing::Nothing));
    answering.respond(200, &fields(&[("content-type", "text/event-stream")]), Framing::Unknown);
    assert_eq!(asking.next_head().value("content-type"), Some("text/event-stream"));
    for n in 0..20 {
        let event = format!("data: {n}\n\n");
        assert!(answering.send(event.as_bytes(), false));
        assert_eq!(asking.piece(), Piece::Data(event.into_bytes()));
    }
    assert!(answering.send(b"", true));
    assert_whole(&asking.rest(), b"");
}

/// A request streams up while its response streams down.
fn both_ways_at_once(pair: &mut Pair) {
    let (mut asking, mut answering) = pair.ask(&Ask::new("POST", "/duplex", Framing::Unknown));
    answering.respond(200, &Vec::new(), Framing::Unknown);
    assert_eq!(asking.next_head().status(), 200);
    for n in 0..20 {
        let bytes = content(1000 * n + 1, 5);
        assert!(asking.send(&bytes, n == 19));
        assert!(answering.exactly(bytes.len()) == bytes, "up {n}");
        assert!(answering.send(&bytes, n == 19));
        assert!(asking.exactly(bytes.len()) == bytes, "down {n}");
    }
    assert_whole(&answering.rest(), b"");
    assert_whole(&asking.rest(), b"");
    drop((asking, answering)); // its connections are free

    let (mut asking, mut answering) = pair.ask(&Ask::new("POST", "/duplex/bulk", Framing::Unknown));
    answering.respond(200, &Vec::new(), Framing::Unknown);
    assert_eq!(asking.next_head().status(), 200);
    echo_a_megabyte(&mut *asking, answering);
}

/// Sends a megabyte and its end, and hears both again, with both directions busy all along.
fn echo_a_megabyte(asking: &mut dyn Asking, mut answering: Box<dyn Answering>) {
    const AHEAD: usize = 48_000;
    let bytes = content(1 << 20, 14);
    thread::scope(|scope| {
        scope.spawn(move || {
            while let Piece::Data(data) = answering.piece() {
                assert!(answering.send(&data, false));
            }
            assert_whole(&answering.rest(), b""); // an end, and no cut
            assert!(answering.send(b"", true));
        });
        let (mut sent, mut heard) = (0, Vec::new());
        for piece in bytes.chunks(16_001) {
            assert!(asking.send(piece, false));
            sent += piece.len();
            while heard.len() + AHEAD < sent {
                let Piece::Data(data) = asking.piece() else { panic!("{} of {sent} bytes", heard.len()) };
                heard.extend(data);
            }
        }
        assert!(asking.send(b"", true));
        let rest = asking.rest();
        assert_eq!(rest.end, Ok(Vec::new()));
        heard.extend(rest.bytes);
        assert!(heard == bytes, "{} bytes, or others", heard.len());
    });
}

/// Exchanges side by side, each answered in its turn and piece by piece, with bodies of their own.
fn side_by_side(pair: &mut Pair) {
    const COUNT: u8 = 8;
    let mut running: Vec<_> = (0..COUNT)
        .map(|n| pair.ask(&Ask::new("POST", &format!("/side/{n}"), framed(n % 2 == 0, 3000))))
        .collect();
    for part in 0..3 {
        for (n, (asking, answering)) in (0..COUNT).zip(&mut running) {
            assert!(asking.send(&content(1000, n), part == 2));
            assert!(answering.exactly(1000) == content(1000, n), "up {n}");
        }
    }
    for (n, (asking, answering)) in (0..COUNT).zip(&mut running).rev() {
        assert_whole(&answering.rest(), b"");
        answering.respond(200, &Vec::new(), framed(n % 2 == 1, 3000));
        assert_eq!(asking.next_head().status(), 200);
    }
    for part in 0..3 {
        for (n, (asking, answering)) in (0..COUNT).zip(&mut running) {
            assert!(answering.send(&content(1000, COUNT + n), part == 2));
            assert!(asking.exactly(1000) == content(1000, COUNT + n), "down {n}");
        }
    }
    for (asking, answering) in &mut running {
        assert_whole(&asking.rest(), b"");
        assert_eq!(
            answering.connection() == 0,
            pair.to.is_http2() || answering.request().target() == "/side/0"
        );
    }
}

/// The body waits for a 100, a 103 comes before the response.
fn interim_responses(pair: &mut Pair) {
    let ask = Ask::new("POST", "/interim", Framing::Length(4)).with("expect", "100-continue");
    let (mut asking, mut answering) = pair.ask(&ask);
    assert_eq!(answering.request().value("expect"), Some("100-continue"));
    answering.interim(100, &Vec::new());
    assert_eq!(asking.next_head().status(), 100);
    assert!(asking.send(b"body", true));
    assert_whole(&answering.rest(), b"body");
    for link in ["</a>", "</b>"] {
        answering.interim(103, &fields(&[("link", link)]));
        let hints = asking.next_head();
        assert_eq!((hints.status(), hints.value("link")), (103, Some(link)));
    }
    answering.respond(200, &Vec::new(), Framing::Length(4));
    assert!(answering.send(b"fine", true));
    assert_eq!(asking.next_head().status(), 200);
    assert_whole(&asking.rest(), b"fine");
}

/// A response that is complete before its request is: whole, and no error of anyone's.
fn early_responses(pair: &mut Pair) {
    for known in [true, false] {
        let path = format!("/early/{known}");
        let (mut asking, mut answering) = pair.ask(&Ask::new("POST", &path, framed(known, 1_000_000)));
        assert!(asking.send(&content(1000, 6), false));
        assert!(answering.exactly(1000) == content(1000, 6));
        answering.respond(413, &Vec::new(), Framing::Length(8));
        assert!(answering.send(b"too much", true));
        let head = asking.next_head();
        assert_eq!(head.status(), 413);
        assert_whole(&asking.rest(), b"too much");
        match asking.broken_off() {
            Cut::Connection(_) => assert!(head.lists("connection", "close"), "{head:?}"),
            Cut::Stream(reason) => assert_eq!(reason, Some(Reason::NO_ERROR), "RFC 9113 §8.1"),
        }
        drop(answering);
        let line = pair.proxy.log_for(&path);
        assert_eq!((line.get("status"), line.get("error"), line.get("detail")), ("413", "", ""));
    }
}

/// The same while megabytes of the upload are on their way, and nobody reads them.
fn early_responses_to_large_uploads(pair: &mut Pair) {
    let mut asking = pair.client.ask(&Ask::new("POST", "/early/large", Framing::Unknown));
    let server = &mut pair.server;
    thread::scope(|scope| {
        let client = scope.spawn(move || {
            let piece = content(100_000, 12);
            let _ = (0..40).all(|_| asking.send(&piece, false)); // as much of it as is wanted
            assert_eq!(asking.next_head().status(), 413);
            assert_whole(&asking.rest(), b"too much");
        });
        let mut answering = server.next();
        assert!(matches!(answering.piece(), Piece::Data(_)));
        answering.respond(413, &Vec::new(), Framing::Length(8));
        assert!(answering.send(b"too much", true));
        client.join().unwrap();
    });
    let line = pair.proxy.log_for("/early/large");
    assert_eq!((line.get("status"), line.get("error"), line.get("detail")), ("413", "", ""));
}

// ----- aborts

/// Runs `abort` beside an exchange on the same connections, where they carry several; that one goes on unharmed.
fn beside_a_neighbour(pair: &mut Pair, abort: impl FnOnce(&mut Pair) -> usize) {
    let ask = Ask::new("POST", "/neighbour", Framing::Unknown);
    let (mut asking, mut answering) = pair.ask(&ask);
    answering.respond(200, &Vec::new(), Framing::Unknown);
    assert_eq!(asking.next_head().status(), 200);
    assert!(answering.send(b"before", false));
    assert_eq!(asking.exactly(6), b"before");
    let connection = abort(pair);
    assert_eq!(connection == answering.connection(), pair.to.is_http2(), "the same connection");
    assert!(asking.send(b"up", true));
    assert_whole(&answering.rest(), b"up");
    assert!(answering.send(b"after", true));
    assert_whole(&asking.rest(), b"after");
    pair.proxy.assert_healthy();
}

#[track_caller]
fn assert_logged(pair: &Pair, path: &str, status: &str, detail: &str) {
    let line = pair.proxy.log_for(path);
    assert_eq!((line.get("status"), line.get("detail")), (status, detail), "{line:?}");
}

/// The client leaves in the middle of a response.
fn client_leaves_a_response(pair: &mut Pair) {
    for (known, hard) in EVERY_PAIR {
        let abort = Abort::of(hard);
        beside_a_neighbour(pair, |pair| {
            let path = format!("/left/response/{known}/{hard}");
            let (mut asking, mut answering) = pair.ask(&Ask::new("GET", &path, Framing::Nothing));
            answering.respond(200, &Vec::new(), framed(known, 1_000_000));
            assert!(answering.send(&content(1000, 7), false));
            assert_eq!(asking.next_head().status(), 200);
            assert!(asking.exactly(1000) == content(1000, 7));
            asking.abort(abort);
            Pair::assert_cut(answering.broken_off(), pair.to, pair.from, abort);
            assert_logged(pair, &path, "200", "client-gone");
            answering.connection()
        });
    }
}

/// The client leaves a response that it has stopped reading: an origin that cannot send learns of it too.
fn client_leaves_a_stalled_response(pair: &mut Pair) {
    for hard in [true, false] {
        beside_a_neighbour(pair, |pair| {
            let path = format!("/left/stalled/{hard}");
            let (mut asking, mut answering) = pair.ask(&Ask::new("GET", &path, Framing::Nothing));
            answering.respond(200, &Vec::new(), Framing::Unknown);
            assert_eq!(asking.next_head().status(), 200);
            let connection = answering.connection();
            thread::scope(|scope| {
                let origin = scope.spawn(move || {
                    let piece = content(100_000, 13);
                    while answering.send(&piece, false) {}
                });
                assert!(matches!(asking.piece(), Piece::Data(_)));
                asking.abort(Abort::of(hard));
                origin.join().unwrap();
            });
            assert_logged(pair, &path, "200", "client-gone");
            connection
        });
    }
}

/// The client leaves in the middle of its upload.
fn client_leaves_an_upload(pair: &mut Pair) {
    for (known, hard) in EVERY_PAIR {
        let abort = Abort::of(hard);
        beside_a_neighbour(pair, |pair| {
            let path = format!("/left/upload/{known}/{hard}");
            let (mut asking, mut answering) = pair.ask(&Ask::new("POST", &path, framed(known, 5000)));
            assert!(asking.send(&content(1000, 8), false));
            assert!(answering.exactly(1000) == content(1000, 8));
            asking.abort(abort);
            let Piece::Cut(cut) = answering.piece() else { panic!("{path}: an upload that looks whole") };
            Pair::assert_cut(cut, pair.to, pair.from, abort);
            assert_logged(pair, &path, "499", "client-gone");
            answering.connection()
        });
    }
}

/// The origin breaks off in the middle of its response: the client sees that it is not whole.
fn origin_leaves_a_response(pair: &mut Pair) {
    for (known, hard) in EVERY_PAIR {
        let abort = Abort::of(hard);
        beside_a_neighbour(pair, |pair| {
            let path = format!("/cut/{known}/{hard}");
            let (mut asking, mut answering) = pair.ask(&Ask::new("GET", &path, Framing::Nothing));
            answering.respond(200, &Vec::new(), framed(known, 5000));
            assert!(answering.send(&content(1000, 9), false));
            assert_eq!(asking.next_head().status(), 200);
            assert!(asking.exactly(1000) == content(1000, 9));
            let connection = answering.connection();
            answering.abort(abort);
            let Piece::Cut(cut) = asking.piece() else { panic!("{path}: a response that looks whole") };
            Pair::assert_cut(cut, pair.from, pair.to, abort);
            assert_logged(pair, &path, "200", pair.cut_by_origin(abort));
            connection
        });
    }
}

/// The origin breaks off without a response. A POST: no one repeats it.
fn origin_leaves_a_request(pair: &mut Pair) {
    for (whole, hard) in EVERY_PAIR {
        let abort = Abort::of(hard);
        beside_a_neighbour(pair, |pair| {
            let path = format!("/unanswered/{whole}/{hard}");
            let (mut asking, mut answering) = pair.ask(&Ask::new("POST", &path, Framing::Length(2000)));
            assert!(asking.send(&content(1000, 10), false));
            if whole {
                assert!(asking.send(&content(1000, 10), true));
                assert_eq!(answering.rest().bytes.len(), 2000);
            } else {
                assert!(answering.exactly(1000) == content(1000, 10));
            }
            let connection = answering.connection();
            answering.abort(abort);
            let head = asking.next_head();
            assert_eq!(head.status(), 502);
            assert!(head.value("proxy-status").unwrap().contains("connection_terminated"), "{head:?}");
            assert!(asking.rest().end.is_ok(), "an answer of our own is whole");
            assert_logged(pair, &path, "502", pair.left_by_origin(hard));
            connection
        });
    }
}

// ----- tunnels

/// A WebSocket carries bytes both ways, and each way has an end of its own.
fn websockets(pair: &mut Pair) {
    let (mut asking, mut answering) = pair.ask(&Ask::websocket("/websocket"));
    answering.switch();
    assert_eq!(asking.next_head().status(), if pair.from.is_http2() { 200 } else { 101 });
    for size in [1, 125, 126, 16_384, 40_000] {
        let message = content(size, 11);
        assert!(asking.send(&message, false));
        let heard = answering.exactly(size);
        assert!(heard == message, "up {size}");
        assert!(answering.send(&heard, false));
        assert!(asking.exactly(size) == message, "down {size}");
    }
    assert!(asking.send(b"bye", true));
    assert_whole(&answering.rest(), b"bye");
    assert!(answering.send(b"and you", true));
    assert_whole(&asking.rest(), b"and you");
    let line = pair.proxy.log_for("/websocket");
    assert_eq!((line.get("tunnel"), line.get("detail")), ("true", ""));

    let (mut asking, mut answering) = pair.ask(&Ask::websocket("/websocket/bulk"));
    answering.switch();
    assert!(matches!(asking.next_head().status(), 101 | 200));
    echo_a_megabyte(&mut *asking, answering);
    let line = pair.proxy.log_for("/websocket/bulk");
    assert_eq!((line.get("bytes_in"), line.get("bytes_out")), ("1048576", "1048576"));
}

// ----- all of it

type Case = fn(&mut Pair);

const CASES: [(&str, Case); 16] = [
    ("bodies", bodies),
    ("empty bodies", empty_bodies),
    ("bodiless responses", bodiless_responses),
    ("trailers", trailers),
    ("events", events),
    ("both ways at once", both_ways_at_once),
    ("side by side", side_by_side),
    ("interim responses", interim_responses),
    ("early responses", early_responses),
    ("early responses to large uploads", early_responses_to_large_uploads),
    ("the client leaves a response", client_leaves_a_response),
    ("the client leaves a stalled response", client_leaves_a_stalled_response),
    ("the client leaves an upload", client_leaves_an_upload),
    ("the origin leaves a response", origin_leaves_a_response),
    ("the origin leaves a request", origin_leaves_a_request),
    ("websockets", websockets),
];

/// Every case on one proxy, one after another.
fn all_cases(from: Speech, to: Speech) {
    let mut pair = Pair::new(from, to);
    for (name, case) in CASES {
        eprintln!("--- {from:?} to {to:?}: {name}"); // seen when it fails
        case(&mut pair);
    }
    pair.proxy.assert_healthy();
}

#[test]
fn http1_to_http1() {
    all_cases(Speech::Http1, Speech::Http1);
}

#[test]
fn http1_to_http1_tls() {
    all_cases(Speech::Http1, Speech::Http1Tls);
}

#[test]
fn http1_to_http2_tls() {
    all_cases(Speech::Http1, Speech::Http2Tls);
}

#[test]
fn http1_to_h2c() {
    all_cases(Speech::Http1, Speech::H2c);
}

#[test]
fn http1_tls_to_http1() {
    all_cases(Speech::Http1Tls, Speech::Http1);
}

#[test]
fn http1_tls_to_http1_tls() {
    all_cases(Speech::Http1Tls, Speech::Http1Tls);
}

#[test]
fn http1_tls_to_http2_tls() {
    all_cases(Speech::Http1Tls, Speech::Http2Tls);
}

#[test]
fn http1_tls_to_h2c() {
    all_cases(Speech::Http1Tls, Speech::H2c);
}

#[test]
fn http2_tls_to_http1() {
    all_cases(Speech::Http2Tls, Speech::Http1);
}

#[test]
fn http2_tls_to_http1_tls() {
    all_cases(Speech::Http2Tls, Speech::Http1Tls);
}

#[test]
fn http2_tls_to_http2_tls() {
    all_cases(Speech::Http2Tls, Speech::Http2Tls);
}

#[test]
fn http2_tls_to_h2c() {
    all_cases(Speech::Http2Tls, Speech::H2c);
}

#[test]
fn h2c_to_http1() {
    all_cases(Speech::H2c, Speech::Http1);
}

#[test]
fn h2c_to_http1_tls() {
    all_cases(Speech::H2c, Speech::Http1Tls);
}

#[test]
fn h2c_to_http2_tls() {
    all_cases(Speech::H2c, Speech::Http2Tls);
}

#[test]
fn h2c_to_h2c() {
    all_cases(Speech::H2c, Speech::H2c);
}
