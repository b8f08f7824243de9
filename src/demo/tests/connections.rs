//! Goal: connections carry requests one after the other, end when they must, and are never more than allowed.

use super::client::Client;
use crate::demo::bounds::CONNECTIONS_MAX;
use crate::demo::start;

#[test]
fn a_connection_serves_request_after_request() {
    let mut client = Client::new();
    for round in 0..1000 {
        let (head, body) = client.get("/bytes/100");
        assert_eq!((head.status, body.len()), (200, 100), "round {round}");
    }
    let (head, _) = client.get("/bytes/1");
    assert_eq!(head.field("Connection"), Some("keep-alive"));
    assert_eq!(head.field("Keep-Alive"), Some("timeout=75"));
    assert_eq!(head.field("Date").unwrap().len(), "Sun, 06 Nov 1994 08:49:37 GMT".len());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut client = Client::new();
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: demo\r\n\r\n");
    let post = "POST /upload HTTP/1.1\r\nHost: demo\r\nContent-Length: 5\r\n\r\nhello";
    let all = [request("/bytes/1"), request("/chunked/2"), post.to_owned(), request("/status/404")].concat();
    client.send(all.repeat(20));
    for _ in 0..20 {
        assert_eq!(client.reply().1, b"a");
        assert_eq!(client.reply().1, b"ab");
        assert_eq!(client.reply().1, b"hello");
        assert_eq!(client.reply().0.status, 404);
    }
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let mut client = Client::new();
    for byte in b"GET /bytes/2 HTTP/1.1\r\nHost: demo\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.reply().1, b"ab");
}

#[test]
fn connection_close_is_obeyed() {
    let mut client = Client::new();
    client.send("GET /bytes/1 HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n");
    let head = client.head();
    assert_eq!(head.field("Connection"), Some("close"));
    assert_eq!(head.field("Keep-Alive"), None);
    assert_eq!(client.rest(), b"a");
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let mut client = Client::new();
    client.send("GET /bytes/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /bytes/2 HTTP/1.0\r\n\r\n");
    assert_eq!(client.reply().1, b"a");
    assert_eq!(client.reply().1, b"ab");
    assert_eq!(client.rest(), b"");
}

#[test]
fn bad_requests_are_refused_and_the_connection_ends() {
    for (request, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: demo\r\nContent-Length: x\r\n\r\n", 400),
        ("POST /upload/discard HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ] {
        let mut client = Client::new();
        client.send(request);
        let head = client.head();
        assert_eq!(head.status, status, "{request:?}");
        assert_eq!(head.field("Connection"), Some("close"), "{request:?}");
        let length: usize = head.field("Content-Length").unwrap().parse().unwrap();
        assert_eq!(client.rest().len(), length, "{request:?}");
    }
}

#[test]
fn an_unused_body_is_out_of_the_way_of_the_next_request() {
    let mut client = Client::new();
    client.send("POST /status/200 HTTP/1.1\r\nHost: demo\r\nContent-Length: 200000\r\n\r\n");
    client.send(vec![b'x'; 200_000]);
    assert_eq!(client.reply().0.status, 200);
    client.send(
        "POST /bytes/2 HTTP/1.1\r\nHost: demo\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n",
    );
    assert_eq!(client.reply().1, b"ab");
    assert_eq!(client.get("/bytes/1").1, b"a");
}

#[test]
fn an_unused_body_too_large_costs_the_connection() {
    let mut client = Client::new();
    client.send("POST /status/200 HTTP/1.1\r\nHost: demo\r\nContent-Length: 99999999999\r\n\r\nstart");
    assert_eq!(client.head().field("Connection"), Some("close"));
    assert_eq!(client.rest(), b"200 OK\n");
}

#[test]
fn too_many_connections_are_told_so_and_room_is_made_again() {
    let origin = start().unwrap();
    let mut clients: Vec<Client> = (0..CONNECTIONS_MAX).map(|_| Client::to(origin)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/bytes/1").0.status, 200);
    }
    let mut refused = Client::to(origin);
    let (head, _) = refused.reply();
    assert_eq!((head.status, head.field("Connection")), (503, Some("close")));
    let mut leaving = clients.pop().unwrap();
    leaving.leave();
    leaving.rest(); // closed by the origin: its thread is about to end
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while Client::to(origin).get_status("/bytes/1") != Some(200) {
        assert!(std::time::Instant::now() < deadline, "the place of a connection that ended stays taken");
        std::thread::yield_now();
    }
}
