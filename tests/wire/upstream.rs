//! Upstream connections: balance, failover, reuse, the one safe repeat.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::*;

/// An origin that answers with its name and the body it got.
fn named(name: &'static str) -> Origin {
    Origin::serve(move |request| ok(&format!("{name}{}", String::from_utf8_lossy(&request.body.bytes))))
}

/// Two origins that have nothing else to do share the work.
#[test]
fn two_share_the_work() {
    let (a, b) = (named("a"), named("b"));
    let proxy = Proxy::to(&[&a.addr.to_string(), &b.addr.to_string()], &[]);
    let mut client = proxy.client();
    let answers: String = (0..64).map(|_| client.exchange(get("/")).text()).collect();
    // Left to chance: fewer than eight of 64 are once in ten thousand million runs.
    assert!((8..=56).contains(&answers.matches('a').count()), "{answers}");
}

/// One endpoint is down: nobody notices, not even a `POST`, whose body waits for the connection.
#[test]
fn connect_failure_tries_the_next_endpoint() {
    let up = named("up ");
    let proxy = Proxy::to(&[&dead_address().to_string(), &up.addr.to_string()], &[]);
    let mut client = proxy.client();
    for number in 0..6 {
        let response = match number % 2 {
            0 => client.exchange(post(&format!("/{number}"), "body")),
            _ => client.exchange(get(&format!("/{number}"))),
        };
        assert_eq!(response.text(), if number % 2 == 0 { "up body" } else { "up " });
    }
    let upstream = up.addr.to_string();
    for number in 0..6 {
        let line = proxy.log_for(&format!("/{number}"));
        assert_eq!((line.get("upstream"), line.get("error")), (upstream.as_str(), ""));
    }
    let lines = proxy.log_lines();
    assert!(lines.iter().any(|line| line.number("retries") > 0.0), "{lines:?}");
}

/// Every endpoint is down: 502 at once.
#[test]
fn every_endpoint_down_is_502() {
    let (a, b) = (dead_address().to_string(), dead_address().to_string());
    let proxy = Proxy::to(&[&a, &b], &[]);
    let started = Instant::now();
    assert_eq!(proxy.get("/down").head.status(), 502);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(proxy.log_for("/down").get("error"), "connection_refused");
}

/// A killed origin gives 502 at once; when it is back, so are the answers.
#[test]
fn killed_origin_recovers_by_itself() {
    let mut origin = named("first");
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/")).text(), "first");
    let addr = origin.addr;
    origin.kill();
    let started = Instant::now();
    assert_eq!(proxy.get("/").head.status(), 502);
    assert!(started.elapsed() < Duration::from_secs(1), "took {:?}", started.elapsed());
    let _back = Origin::serve_at(addr, |_| ok("second"));
    eventually("the origin serves again", || (proxy.get("/").text() == "second").then_some(()));
}

