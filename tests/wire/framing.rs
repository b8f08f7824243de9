//! Message boundaries: every framing through every pair of versions, and what happens when a peer lies.

use crate::harness::*;

/// Response framings an origin may use: name, fields, body as sent, whether it closes afterwards.
const RESPONSES: [(&str, &str, &str, bool); 5] = [
    ("length", "Content-Length: 11\r\n", "hello world", false),
    ("length zero", "Content-Length: 0\r\n", "", false),
    (
        "chunked",
        "Transfer-Encoding: chunked\r\n",
        "6\r\nhello \r\n5;ext=\"a b\"\r\nworld\r\n0\r\n\r\n",
        false,
    ),
    ("until close", "", "hello world", true),
    ("until close, empty", "", "", true),
];

/// An origin that answers each request with one of [`RESPONSES`], chosen by `/INDEX/VERSION`.
fn framing_origin() -> Origin {
    Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let mut path = request.head.target().split('/').skip(1);
            let index: usize = path.next().unwrap().parse().unwrap();
            let version = path.next().unwrap();
            let (_, fields, body, closes) = RESPONSES[index];
            conn.send(format!("HTTP/{version} 200 OK\r\n{fields}\r\n{body}"));
            if closes || version == "1.0" {
                return;
            }
        }
    })
}

/// Every response framing x version of the origin x version of the client.
#[test]
fn responses_in_every_combination() {
    let origin = framing_origin();
    let proxy = Proxy::of(&origin);
    for (index, (name, _, sent, _)) in RESPONSES.iter().enumerate() {
        let expected: &[u8] = if sent.is_empty() { b"" } else { b"hello world" };
        for (theirs, ours) in [("1.1", "1.1"), ("1.1", "1.0"), ("1.0", "1.1"), ("1.0", "1.0")] {
            if *name == "chunked" && theirs == "1.0" {
                continue; // not allowed, see strictness
            }
            let case = format!("{name} from HTTP/{theirs} to HTTP/{ours}");
            let mut client = proxy.client();
            let request = format!("GET /{index}/{theirs} HTTP/{ours}\r\nHost: wire.test\r\n\r\n");
            let response = client.exchange(&request);
            assert_eq!(response.head.status(), 200, "{case}");
            assert_eq!((response.body.bytes.as_slice(), response.body.complete), (expected, true), "{case}");
            if ours == "1.0" {
                assert!(!response.head.has("transfer-encoding"), "{case}: {:?}", response.head);
                client.assert_closed();
            } else {
                assert!(!response.head.lists("connection", "close"), "{case}: {:?}", response.head);
                assert_eq!(client.exchange(&request).body.bytes, expected, "{case}, again");
            }
        }
    }
}

/// Request bodies arrive with their framing; extensions of chunks do not.
#[test]
fn requests_in_every_framing() {
    let origin = Origin::serve(|request| ok(&String::from_utf8_lossy(&request.body.bytes)));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    let bodies = [
        ("Content-Length: 11\r\n", "hello world", "hello world"),
        ("Content-Length: 0\r\n", "", ""),
        ("", "", ""),
        (
            "Transfer-Encoding: chunked\r\n",
            "6;a=b;c\r\nhello \r\n0005\r\nworld\r\n0;last\r\n\r\n",
            "hello world",
        ),
        ("Transfer-Encoding: Chunked\r\n", "0\r\n\r\n", ""),
    ];
    for (fields, sent, expected) in bodies {
        let request = format!("PUT /up HTTP/1.1\r\nHost: wire.test\r\n{fields}\r\n{sent}");
        assert_eq!(client.exchange(request).text(), expected, "{fields}{sent}");
    }
    let heads = origin.heads_for("/up");
    assert_eq!(heads[0].content_length(), Some(11));
    assert!(heads[2].fields.iter().all(|(n, _)| !n.eq_ignore_ascii_case("transfer-encoding")));
    assert!(heads[3].lists("transfer-encoding", "chunked") && !heads[3].has("content-length"));
}

