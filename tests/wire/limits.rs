//! Goal: what a route limits is limited, and nothing else: rates, requests at once, bodies, time. Method: the real binary with
//! small limits; whoever is refused hears why and when, and what ended has given its place back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http::Request;

use crate::harness::*;

/// One group of this origin, and these routes.
fn file(origin: &Origin, routes: &str) -> String {
    format!("[groups.app]\nupstreams = [\"{}\"]\n{routes}", origin.addr)
}

fn fine() -> Origin {
    Origin::serve(|_| ok("fine"))
}

/// A `GET` with one more field.
fn get_with(path: &str, field: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: wire.test\r\n{field}\r\n\r\n")
}

/// Asserts that this is the answer to whoever asked too often.
#[track_caller]
fn assert_refused(response: &Response, details: &str) {
    assert_eq!(response.head.status(), 429);
    let status = response.head.value("proxy-status").unwrap();
    assert!(status.contains("error=http_request_denied") && status.contains(details), "{status}");
    let seconds: u64 = response.head.value("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(!response.head.has("connection"), "the connection goes on");
}

/// A rate: its burst passes, the next one is refused with the time to wait on a connection that goes on, and a token comes
/// back. Other routes know nothing of it.
#[test]
fn a_rate_is_kept() {
    let origin = fine();
    let routes = r#"
        [[route]]
        group = "app"
        [[route]]
        path = "/slow"
        group = "app"
        limit = [{ key = "client", requests = 1, per = "30s", burst = 3 }]
        [[route]]
        path = "/quick"
        group = "app"
        limit = [{ key = "route", requests = 5, per = "1s", burst = 1 }]
    "#;
    let proxy = Proxy::configured(&file(&origin, routes), &["--workers", "2"]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(proxy.get("/slow").text(), "fine", "from any connection, on any worker");
    }
    let refused = client.exchange(get("/slow"));
    assert_refused(&refused, "rate-limited");
    let seconds: u64 = refused.head.value("retry-after").unwrap().parse().unwrap();
    assert!((28..=30).contains(&seconds), "{seconds}");
    assert_eq!(client.exchange(get("/")).text(), "fine");
    assert_refused(&client.exchange(get("/slow/below")), "rate-limited");
    client.send(format!("{}{}", get("/slow"), get("/")));
    assert_refused(&client.response(), "rate-limited");
    assert_eq!(client.response().text(), "fine", "pipelined behind a refusal");
    assert_eq!(origin.heads_for("/slow").len(), 3);
    let line = proxy.log_where("a refusal", |line| line.get("status") == "429");
    assert_eq!((line.get("error"), line.get("detail")), ("http_request_denied", "rate-limited"));

    assert_eq!(client.exchange(get("/quick")).text(), "fine");
    let mut refusals = 0;
    eventually("a token comes back", || {
        let passed = client.exchange(get("/quick")).head.status() == 200;
        refusals += usize::from(!passed);
        passed.then_some(())
    });
    assert!(refusals > 0);
}

/// Who counts as one: an address, the value of a field, or everybody.
#[test]
fn keys_tell_clients_apart() {
    let origin = fine();
    for (key, field, apart) in [
        ("client", "X-Forwarded-For: 10.0.0.", true),
        ("header:x-key", "X-Key: ", true),
        ("route", "X-Key: ", false),
    ] {
        let routes = format!(
            "[forwarding]\ntrusted-proxies = [\"127.0.0.1\"]\n[[route]]\ngroup = \"app\"\n\
             limit = [{{ key = \"{key}\", requests = 2, per = \"1m\" }}]\n"
        );
        let proxy = Proxy::configured(&file(&origin, &routes), &["--workers", "2"]);
        let ask = |who: &str| proxy.client().exchange(get_with("/", &format!("{field}{who}"))).head.status();
        assert_eq!([ask("1"), ask("1"), ask("1")], [200, 200, 429], "{key}");
        assert_eq!(ask("2") == 200, apart, "{key}");
    }
    // An address of IPv6 is one of a /64.
    let routes = "[forwarding]\ntrusted-proxies = [\"127.0.0.1\"]\n[[route]]\ngroup = \"app\"\n\
                  limit = [{ key = \"client\", requests = 1, per = \"1m\" }]\n";
    let proxy = Proxy::configured(&file(&origin, routes), &[]);
    let ask =
        |ip: &str| proxy.client().exchange(get_with("/", &format!("X-Forwarded-For: {ip}"))).head.status();
    assert_eq!([ask("2001:db8::1"), ask("2001:db8::2"), ask("2001:db8:0:1::1")], [200, 429, 200]);
}

/// Whom nobody trusts cannot choose the address that it is counted under.
#[test]
fn an_address_cannot_be_made_up() {
    let origin = fine();
    let routes = "[[route]]\ngroup = \"app\"\nlimit = [{ key = \"client\", requests = 1, per = \"1m\" }]\n";
    let proxy = Proxy::configured(&file(&origin, routes), &[]);
    assert_eq!(proxy.client().exchange(get_with("/", "X-Forwarded-For: 10.0.0.1")).head.status(), 200);
    assert_eq!(proxy.client().exchange(get_with("/", "X-Forwarded-For: 10.0.0.2")).head.status(), 429);
}

/// In HTTP/2 a refusal ends its stream and no other; a gRPC call hears it in its own words.
#[test]
fn refusals_in_http2() {
    let origin = fine();
    let routes = "[[route]]\ngroup = \"app\"\nlimit = [{ key = \"client\", requests = 1, per = \"1m\" }]\n";
    let proxy = Proxy::configured(&file(&origin, routes), &[]);
    let mut client = Http2::connect(proxy.addr());
    assert_eq!(client.exchange(get2("/")).head.status(), 200);
    let refused = client.exchange(get2("/")).head;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let call = Request::post("http://wire.test/s/m").header("content-type", "application/grpc");
    let refused = client.exchange(call.body(()).unwrap()).head;
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["grpc-status"].as_bytes()),
        (200, b"14".as_slice())
    );
}