/// An origin killed in the middle of a stream: the stream is cut, the next request gets 502.
#[test]
fn killed_origin_cuts_its_streams() {
    let mut origin = Origin::start(|mut conn| {
        conn.request_head().unwrap();
        conn.send(CHUNKED.to_owned() + &chunk("one"));
        conn.until_end();
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/"));
    client.head();
    assert_eq!(client.chunk(), Chunk::Data(b"one".to_vec()));
    origin.kill();
    assert_eq!(client.chunk(), Chunk::Cut);
    assert_eq!(proxy.get("/").head.status(), 502);
}

/// An origin whose connections die on their second request, before any byte of its response.
fn forgetful_origin() -> Origin {
    Origin::start(|mut conn| {
        conn.request().unwrap();
        conn.send(ok("fresh"));
        conn.request();
    })
}

/// RFC 9110 §9.2.2: a safe request that dies on a reused connection is repeated, once, on a fresh one.
#[test]
fn get_on_a_stale_connection_is_repeated() {
    let origin = forgetful_origin();
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/first")).text(), "fresh");
    assert_eq!(client.exchange(get("/second")).text(), "fresh");
    assert_eq!(origin.heads_for("/second").len(), 2);
    assert!((proxy.log_for("/second").number("retries") - 1.0).abs() < f64::EPSILON);
}

/// A `POST` that dies on a reused connection may have been carried out: it is not repeated.
#[test]
fn post_on_a_stale_connection_is_not_repeated() {
    let origin = forgetful_origin();
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/first")).text(), "fresh");
    assert_eq!(client.exchange(post("/second", "once")).head.status(), 502);
    assert_eq!(origin.heads_for("/second").len(), 1);
}

/// A request that dies on a fresh connection is not repeated, whatever its method.
#[test]
fn fresh_connections_get_no_repeat() {
    let origin = Origin::start(|mut conn| {
        conn.request();
    });
    let proxy = Proxy::of(&origin);
    assert_eq!(proxy.get("/").head.status(), 502);
    assert_eq!(origin.heads_for("/").len(), 1);
}

/// A response that has begun is never repeated, only cut.
#[test]
fn begun_responses_get_no_repeat() {
    let origin = Origin::start(|mut conn| {
        conn.request().unwrap();
        conn.send(ok("fresh"));
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort");
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/")).text(), "fresh");
    let cut = client.exchange(get("/cut"));
    assert!(!cut.body.complete);
    assert_eq!(origin.heads_for("/cut").len(), 1);
}

/// Whatever an idle connection did before a request came, that request is not wasted on it: closed or speaking
/// unasked, it is out. The proxy is stopped meanwhile, so it learns of the origin's move and of the request at once.
#[test]
fn idle_connection_that_stirs_is_not_used() {
    for unasked in ["", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"] {
        for round in 0..10 {
            let (act, acted) = (Gate::new(), Gate::new());
            let origin = Origin::start({
                let (act, acted) = (act.clone(), acted.clone());
                move |mut conn| {
                    conn.request().unwrap();
                    conn.send(ok("fine"));
                    if conn.number > 0 {
                        return;
                    }
                    act.pass();
                    conn.send(unasked);
                    if unasked.is_empty() {
                        conn.close();
                        return acted.open();
                    }
                    acted.open();
                    conn.until_end();
                }
            });
            let proxy = Proxy::of(&origin);
            let mut client = proxy.client();
            assert_eq!(client.exchange(get("/")).text(), "fine");
            proxy.signal(Signal::STOP);
            act.open();
            acted.pass();
            client.send(post("/", "not repeatable"));
            proxy.signal(Signal::CONT);
            assert_eq!(client.response().text(), "fine", "round {round}, unasked {unasked:?}");
        }
    }
}

/// An origin that closes as soon as it has answered, unannounced: the next request takes a fresh connection, though
/// the proxy has hardly had time to watch the old one.
#[test]
fn connection_closed_right_behind_its_response_is_not_used() {
    for round in 0..20 {
        let (act, acted) = (Gate::new(), Gate::new());
        let origin = Origin::start({
            let (act, acted) = (act.clone(), acted.clone());
            move |mut conn| {
                conn.request().unwrap();
                conn.send(ok("fine"));
                act.pass();
                conn.close();
                acted.open();
            }
        });
        let proxy = Proxy::of(&origin);
        let mut client = proxy.client();
        act.open();
        assert_eq!(client.exchange(get("/")).text(), "fine");
        acted.pass();
        act.open();
        assert_eq!(client.exchange(post("/", "not repeatable")).text(), "fine", "round {round}");
    }
}

/// `Keep-Alive: timeout=2` of the origin: reused at once, not after 1.2 s (a second is spared).
#[test]
fn keep_alive_timeout_of_the_origin_is_honoured() {
    let origin = Origin::serve(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=2, max=100\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    for expected in [1, 1] {
        client.exchange(get("/"));
        assert_eq!(origin.accepted(), expected);
    }
    thread::sleep(Duration::from_millis(1200));
    client.exchange(get("/"));
    assert_eq!(origin.accepted(), 2);
}

/// `Connection: close` and HTTP/1.0 of the origin, and `--upstream-idle-max 0`: one connection for each request.
#[test]
fn connections_that_must_not_be_reused_are_not() {
    let cases: [(&str, &[&str]); 3] = [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", &[]),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", &[]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &["--upstream-idle-max", "0"]),
    ];
    for (response, flags) in cases {
        let origin = Origin::serve(|_| response.into());
        let proxy = Proxy::with(&origin, flags);
        let mut client = proxy.client();
        for number in 1..=3 {
            assert_eq!(client.exchange(get("/")).head.status(), 200, "{response}");
            assert_eq!(origin.accepted(), number, "{response}");
        }
    }
}

/// The log says whether a connection was reused.
#[test]
fn reuse_is_logged() {
    let origin = named("a");
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.exchange(get("/new"));
    client.exchange(get("/reused"));
    let (new, reused) = (proxy.log_for("/new"), proxy.log_for("/reused"));
    assert_ne!(new.get("reused"), reused.get("reused"));
    assert_ne!(new.get("connect_ms"), "");
    assert_eq!(reused.get("connect_ms"), "");
}

/// Upstreams by URL, by name, and by the path of a Unix socket.
#[test]
fn upstreams_come_in_every_form() {
    let origin = named("tcp");
    let port = origin.addr.port();
    for upstream in
        [format!("http://127.0.0.1:{port}"), format!("localhost:{port}"), format!("http://localhost:{port}")]
    {
        assert_eq!(Proxy::to(&[&upstream], &[]).get("/").text(), "tcp", "{upstream}");
    }
    let path =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("u{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let _unix = Origin::start_unix(&path, |mut conn| {
        while let Some(request) = conn.request() {
            conn.send(ok(&format!("unix {}", request.body.bytes.len())));
        }
    });
    let proxy = Proxy::to(&[&format!("unix:{}", path.display())], &[]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.exchange(post("/", "12345")).text(), "unix 5");
    }
    let _ = std::fs::remove_file(&path);
}

/// An endpoint that cannot be reached is named on stderr with the reason, once, and once more when it is back.
#[test]
fn unreachable_endpoint_is_named_once() {
    let mut proxy = Proxy::to(&["unix:/nonexistent/app.sock"], &[]);
    (0..3).for_each(|_| assert_eq!(proxy.get("/").head.status(), 502));
    proxy.terminate();
    proxy.wait();
    let stderr = proxy.stderr();
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("/nonexistent/app.sock")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(lines[0].contains("No such file"), "{stderr}");
}

/// A 408 with which an origin closes an idle connection is not taken for the answer to the request that crossed it.
#[test]
fn farewell_of_an_idle_connection_is_no_answer() {
    let origin = Origin::start(|mut conn| {
        if conn.request_head().is_none() {
            return;
        }
        conn.send(ok("fine"));
        if conn.number == 0 && conn.request_head().is_some() {
            conn.send("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    for path in ["/one", "/two"] {
        assert_eq!(client.exchange(get(path)).text(), "fine", "{path}");
    }
    assert_eq!(proxy.log_for("/two").get("retries"), "1");
}

/// `--upstream-idle-max` bounds the idle connections, `--upstream-age-max` and `--upstream-idle-timeout` their life.
#[test]
fn idle_connections_are_bounded_in_number_and_age() {
    let origin = Origin::serve(|_| ok("fine"));
    for (flags, connections) in [
        (&["--upstream-idle-max", "10"][..], 1),
        (&["--upstream-age-max", "100ms"], 2),
        (&["--upstream-idle-timeout", "100ms"], 2),
        (&["--upstream-idle-max", "0"], 2),
    ] {
        let before = origin.accepted();
        let proxy = Proxy::with(&origin, flags);
        assert_eq!(proxy.get("/").text(), "fine");
        thread::sleep(Duration::from_millis(200)); // the flags are about time
        assert_eq!(proxy.get("/").text(), "fine");
        assert_eq!(origin.accepted() - before, connections, "{flags:?}");
    }
}

/// A Unix origin whose backlog is full is asked again at the next request: it is there, and nothing of ours has run out.
#[test]
fn a_full_backlog_is_no_absence() {
    let folder = fresh_folder();
    let path = folder.join("full.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap(); // one connection may wait
    let proxy = Proxy::to(&[&format!("unix:{}", path.display())], &[]);
    let mut first = proxy.client();
    first.send(get("/first"));
    eventually("a request is turned away", || (proxy.get("/more").head.status() == 503).then_some(()));
    assert!(!proxy.stderr().contains("cannot connect"), "{}", proxy.stderr());
}
