//! Upgrade: a tunnel only after 101 was read, then both directions on their own, to the last byte.

use std::thread;

use crate::harness::*;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A request to upgrade, as browsers send it.
fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Opens a tunnel to an origin that runs `script` after its 101.
fn tunnel(script: impl Fn(Conn) + Send + Sync + 'static) -> (Origin, Proxy, Peer) {
    let origin = Origin::start(move |mut conn| {
        let head = conn.request_head().unwrap();
        assert!(head.lists("connection", "upgrade") && head.lists("upgrade", "websocket"), "{head:?}");
        assert!(head.has("sec-websocket-key"));
        conn.send(SWITCH);
        script(conn);
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(upgrade("/ws"));
    let head = client.head();
    assert_eq!(head.status(), 101);
    assert!(head.lists("connection", "upgrade") && head.lists("upgrade", "websocket"), "{head:?}");
    (origin, proxy, client)
}

/// Byte for byte both ways, then the client closes: one log line with the bytes of both directions.
#[test]
fn echo_through_a_tunnel() {
    let (_origin, proxy, mut client) = tunnel(|mut conn| {
        while let Some(byte) = conn.try_exactly(1) {
            conn.send(byte);
        }
    });
    for byte in 0..=255u8 {
        client.send([byte]);
        assert_eq!(client.exactly(1), [byte]);
    }
    client.half_close();
    client.assert_closed();
    let line = proxy.log_for("/ws");
    assert_eq!((line.get("status"), line.get("error")), ("101", ""));
    assert_eq!((line.get("bytes_in"), line.get("bytes_out")), ("256", "256"));
    assert!(!matches!(line.get("tunnel"), "" | "false" | "0"), "{line:?}");
}

/// The client ends its direction; the origin's goes on.
#[test]
fn half_close_by_the_client() {
    let (_origin, _proxy, mut client) = tunnel(|mut conn| {
        let (received, end) = conn.until_end();
        assert_eq!((received.as_slice(), end), (&b"question"[..], End::Fin));
        conn.send("answer");
    });
    client.send("question");
    client.half_close();
    assert_eq!(client.until_end(), (b"answer".to_vec(), End::Fin));
}

/// The origin ends its direction; the client's goes on.
#[test]
fn half_close_by_the_origin() {
    let (tx, rx) = inbox();
    let (_origin, _proxy, mut client) = tunnel(move |mut conn| {
        conn.send("greeting");
        conn.half_close();
        tx.send(conn.until_end()).unwrap();
    });
    assert_eq!(client.until_end(), (b"greeting".to_vec(), End::Fin));
    client.send("thanks");
    client.half_close();
    assert_eq!(rx.take(), (b"thanks".to_vec(), End::Fin));
}

/// Bytes in the same segment as the request or the 101 belong to the tunnel.
#[test]
fn bytes_right_behind_the_heads_are_not_lost() {
    let origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send(SWITCH.to_owned() + "from the origin");
        assert_eq!(conn.exactly(15), b"from the client");
        conn.send(" and back");
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(upgrade("/ws") + "from the client");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.until_end().0, b"from the origin and back");
}

/// Much data both ways at once, with pressure on both sides.
#[test]
fn bulk_both_ways_at_once() {
    const BYTES: usize = 8 * 1024 * 1024;
    let (tx, rx) = inbox();
    let (_origin, _proxy, mut client) = tunnel(move |mut conn| {
        let mut writer = conn.writer();
        let sender = thread::spawn(move || writer.send(vec![b'd'; BYTES]));
        tx.send(conn.exactly(BYTES) == vec![b'u'; BYTES]).unwrap();
        sender.join().unwrap();
    });
    let mut writer = client.writer();
    let sender = thread::spawn(move || writer.send(vec![b'u'; BYTES]));
    assert!(client.exactly(BYTES) == vec![b'd'; BYTES]);
    sender.join().unwrap();
    assert!(rx.take());
    client.assert_closed();
}

/// A client that vanishes ends the origin's side of the tunnel, and the reverse.
#[test]
fn reset_passes_through_a_tunnel() {
    let (tx, rx) = inbox();
    let (_origin, _proxy, mut client) = tunnel(move |mut conn| {
        conn.send("x");
        conn.until_end();
        tx.send(()).unwrap();
    });
    client.exactly(1);
    client.reset();
    rx.take();

    let (_origin, _proxy, mut client) = tunnel(|mut conn| {
        conn.exactly(1);
        conn.reset();
    });
    client.send("x");
    client.assert_closed();
}

/// Any answer but 101 is an ordinary response, and the connection stays HTTP.
#[test]
fn refusal_stays_http() {
    let origin = Origin::serve(|request| match request.head.has("upgrade") {
        true => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec(),
        false => ok("still HTTP"),
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    let refused = client.exchange(upgrade("/ws"));
    assert_eq!((refused.head.status(), refused.text().as_str()), (403, "no"));
    assert_eq!(client.exchange(get("/")).text(), "still HTTP");
}

/// Any other token is tunnelled just as well.
#[test]
fn unknown_protocols_are_tunnelled() {
    let origin = Origin::start(|mut conn| {
        assert_eq!(conn.request_head().unwrap().value("upgrade"), Some("custom/2"));
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: custom/2\r\n\r\nhi");
        conn.until_end();
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: custom/2\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(2), b"hi");
}

/// `h2c` is removed: a tunnel of HTTP/2 frames would slip past every rule of this proxy.
#[test]
fn h2c_is_removed() {
    let origin = Origin::serve(|_| ok("plain"));
    let proxy = Proxy::of(&origin);
    let response = proxy.client().exchange(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(response.text(), "plain");
    let head = origin.heads().remove(0);
    assert!(!head.has("upgrade") && !head.has("http2-settings"), "{head:?}");
    assert!(!head.lists("connection", "upgrade"), "{head:?}");
}

/// RFC 9110 §7.8: `Upgrade` without `Connection: upgrade`, or in HTTP/1.0, is not a request to upgrade.
#[test]
fn upgrade_that_is_none_is_not_forwarded() {
    let origin = Origin::serve(|_| ok("plain"));
    let proxy = Proxy::of(&origin);
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: custom/2\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: custom/2\r\n\r\n",
    ] {
        assert_eq!(proxy.client().exchange(request).text(), "plain");
    }
    assert!(origin.heads().iter().all(|head| !head.has("upgrade")), "{:?}", origin.heads());
}