/// An origin of streams and tunnels that last until it is told to end them.
fn lasting(release: &Gate) -> Origin {
    let release = release.clone();
    Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            if head.has("upgrade") {
                conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                while let Some(bytes) = conn.some(1024) {
                    conn.send(bytes);
                }
                return;
            }
            conn.send(CHUNKED.to_owned() + &chunk("one"));
            if head.target() == "/ends" {
                release.pass();
                conn.send("0\r\n\r\n");
            } else {
                conn.until_end();
                return;
            }
        }
    })
}

/// Requests at once: a place is free again when a stream ends, when its client vanishes, when its origin dies, and when a
/// tunnel ends.
#[test]
fn places_are_given_back() {
    let release = Gate::new();
    let origin = lasting(&release);
    let routes = "[[route]]\ngroup = \"app\"\nlimit = [{ key = \"client\", concurrent = 2 }]\n";
    let proxy = Proxy::configured(&file(&origin, routes), &["--workers", "2"]);
    let stream = |path: &str| {
        let mut client = proxy.client();
        client.send(get(path));
        let head = client.head();
        (head.status() == 200).then(|| {
            assert_eq!(client.chunk(), Chunk::Data(b"one".to_vec()));
            client
        })
    };
    let tunnel = || {
        let mut client = proxy.client();
        client.send("GET /t HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        (client.head().status() == 101).then_some(client)
    };
    let kept = stream("/kept").unwrap();
    // Its end.
    let mut ends = stream("/ends").unwrap();
    assert!(stream("/refused").is_none());
    assert_refused(&proxy.get("/refused"), "too-many-at-once");
    release.open();
    assert_eq!(ends.chunk(), Chunk::Last(Vec::new()));
    // Its client's end: in order, and by force.
    let vanishes = eventually("room behind an end", || stream("/vanishes"));
    assert!(stream("/refused").is_none());
    vanishes.close();
    let resets = eventually("room behind one that left", || stream("/resets"));
    assert!(stream("/refused").is_none());
    resets.reset();
    // A tunnel's end.
    let mut open = eventually("room behind a reset", tunnel);
    open.send("echo");
    assert_eq!(open.exactly(4), b"echo");
    assert!(stream("/refused").is_none() && tunnel().is_none());
    open.close();
    // A stream of HTTP/2 that is taken back.
    let mut two = Http2::connect(proxy.addr());
    let opened = eventually("room behind a tunnel", || {
        let opened = two.open(get2("/two"), true);
        let (head, body) = two.head(opened.response);
        (head.status() == 200).then_some((body, opened.body))
    });
    assert!(stream("/refused").is_none());
    let (body, mut sending) = opened;
    sending.send_reset(h2::Reason::CANCEL);
    drop((body, sending));
    let last = eventually("room behind one that was taken back", || stream("/last"));
    drop((kept, last));
}

/// A place is given back when the origin breaks, and when a response was made here.
#[test]
fn failures_give_places_back() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head();
        if head.is_some_and(|head| head.target() == "/cut") {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
    });
    let routes = "[[route]]\ngroup = \"app\"\nlimit = [{ key = \"route\", concurrent = 1 }]\n\
                  [[route]]\npath = \"/fixed\"\nrespond = { status = 200 }\nlimit = [{ key = \"route\", concurrent = 1 }]\n";
    let proxy = Proxy::configured(&file(&origin, routes), &[]);
    for _ in 0..5 {
        eventually("a place", || (proxy.get("/closed").head.status() == 502).then_some(()));
        eventually("a place", || {
            let cut = proxy.get("/cut");
            (cut.head.status() == 200 && !cut.body.complete).then_some(())
        });
        assert_eq!(proxy.get("/fixed").head.status(), 200);
    }
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.exchange(get("/fixed")).head.status(), 200);
        let refused = client.exchange(get_with("/", "Content-Length: 0"));
        assert_eq!(refused.head.status(), 502);
    }
}

