//! Ambiguous bytes are refused, from either side, however they are cut into segments (design §5, Strictness).

use crate::harness::*;

/// Request heads and the statuses they may be refused with: no parser guesses, so none of them reaches the origin.
const BAD_REQUESTS: &[(&str, &str, &[u16])] = &[
    // Host
    ("no host", "GET / HTTP/1.1\r\n\r\n", &[400]),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400]),
    ("host with userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", &[400]),
    ("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400]),
    ("host as a list", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", &[400]),
    ("host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]),
    ("host with a bad port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", &[400]),
    ("authority differs from host", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", &[400]),
    ("authority with userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", &[400]),
    // line ends, white space, controls
    ("bare LF after all lines", "GET / HTTP/1.1\nHost: a\n\n", &[400]),
    ("bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", &[400]),
    ("bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", &[400]),
    ("bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", &[400]),
    ("bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", &[400]),
    ("bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", &[400]),
    ("fold with a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", &[400]),
    ("space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", &[400]),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", &[400]),
    ("control in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n", &[400]),
    ("DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n", &[400]),
    ("space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400]),
    ("tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", &[400]),
    ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", &[400]),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", &[400]),
    ("name that is no token", "GET / HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n", &[400]),
    // request line
    ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("tab in the target", "GET /\tb HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("control in the target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("HTTP/0.9", "GET /\r\n\r\n", &[400]),
    ("no version digits", "GET / HTTP\r\nHost: a\r\n\r\n", &[400]),
    ("lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", &[400, 505]),
    ("two-digit version", "GET / HTTP/11.1\r\nHost: a\r\n\r\n", &[400, 505]),
    ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[505]),
    ("HTTP/3.0", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", &[505]),
    ("target without a slash", "GET foo HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("asterisk with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    ("CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &[405]),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
    ("not HTTP at all", "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03\r\n\r\n", &[400]),
    // Content-Length
    ("length twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", &[400]),
    (
        "lengths differ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        &[400],
    ),
    ("length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", &[400]),
    ("length with +", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", &[400]),
    ("length with -", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", &[400]),
    ("length in hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", &[400]),
    ("length with junk", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1a\r\n\r\nx", &[400]),
    ("length with a space", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx", &[400]),
    ("length empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", &[400]),
    (
        "length beyond 64 bits",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        &[400, 413],
    ),
    // Transfer-Encoding
    (
        "length and chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "chunked and length",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    (
        "two codings fields",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    ("coding empty", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", &[400]),
    ("chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", &[400]),
    ("coding unknown", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", &[501]),
    ("coding without chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", &[400, 501]),
    (
        "coding that looks alike",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        &[400, 501],
    ),
    ("coding malformed", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", &[400, 501]),
    ("coding after VT", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", &[400]),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
];

/// Chunked request bodies that are refused after a good head.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("size empty", "\r\n\r\n"),
    ("size empty, extension", ";a\r\nx\r\n0\r\n\r\n"),
    ("size not hex", "g\r\nx\r\n0\r\n\r\n"),
    ("size with +", "+1\r\nx\r\n0\r\n\r\n"),
    ("size with -", "-1\r\nx\r\n0\r\n\r\n"),
    ("size with 0x", "0x1\r\nx\r\n0\r\n\r\n"),
    ("size after a space", " 1\r\nx\r\n0\r\n\r\n"),
    ("size with junk", "1 1\r\nx\r\n0\r\n\r\n"),
    ("size of 17 digits", "00000000000000001\r\nx\r\n0\r\n\r\n"),
    ("size line with bare LF", "1\nx\r\n0\r\n\r\n"),
    ("size line with bare CR", "1\rx\r\n0\r\n\r\n"),
    ("extension with bare LF", "1;a\nx\r\n0\r\n\r\n"),
    ("data longer than its size", "1\r\nxyz\r\n0\r\n\r\n"),
    ("data without CRLF", "1\r\nx0\r\n\r\n"),
    ("data with bare LF", "1\r\nx\n0\r\n\r\n"),
    ("trailer with bare LF", "0\r\nA: b\n\r\n"),
    ("trailer with obs-fold", "0\r\nA: b\r\n c\r\n\r\n"),
    ("trailer with space before the colon", "0\r\nA : b\r\n\r\n"),
    ("trailer with NUL", "0\r\nA: b\0\r\n\r\n"),
    ("end with bare LF", "0\r\n\n"),
];

/// Responses that are no responses.
const BAD_RESPONSES: &[(&str, &str)] = &[
    ("nothing", ""),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
    ("not HTTP", "220 mail.test ESMTP\r\n\r\n"),
    ("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status 099", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("bare LF after a field", "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\nok"),
    ("bare CR", "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok"),
    ("obs-fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL", "HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 2\r\n\r\nok"),
    ("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    ("no colon", "HTTP/1.1 200 OK\r\nA\r\nContent-Length: 2\r\n\r\nok"),
    (
        "length and chunked",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    ("lengths differ", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    ("length list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
    ("length with +", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("length empty", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok"),
    ("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("coding unknown", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("coding empty", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n"),
    ("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "101 that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
];

/// Sizes of the pieces in which each case is sent: all at once, and byte by byte.
const PIECES: [usize; 2] = [usize::MAX, 1];

/// Sends a request that must be refused, and reads the refusal, which ends the connection.
#[track_caller]
fn assert_refused(proxy: &Proxy, case: &str, request: &[u8], piece: usize, statuses: &[u16]) {
    let mut client = proxy.client();
    client.send_pieces(request, piece);
    let response = client.response();
    let status = response.head.status();
    assert!(statuses.contains(&status), "{case}: {status} is none of {statuses:?}");
    assert!(response.body.complete, "{case}");
    client.assert_closed();
}

/// Each bad head is refused with its status, whole or byte by byte; the origin sees none, neighbours none either.
#[test]
fn bad_request_heads_are_refused() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::of(&origin);
    let mut neighbour = proxy.client();
    for (case, request, statuses) in BAD_REQUESTS {
        for piece in PIECES {
            assert_refused(&proxy, case, request.as_bytes(), piece, statuses);
        }
        assert_eq!(neighbour.exchange(get("/neighbour")).text(), "fine", "after {case}");
    }
    assert_eq!(origin.heads().len(), BAD_REQUESTS.len(), "the neighbour's requests and no other");
    proxy.assert_healthy();
}

/// A bad request behind a good one: the good one is answered, then the bad one.
#[test]
fn bad_request_behind_a_good_one() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/") + "GET / HTTP/1.1\r\n\r\n" + &get("/never"));
    assert_eq!(client.response().text(), "fine");
    assert_eq!(client.response().head.status(), 400);
    client.assert_closed();
    assert_eq!(origin.heads().len(), 1);
}

/// Limits of heads: 414, 431 and nothing more.
#[test]
fn oversized_heads_are_refused() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n));
    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n));
    let value = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(n));
    let endless = "GET / HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &"y".repeat(200_000);
    for piece in [usize::MAX, 997] {
        assert_refused(&proxy, "target", target(8 * 1024).as_bytes(), piece, &[414]);
        assert_refused(&proxy, "fields", fields(100).as_bytes(), piece, &[431]);
        assert_refused(&proxy, "value", value(32 * 1024).as_bytes(), piece, &[431]);
        assert_refused(&proxy, "endless value", endless.as_bytes(), piece, &[431]);
    }
    for good in [target(8 * 1024 - 1), fields(99), value(31 * 1024)] {
        assert_eq!(proxy.client().exchange(good).text(), "fine");
    }
    assert_eq!(origin.heads().len(), 3);
}

/// The limits are flags.
#[test]
fn limits_are_flags() {
    let origin = Origin::serve(|_| ok("fine"));
    let flags = [
        "--max-target-bytes",
        "100",
        "--max-head-bytes",
        "1KiB",
        "--max-fields",
        "5",
        "--max-body-bytes",
        "10",
    ];
    let proxy = Proxy::with(&origin, &flags);
    let cases = [
        (get(&format!("/{}", "x".repeat(100))), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(1024)), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5)), 431),
        (post("/", "01234567890"), 413),
    ];
    for (request, status) in cases {
        assert_refused(&proxy, "limit", request.as_bytes(), usize::MAX, &[status]);
    }
    assert_eq!(proxy.client().exchange(post("/", "0123456789")).text(), "fine");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n";
    assert_eq!(proxy.client().exchange(chunked).head.status(), 413);
}

/// A bad chunk ends the request: 400, and the origin never sees it complete.
#[test]
fn bad_chunks_are_refused() {
    let (tx, rx) = inbox();
    let origin = Origin::start(move |mut conn| {
        while let Some(request) = conn.request() {
            if !request.body.complete {
                return;
            }
            tx.send(()).unwrap();
            conn.send(ok("taken for complete"));
        }
    });
    let mut proxy = Proxy::of(&origin);
    for (case, body) in BAD_CHUNKS {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        for piece in PIECES {
            assert_refused(&proxy, case, request.as_bytes(), piece, &[400]);
        }
    }
    assert!(rx.is_empty(), "a bad body looked complete");
    proxy.assert_healthy();
}

/// A bad response becomes 502, whole or byte by byte, and its connection is not used again.
#[test]
fn bad_responses_become_502() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        let mut path = head.target().split('/').skip(1);
        let index: usize = path.next().unwrap().parse().unwrap();
        let piece: usize = path.next().unwrap().parse().unwrap();
        conn.send_pieces(BAD_RESPONSES[index].1.as_bytes(), piece);
    });
    let mut proxy = Proxy::of(&origin);
    let mut requests = 0;
    for (index, (case, _)) in BAD_RESPONSES.iter().enumerate() {
        for piece in PIECES {
            let response = proxy.get(&format!("/{index}/{piece}"));
            assert_eq!(response.head.status(), 502, "{case} in pieces of {piece}");
            assert!(response.body.complete, "{case}");
            requests += 1;
        }
    }
    assert_eq!(origin.accepted(), requests, "one connection for each");
    proxy.assert_healthy();
}

/// Heads beyond the limits are bad responses too.
#[test]
fn oversized_response_heads_become_502() {
    let origin = Origin::serve(|request| match request.head.target() {
        "/fields" => format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(100)).into(),
        _ => format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(33 * 1024)).into(),
    });
    let proxy = Proxy::of(&origin);
    for path in ["/fields", "/bytes"] {
        assert_eq!(proxy.get(path).head.status(), 502, "{path}");
    }
}

/// A bad chunk after a response has begun: the client sees a cut, never a final chunk.
#[test]
fn bad_response_chunks_are_cuts() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut conn| {
            let head = conn.request_head().unwrap();
            let index: usize = head.target()[1..].parse().unwrap();
            conn.send(CHUNKED.to_owned() + "4\r\ngood\r\n");
            gate.pass();
            conn.send(BAD_CHUNKS[index].1);
            conn.stirs_within(PATIENCE);
        }
    });
    let mut proxy = Proxy::of(&origin);
    for (index, (case, _)) in BAD_CHUNKS.iter().enumerate() {
        let mut client = proxy.client();
        client.send(get(&format!("/{index}")));
        assert_eq!(client.head().status(), 200, "{case}");
        assert_eq!(client.chunk(), Chunk::Data(b"good".to_vec()), "{case}");
        gate.open();
        assert!(!client.chunked().complete, "{case} looked complete");
    }
    proxy.assert_healthy();
}

/// A bad chunk in the same segment as the head: 502 or a cut, never a whole 200.
#[test]
fn bad_response_chunks_beside_their_head() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        let index: usize = head.target()[1..].parse().unwrap();
        conn.send(CHUNKED.to_owned() + BAD_CHUNKS[index].1);
        conn.stirs_within(PATIENCE);
    });
    let proxy = Proxy::of(&origin);
    for (index, (case, _)) in BAD_CHUNKS.iter().enumerate() {
        let response = proxy.get(&format!("/{index}"));
        let verdict = (response.head.status(), response.body.complete);
        assert!(matches!(verdict, (502, true) | (200, false)), "{case}: {verdict:?}");
    }
}
