//! Promise 1: what the origin flushes reaches the client at once, whatever the framing, for as long as it lasts.

use std::thread;
use std::time::Duration;

use crate::harness::*;

/// How a body is delimited on the origin's side, and how its pieces look.
const FRAMINGS: [(&str, &str); 3] = [
    ("chunked", CHUNKED),
    ("length", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"),
    ("until close", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
];

/// One byte of a body in the given framing.
fn framed_byte(framing: &str, byte: u8) -> Vec<u8> {
    match framing {
        "chunked" => format!("1\r\n{}\r\n", char::from(byte)).into_bytes(),
        _ => vec![byte],
    }
}

/// The origin's handler waits until the client has its first event.
#[test]
fn event_is_readable_while_the_handler_is_open() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut conn| {
            conn.request_head().unwrap();
            conn.send(CHUNKED);
            conn.send(chunk("data: 1\n\n"));
            gate.pass();
            conn.send(chunk("data: 2\n\n") + "0\r\n\r\n");
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/events"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.chunk(), Chunk::Data(b"data: 1\n\n".to_vec()));
    gate.open();
    let rest = client.chunked();
    assert_eq!((rest.bytes.as_slice(), rest.complete), (&b"data: 2\n\n"[..], true));
}

/// The origin sends no body byte before the client has the head.
#[test]
fn head_goes_out_before_any_body_byte() {
    for (framing, head) in FRAMINGS {
        let gate = Gate::new();
        let origin = Origin::start({
            let gate = gate.clone();
            move |mut conn| {
                conn.request_head().unwrap();
                conn.send(head);
                gate.pass();
                (0..20).for_each(|_| conn.send(framed_byte(framing, b'x')));
                if framing == "chunked" {
                    conn.send("0\r\n\r\n");
                }
            }
        });
        let proxy = Proxy::of(&origin);
        let mut client = proxy.client();
        client.send(get("/"));
        let head = client.head();
        assert_eq!(head.status(), 200, "{framing}");
        gate.open();
        let body = client.response_body("GET", &head);
        assert_eq!((body.bytes, body.complete), (vec![b'x'; 20], true), "{framing}");
    }
}

/// The origin sends each byte only after the client read the one before.
#[test]
fn single_bytes_of_a_response_pass_at_once() {
    for (framing, head) in FRAMINGS {
        for version in ["1.1", "1.0"] {
            let gate = Gate::new();
            let origin = Origin::start({
                let gate = gate.clone();
                move |mut conn| {
                    conn.request_head().unwrap();
                    conn.send(head);
                    for byte in b'a'..b'a' + 20 {
                        conn.send(framed_byte(framing, byte));
                        gate.pass();
                    }
                }
            });
            let proxy = Proxy::of(&origin);
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/{version}\r\nHost: wire.test\r\n\r\n"));
            let head = client.head();
            for byte in b'a'..b'a' + 20 {
                let got = match head.has("transfer-encoding") {
                    true => client.chunk(),
                    false => Chunk::Data(client.exactly(1)),
                };
                assert_eq!(got, Chunk::Data(vec![byte]), "{framing} to HTTP/{version}");
                gate.open();
            }
        }
    }
}

/// The client sends each byte only after the origin read the one before.
#[test]
fn single_bytes_of_a_request_pass_at_once() {
    for (framing, field) in [("length", "Content-Length: 20"), ("chunked", "Transfer-Encoding: chunked")] {
        let gate = Gate::new();
        let origin = Origin::start({
            let gate = gate.clone();
            move |mut conn| {
                let head = conn.request_head().unwrap();
                gate.open();
                for byte in b'a'..b'a' + 20 {
                    let got = match head.has("transfer-encoding") {
                        true => conn.chunk(),
                        false => Chunk::Data(conn.exactly(1)),
                    };
                    assert_eq!(got, Chunk::Data(vec![byte]));
                    gate.open();
                }
                if head.has("transfer-encoding") {
                    assert_eq!(conn.chunk(), Chunk::Last(Vec::new()));
                }
                conn.send(ok("all of it"));
            }
        });
        let proxy = Proxy::of(&origin);
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: wire.test\r\n{field}\r\n\r\n"));
        gate.pass();
        for byte in b'a'..b'a' + 20 {
            client.send(framed_byte(framing, byte));
            gate.pass();
        }
        if framing == "chunked" {
            client.send("0\r\n\r\n");
        }
        assert_eq!(client.response().text(), "all of it", "{framing}");
    }
}

/// Both bodies at once: the response to each piece of the request comes before the next piece is sent.
#[test]
fn request_and_response_bodies_flow_at_once() {
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send(CHUNKED);
        while let Chunk::Data(data) = conn.chunk() {
            conn.send(chunk(&String::from_utf8(data).unwrap()));
        }
        conn.send("0\r\n\r\n");
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send("POST /echo HTTP/1.1\r\nHost: wire.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    for number in 0..20 {
        let text = format!("piece {number}");
        client.send(chunk(&text));
        assert_eq!(client.chunk(), Chunk::Data(text.into_bytes()));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), Chunk::Last(Vec::new()));
}

/// One event each 300 ms for 2.4 s, while every timeout that could hit is 1 s.
#[test]
fn a_stream_outlives_every_timeout_it_does_not_miss() {
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send(CHUNKED);
        for number in 0..8 {
            conn.send(chunk(&format!("data: {number}\n\n")));
            thread::sleep(Duration::from_millis(300));
        }
        conn.send("0\r\n\r\n");
    });
    let mut flags = Vec::new();
    let timeouts = ["request", "stream-idle", "header", "body", "write", "handshake", "keepalive", "connect"];
    let names: Vec<String> = timeouts.iter().map(|name| format!("--{name}-timeout")).collect();
    names.iter().for_each(|name| flags.extend([name.as_str(), "1s"]));
    let proxy = Proxy::with(&origin, &flags);
    let response = proxy.get("/events");
    assert!(response.body.complete, "cut after {:?}", response.text());
    assert!(response.text().ends_with("data: 7\n\n"));
    assert_eq!(proxy.log_for("/events").get("error"), "");
}