/// A body that is too large for its route: 413, declared or not, and the origin never sees a whole one; other routes have
/// their own bound.
#[test]
fn bodies_are_bounded_by_their_route() {
    let origin = Origin::serve(|request| ok(&request.body.bytes.len().to_string()));
    let routes = r#"
        [limits]
        max-body-bytes = 10
        [[route]]
        group = "app"
        [[route]]
        path = "/more"
        group = "app"
        max-body-bytes = 20
        [[route]]
        path = "/any"
        group = "app"
        max-body-bytes = "off"
    "#;
    let proxy = Proxy::configured(&file(&origin, routes), &[]);
    for (path, length, status) in
        [("/", 10, 200), ("/", 11, 413), ("/more", 20, 200), ("/more", 21, 413), ("/any", 100_000, 200)]
    {
        let body = "x".repeat(length);
        let declared = proxy.client().exchange(post(path, &body));
        assert_eq!(declared.head.status(), status, "{path} with {length}");
        let mut client = proxy.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
        let _ = client.try_send(format!("{}0\r\n\r\n", chunk(&body)));
        assert_eq!(client.response().head.status(), status, "{path} with chunks of {length}");
        let mut two = Http2::connect(proxy.addr());
        let mut opened = two.open(post2(path), false);
        opened.body.send_data(body.into(), true).unwrap();
        assert_eq!(two.head(opened.response).0.status().as_u16(), status, "{path} with {length} in HTTP/2");
    }
    let expects = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n";
    assert_eq!(proxy.client().exchange(expects).head.status(), 413, "before a byte of it");
}

