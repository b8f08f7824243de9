//! Goal: what a stream has said can be read while it is still open, and it ends when its client leaves.

use super::client::Client;
use std::time::{Duration, Instant};

#[test]
fn the_first_event_comes_at_once_and_the_stream_stays_open() {
    let start = Instant::now();
    let mut client = Client::new();
    client.ask("GET", "/sse?interval=60000");
    let head = client.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.field("Content-Type"), Some("text/event-stream"));
    let event = String::from_utf8(client.chunk().unwrap()).unwrap();
    assert!(event.starts_with("id: 1\nevent: tick\ndata: 20"), "{event}");
    assert!(event.ends_with("Z\n\n"), "{event}");
    assert!(start.elapsed() < Duration::from_secs(10), "the second event is a minute away");
}

#[test]
fn events_come_at_their_interval_and_end_at_their_count() {
    let mut client = Client::new();
    let start = Instant::now();
    let (_, body) = client.get("/sse?interval=20&count=6");
    assert!(start.elapsed() >= Duration::from_millis(100));
    let text = String::from_utf8(body).unwrap();
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(client.get("/bytes/1").1, b"a", "the connection goes on");
}

#[test]
fn a_stream_ends_when_its_client_leaves() {
    for target in ["/sse?interval=60000", "/drip?interval=60000", "/slow?seconds=3600"] {
        let mut client = Client::new();
        client.ask("GET", target);
        if !target.starts_with("/slow") {
            client.head();
        }
        client.leave();
        let rest = client.rest(); // ends long before the deadline of this client
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{target}: a stream that was cut looks complete");
    }
}

#[test]
fn a_drip_is_one_byte_a_chunk() {
    let mut client = Client::new();
    client.ask("GET", "/drip?bytes=3&interval=10");
    assert_eq!(client.head().field("Transfer-Encoding"), Some("chunked"));
    for byte in [b"a", b"b", b"c"] {
        assert_eq!(client.chunk().unwrap(), byte);
    }
    assert_eq!(client.chunk(), None);
    assert_eq!(client.get("/drip?bytes=0").1, b"");
}

#[test]
fn head_of_a_stream_is_only_its_head() {
    let mut client = Client::new();
    for target in ["/sse", "/drip", "/chunked/10"] {
        client.ask("HEAD", target);
        assert_eq!(client.head().status, 200, "{target}");
    }
    assert_eq!(client.get("/bytes/1").1, b"a");
}

#[test]
fn http_1_0_streams_end_with_their_connection() {
    let mut client = Client::new();
    client.send("GET /chunked/70000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = client.head();
    assert_eq!(head.field("Transfer-Encoding"), None);
    assert_eq!(head.field("Connection"), Some("close"));
    assert_eq!(client.rest().len(), 70_000);
}