/// 100 quiet streams at once each get an event the moment it is made.
#[test]
fn many_streams_do_not_wait_for_each_other() {
    const STREAMS: usize = 100;
    let (gate, ready) = (Gate::new(), Gate::new());
    let origin = Origin::start({
        let (gate, ready) = (gate.clone(), ready.clone());
        move |mut conn| {
            conn.request_head().unwrap();
            conn.send(CHUNKED);
            ready.open();
            gate.pass();
            conn.send(chunk("now") + "0\r\n\r\n");
        }
    });
    let proxy = Proxy::of(&origin);
    let mut clients: Vec<Peer> = (0..STREAMS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(get("/"));
        assert_eq!(client.head().status(), 200);
        ready.pass();
    }
    (0..STREAMS).for_each(|_| gate.open());
    for client in &mut clients {
        assert_eq!(client.chunked().bytes, b"now");
    }
}

/// A long download arrives whole, byte for byte.
#[test]
fn long_downloads_arrive_whole() {
    const BYTES: usize = 24 * 1024 * 1024 + 7;
    let pattern: Vec<u8> = (0..BYTES).map(|i| (i % 251).to_le_bytes()[0]).collect();
    for chunked in [false, true] {
        let origin = Origin::start({
            let pattern = pattern.clone();
            move |mut conn| {
                conn.request_head().unwrap();
                if !chunked {
                    conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
                    return conn.send(&pattern);
                }
                conn.send(CHUNKED);
                for piece in pattern.chunks(100_003) {
                    conn.send(format!("{:x}\r\n", piece.len()));
                    conn.send(piece);
                    conn.send("\r\n");
                }
                conn.send("0\r\n\r\n");
            }
        });
        let response = Proxy::of(&origin).get("/");
        assert!(response.body.complete);
        assert!(response.body.bytes == pattern, "chunked {chunked}: the bytes differ");
    }
}