/// Timeouts of routes: 504 in time, with the status of the file; a route with `off` waits.
#[test]
fn timeouts_are_their_routes() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut conn| {
            while let Some(request) = conn.request() {
                match request.head.target() {
                    "/patient" => gate.pass(),
                    "/stream" => conn.send(CHUNKED.to_owned() + &chunk("one")),
                    _ => {}
                }
                if request.head.target() != "/patient" {
                    conn.until_end();
                    return;
                }
                conn.send(ok("at last"));
            }
        }
    });
    let routes = r#"
        [timeouts]
        request = "300ms"
        stream-idle = "5s"
        [[route]]
        group = "app"
        [[route]]
        path = "/longer"
        group = "app"
        timeouts = { request = "900ms" }
        [[route]]
        path = "/patient"
        group = "app"
        timeouts = { request = "off" }
        [[route]]
        path = "/stream"
        group = "app"
        timeouts = { stream-idle = "400ms" }
        [[route]]
        path = "/deadline"
        group = "app"
        timeouts = { request = "off", request-deadline = "500ms" }
    "#;
    let proxy = Proxy::configured(&file(&origin, routes), &[]);
    thread::scope(|scope| {
        let patient = scope.spawn(|| proxy.get("/patient"));
        for (path, after) in [("/", 300), ("/longer", 900), ("/deadline", 500)] {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut client = proxy.client();
                let started = Instant::now();
                assert_eq!(client.exchange(get(path)).head.status(), 504, "{path}");
                assert_took(started, Duration::from_millis(after));
            });
        }
        scope.spawn(|| {
            let mut client = proxy.client();
            client.send(get("/stream"));
            client.head();
            assert_eq!(client.chunk(), Chunk::Data(b"one".to_vec()));
            let started = Instant::now();
            assert_eq!(client.chunk(), Chunk::Cut);
            assert_took(started, Duration::from_millis(400));
        });
        eventually("the longest of them is over", || {
            proxy.log_lines().iter().find(|line| line.get("path") == "/longer").map(drop)
        });
        gate.open();
        assert_eq!(patient.join().unwrap().text(), "at last");
    });
}

/// Connections of one client at once: the next one is not served until one of them ends.
#[test]
fn connections_per_client() {
    let origin = fine();
    let routes = "[limits]\nmax-connections-per-client = 3\n[[route]]\ngroup = \"app\"\n";
    let proxy = Proxy::configured(&file(&origin, routes), &["--workers", "2"]);
    let mut clients: Vec<Peer> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.exchange(get("/")).text(), "fine");
    }
    let mut fourth = proxy.client();
    let _ = fourth.try_send(get("/"));
    let (bytes, _) = fourth.until_end();
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 429"), "{}", String::from_utf8_lossy(&bytes));
    clients.pop().unwrap().close();
    eventually("there is room again", || {
        let mut client = proxy.client();
        client.try_send(get("/")).ok()?;
        client.try_head().filter(|head| head.status() == 200)
    });
    for client in &mut clients {
        assert_eq!(client.exchange(get("/")).text(), "fine");
    }
}

/// A refused request with a body that nobody reads: its bytes are no next request.
#[test]
fn a_refused_body_is_no_request() {
    let origin = fine();
    let routes = "[[route]]\ngroup = \"app\"\nlimit = [{ key = \"client\", requests = 1, per = \"1m\" }]\n\
                  response-headers = { set = { retry-after = \"7\" } }\n";
    let proxy = Proxy::configured(&file(&origin, routes), &[]);
    assert_eq!(proxy.get("/").head.values("retry-after"), ["7"]);
    for length in ["Content-Length: 40", "Transfer-Encoding: chunked"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{length}\r\n\r\n"));
        let refused = client.response();
        assert_eq!((refused.head.status(), refused.head.value("connection")), (429, Some("close")));
        let told = refused.head.values("retry-after");
        assert!(told.len() == 1 && told[0].parse::<u64>().unwrap() > 50, "ours, and once: {told:?}");
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        client.assert_closed();
    }
    assert!(proxy.log_lines().iter().all(|line| line.get("path") == "/"));
}

/// Many clients at once on two workers: exactly the burst passes, and never more at once than may.
#[test]
fn limits_are_exact_under_a_rush() {
    const CLIENTS: usize = 60;
    let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let origin = Origin::serve({
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        move |_| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5)); // what a request takes
            now.fetch_sub(1, Ordering::SeqCst);
            ok("fine")
        }
    });
    let rush = |limit: &str| {
        let routes = format!("[[route]]\ngroup = \"app\"\nlimit = [{{ key = \"client\", {limit} }}]\n");
        let proxy = Proxy::configured(&file(&origin, &routes), &["--workers", "2"]);
        let address = proxy.addr();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| thread::spawn(move || Peer::connect(address).exchange(get("/")).head.status()))
            .collect();
        let statuses: Vec<u16> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    };
    assert_eq!(rush("requests = 1, per = \"10m\", burst = 25"), 25);
    peak.store(0, Ordering::SeqCst);
    let passed = rush("concurrent = 4");
    assert!(passed >= 4 && peak.load(Ordering::SeqCst) <= 4, "{passed}, {peak:?} at once");
}
