//! The admin listener: probes through a drain, and clients that misbehave. What it says of traffic is in
//! [`crate::admin_metrics`], what it can be ordered in [`crate::admin_orders`].

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::admin_metrics::metrics;
use crate::harness::*;
use crate::lifecycle::{gated_stream, open_stream};

pub const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// A `GET` as a client on this machine sends it.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Where the proxy said its admin listeners are.
#[track_caller]
pub fn addresses(proxy: &Proxy, count: usize) -> Vec<SocketAddr> {
    eventually("the admin listener is announced", || {
        let stderr = proxy.stderr();
        let said = stderr.lines().filter_map(|line| line.split_once("ringress admin on ")?.1.parse().ok());
        let said: Vec<SocketAddr> = said.collect();
        (said.len() >= count).then_some(said)
    })
}

#[track_caller]
pub fn client(proxy: &Proxy) -> Peer {
    Peer::connect(addresses(proxy, 1)[0])
}

/// One `GET` on a connection of its own, which the proxy then ends.
#[track_caller]
pub fn ask(proxy: &Proxy, path: &str) -> Response {
    let mut client = client(proxy);
    let response = client.exchange(get(path));
    client.assert_closed();
    response
}

// ----- probes

/// `/readyz` says no from the first signal on, while what runs may finish; `/healthz` says yes to the end.
#[test]
fn probes_through_a_drain() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let mut proxy = Proxy::with(&origin, &ADMIN);
    assert_eq!(ask(&proxy, "/healthz").text(), "ok\n");
    let ready = ask(&proxy, "/readyz");
    assert_eq!((ready.head.status(), ready.text().as_str()), (200, "ok\n"));
    let mut stream = open_stream(&proxy);
    proxy.terminate();
    let draining = eventually("not ready", || {
        let response = ask(&proxy, "/readyz");
        (response.head.status() != 200).then_some(response)
    });
    assert_eq!((draining.head.status(), draining.text().as_str()), (503, "draining\n"));
    assert_eq!(ask(&proxy, "/healthz").head.status(), 200);
    assert_eq!(metrics(&proxy)["ringress_lifecycle"], 1.0);
    gate.open();
    assert!(stream.chunked().complete);
    assert_eq!(proxy.wait().code(), Some(0));
}

// ----- requests

#[test]
fn head_is_get_without_the_body() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    for (path, status) in
        [("/healthz", 200), ("/metrics", 200), ("/", 200), ("/upstreams", 200), ("/other", 404)]
    {
        let mut client = client(&proxy);
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status(), status);
        assert!(head.content_length().is_some_and(|length| length > 2), "{head:?}");
        client.assert_closed();
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(9_000));
    let fat = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9_000));
    let endless = "GET / HTTP/1.1\r\nHost: localhost\r\n".to_owned() + &"A: b\r\n".repeat(2_000);
    for (request, statuses) in [
        ("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404][..]),
        ("GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("GET /metrics/ HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n12345", &[405]),
        ("DELETE /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", &[404]),
        ("BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", &[405]),
        ("GET /healthz HTTP/1.1\r\n\r\n", &[400]),
        ("GET /healthz HTTP/1.1\nHost: localhost\n\n", &[400]),
        (
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[400],
        ),
        ("\x16\x03\x01\x02\x00\x01\x00", &[400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505]),
        (&long, &[414, 431]),
        (&fat, &[431]),
        (&endless, &[431]),
    ] {
        let mut client = client(&proxy);
        client.send(request);
        let response = client.response();
        let status = response.head.status();
        assert!(statuses.contains(&status), "{request:.60} {status}");
        assert_eq!(response.head.value("allow"), (status == 405).then_some("GET, HEAD"));
        assert!(response.body.complete && response.head.lists("connection", "close"));
        client.assert_closed();
    }
    assert_eq!(ask(&proxy, "/healthz").text(), "ok\n");
}

/// One request per connection: what is pipelined behind it is not answered, and does not cost the first its answer.
#[test]
fn one_request_per_connection() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let mut client = client(&proxy);
    client.send(get("/healthz") + &get("/metrics"));
    let response = client.response();
    assert_eq!(response.text(), "ok\n");
    assert!(response.head.lists("connection", "close"));
    client.assert_closed();
}

/// HTTP/1.0 without Host, as simple probes send it.
#[test]
fn http_1_0_is_served() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    assert_eq!(client(&proxy).exchange("GET /readyz HTTP/1.0\r\n\r\n").text(), "ok\n");
}

// ----- clients that misbehave

/// Goal: a head that drips in ends after five seconds, and nobody else waits for it. Method: one connection that says
/// half a head, one that says nothing, and probes beside them.
#[test]
fn a_slow_client_is_cut_and_delays_nobody() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let started = Instant::now();
    let (mut half, mut mute) = (client(&proxy), client(&proxy));
    half.send("GET /metrics HTTP/1.1\r\nHo");
    assert_within(Duration::from_secs(1), || {
        let asked = Instant::now();
        assert_eq!(ask(&proxy, "/healthz").text(), "ok\n");
        asked.elapsed()
    });
    while started.elapsed() < PATIENCE && !half.stirs_within(Duration::from_millis(500)) {
        let _ = half.try_send("o");
    }
    assert_eq!(half.response().head.status(), 408);
    half.assert_closed();
    mute.assert_closed();
    assert_took(started, Duration::from_secs(5));
}

/// Goal: with every place taken by the silent, a probe waits for their deadline and no longer.
#[test]
fn a_crowd_of_silent_clients_delays_a_probe_by_their_deadline() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let started = Instant::now();
    let crowd: Vec<Peer> = (0..40).map(|_| client(&proxy)).collect();
    let mut probe = client(&proxy);
    probe.send(get("/healthz"));
    assert!(!probe.stirs_within(Duration::from_secs(1)), "the crowd holds every place");
    assert_eq!(probe.response().text(), "ok\n");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(crowd);
}

// ----- listeners

#[test]
fn several_addresses_are_announced_and_served() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &["--admin", "127.0.0.1:0,[::1]:0"]);
    for address in addresses(&proxy, 2) {
        assert_eq!(Peer::connect(address).exchange(get("/readyz")).text(), "ok\n");
    }
}

#[test]
fn without_the_flag_there_is_none() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &[]);
    assert!(!proxy.stderr().contains("admin"), "{}", proxy.stderr());
}

/// A port that is taken is an error at the start, that of another ringress included.
#[test]
fn a_busy_port_is_a_start_error_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    for address in [taken.local_addr().unwrap(), addresses(&proxy, 1)[0]] {
        let text = address.to_string();
        let args = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--admin", &text];
        let output = run_to_exit(&args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
        assert!(stderr.contains(&format!("ss -ltnp 'sport = :{}'", address.port())), "{stderr}");
    }
}