/// HTTP/1.0 clients may send bodies of known length.
#[test]
fn request_body_from_http_1_0() {
    let origin = Origin::serve(|request| ok(&String::from_utf8_lossy(&request.body.bytes)));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    let response = client.exchange("POST / HTTP/1.0\r\nContent-Length: 5\r\nHost: wire.test\r\n\r\nhello");
    assert_eq!(response.text(), "hello");
    client.assert_closed();
}

/// Trailers pass both ways.
#[test]
fn trailers_pass_both_ways() {
    let (tx, rx) = inbox();
    let origin = Origin::start(move |mut conn| {
        let request = conn.request().unwrap();
        tx.send(request.body).unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTrailer: X-Down\r\nTransfer-Encoding: chunked\r\n\r\n");
        conn.send("2\r\nok\r\n0\r\nX-Down: 2\r\n\r\n");
    });
    let proxy = Proxy::of(&origin);
    let response = proxy.client().exchange(
        "POST / HTTP/1.1\r\nHost: wire.test\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Up\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Up: 1\r\nX-Client-Cert-Subject: CN=root\r\n\r\n",
    );
    let request = rx.take();
    assert_eq!(request.trailer("x-up"), Some("1"));
    assert_eq!(request.trailer("x-client-cert-subject"), None, "who a client is, it does not say itself");
    assert_eq!(response.body.trailer("x-down"), Some("2"));
}

/// Responses without a body by nature: the fields that speak of one are kept, the connection is too.
#[test]
fn bodiless_responses_keep_the_connection() {
    let origin = Origin::serve(|request| match request.head.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: \"a\"\r\n\r\n".to_vec(),
        "/chunked" => CHUNKED.into(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec(),
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    for (method, path, length) in [
        ("GET", "/204", None),
        ("GET", "/304", Some(10)),
        ("HEAD", "/length", Some(10)),
        ("HEAD", "/chunked", None),
    ] {
        for _ in 0..2 {
            let response = client.exchange(format!("{method} {path} HTTP/1.1\r\nHost: wire.test\r\n\r\n"));
            assert_eq!(response.head.content_length(), length, "{method} {path}");
        }
    }
    assert_eq!(origin.accepted(), 1, "the upstream connection is kept too");
}

/// Three requests in one write; the answers come in order, each before the next request is forwarded.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::serve(|request| ok(request.head.target()));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/1") + &post("/2", "a body") + &get("/3") + &post("/4", "") + &get("/5"));
    for path in ["/1", "/2", "/3", "/4", "/5"] {
        assert_eq!(client.response().text(), path);
    }
}

/// More pipelined requests than any buffer holds.
#[test]
fn deep_pipelines_are_answered_in_order() {
    const REQUESTS: usize = 2000;
    let origin = Origin::serve(|request| ok(request.head.target()));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || (0..REQUESTS).for_each(|n| writer.send(get(&format!("/{n}")))));
    for number in 0..REQUESTS {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    sender.join().unwrap();
}

/// 10 000 requests over one client connection need hardly more than one upstream connection.
#[test]
fn ten_thousand_sequential_requests_on_one_connection() {
    let origin = Origin::serve(|_| ok("x"));
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    for number in 0..10_000 {
        assert_eq!(client.exchange(get("/")).text(), "x", "request {number}");
    }
    assert!(origin.accepted() <= 3, "{} upstream connections", origin.accepted());
}

/// A head split at any byte is the same head.
#[test]
fn heads_and_bodies_may_be_split_anywhere() {
    let origin = Origin::serve(|request| ok(&String::from_utf8_lossy(&request.body.bytes)));
    let proxy = Proxy::of(&origin);
    let request = "POST / HTTP/1.1\r\nHost: wire.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n";
    let mut client = proxy.client();
    for at in 1..request.len() {
        client.send(&request[..at]);
        client.send(&request[at..]);
        assert_eq!(client.response().text(), "ok", "split at {at}");
    }
}

/// An origin that closes short of its own framing: the client never sees a complete message.
#[test]
fn short_responses_never_look_complete() {
    let origin = Origin::start(|mut conn| match conn.request_head().unwrap().target() {
        "/length" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
        "/chunked" => conn.send(CHUNKED.to_owned() + "5\r\nshort\r\n"),
        "/in-chunk" => conn.send(CHUNKED.to_owned() + "a\r\nshort"),
        "/no-trailer-end" => conn.send(CHUNKED.to_owned() + "5\r\nshort\r\n0\r\n"),
        other => panic!("no script for {other}"),
    });
    let proxy = Proxy::of(&origin);
    for path in ["/length", "/chunked", "/in-chunk", "/no-trailer-end"] {
        let mut client = proxy.client();
        let response = client.exchange(get(path));
        assert_eq!(
            (response.body.bytes.as_slice(), response.body.complete),
            (&b"short"[..], false),
            "{path}"
        );
        assert_eq!(proxy.log_for(path).get("status"), "200");
        assert_ne!(proxy.log_for(path).get("error"), "", "{path}");
    }
}

/// A close-delimited response that ends in RST was cut, so its chunked form has no final chunk.
#[test]
fn reset_of_a_close_delimited_response_is_a_cut() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut conn| {
            conn.request_head().unwrap();
            conn.send("HTTP/1.1 200 OK\r\n\r\nshort");
            gate.pass();
            conn.reset();
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/"));
    let head = client.head();
    assert!(head.lists("transfer-encoding", "chunked"), "{head:?}");
    assert_eq!(client.chunk(), Chunk::Data(b"short".to_vec()));
    gate.open();
    assert_eq!(client.chunk(), Chunk::Cut);
}

/// A client that ends short of its own framing: the origin never sees a complete request.
#[test]
fn short_requests_never_look_complete() {
    let (tx, rx) = inbox();
    let origin = Origin::start(move |mut conn| tx.send(conn.request().unwrap().body.complete).unwrap());
    let proxy = Proxy::of(&origin);
    for framing in ["Content-Length: 10\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: wire.test\r\n{framing}"));
        client.half_close();
        assert!(!rx.take(), "{framing}");
        let (answer, _) = client.until_end();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{framing}");
    }
}

/// Bytes behind a response are nobody's: the connection that brought them serves no other request.
#[test]
fn bytes_behind_a_response_never_reach_the_next_request() {
    let forged = "HTTP/1.1 200 OK\r\nX-Forged: yes\r\nContent-Length: 6\r\n\r\nforged";
    let firsts = [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"),
        ("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntrue\r\n0\r\n\r\n"),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 62\r\n\r\n"),
    ];
    for (name, first) in firsts {
        // Bytes that come later race with the next request, so they get more tries.
        for together in [true, false, false, false, false, false] {
            let (answered, forge) = (Gate::new(), Gate::new());
            let origin = Origin::start({
                let (answered, forge) = (answered.clone(), forge.clone());
                move |mut conn| {
                    conn.request_head().unwrap();
                    if conn.number > 0 {
                        return conn.send(ok("second"));
                    }
                    match together {
                        true => conn.send(first.to_owned() + forged),
                        false => {
                            conn.send(first);
                            forge.pass();
                            conn.send(forged);
                            answered.open();
                        }
                    }
                    conn.stirs_within(PATIENCE);
                }
            });
            let proxy = Proxy::of(&origin);
            let mut client = proxy.client();
            assert!(!client.exchange(get("/")).head.has("x-forged"), "{name}");
            if !together {
                forge.open();
                answered.pass();
            }
            let second = proxy.get("/");
            assert_eq!(second.text(), "second", "{name}, together: {together}");
            assert_eq!(origin.accepted(), 2, "{name}, together: {together}");
        }
    }
}
