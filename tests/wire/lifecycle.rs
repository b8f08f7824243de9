//! The process: start-up errors, listeners, limits, drain and the end.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::frames::{Frames, flag, frame, kind, request, settings, window};
use crate::harness::*;

/// An origin that streams `one`, waits for the gate, and ends the stream with `two`.
pub fn gated_stream(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            if head.target() != "/stream" {
                conn.send(ok("fine"));
                continue;
            }
            conn.send(CHUNKED.to_owned() + &chunk("one"));
            gate.pass();
            conn.send(chunk("two") + "0\r\n\r\n");
        }
    })
}

/// Opens the stream of [`gated_stream`] and reads its first event.
pub fn open_stream(proxy: &Proxy) -> Peer {
    let mut client = proxy.client();
    client.send(get("/stream"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.chunk(), Chunk::Data(b"one".to_vec()));
    client
}

/// Waits until the proxy takes no new connection.
fn wait_until_deaf(proxy: &Proxy) {
    eventually("the listener closes", || TcpStream::connect(proxy.addr()).is_err().then_some(()));
}

// ----- the end

/// SIGTERM: no new connection, but what is under way ends in its own time; then exit 0.
#[test]
fn sigterm_drains() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let mut proxy = Proxy::of(&origin);
    let mut client = open_stream(&proxy);
    proxy.terminate();
    wait_until_deaf(&proxy);
    gate.open();
    let rest = client.chunked();
    assert!(rest.complete && rest.bytes == b"two", "{rest:?}");
    client.assert_closed();
    assert_eq!(proxy.wait().code(), Some(0));
}

/// The next response after SIGTERM says `Connection: close`: here the one whose request is already at the origin.
#[test]
fn sigterm_closes_after_the_next_response() {
    let (gate, asked) = (Gate::new(), Gate::new());
    let origin = Origin::start({
        let (gate, asked) = (gate.clone(), asked.clone());
        move |mut conn| {
            conn.request().unwrap();
            asked.open();
            gate.pass();
            conn.send(ok("late"));
            conn.until_end();
        }
    });
    let mut proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send(get("/"));
    asked.pass();
    proxy.terminate();
    wait_until_deaf(&proxy);
    gate.open();
    let response = client.response();
    assert_eq!(response.text(), "late");
    assert!(response.head.lists("connection", "close"), "{:?}", response.head);
    client.assert_closed();
    assert_eq!(proxy.wait().code(), Some(0));
}

/// Idle connections, on either side, do not hold up the end.
#[test]
fn idle_connections_do_not_delay_the_end() {
    let origin = Origin::serve(|_| ok("fine"));
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::of(&origin);
        let mut idle = proxy.client();
        assert_eq!(idle.exchange(get("/")).text(), "fine");
        let _mute = proxy.client();
        let started = Instant::now();
        proxy.signal(signal);
        assert_eq!(proxy.wait().code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
        idle.assert_closed();
    }
}

/// `--drain-timeout` cuts what has not ended by then, streams and tunnels.
#[test]
fn drain_timeout_cuts() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let mut proxy = Proxy::with(&origin, &["--drain-timeout", "1s"]);
    let mut client = open_stream(&proxy);
    let started = Instant::now();
    proxy.terminate();
    let rest = client.chunked();
    assert_took(started, Duration::from_secs(1));
    assert!(!rest.complete, "a cut stream looked complete");
    assert!(proxy.wait().code().is_some(), "ended by a signal");
    assert_eq!(proxy.log_for("/stream").get("phase"), "drain");
    gate.open();
}

/// A second signal ends it now.
#[test]
fn second_signal_exits_now() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let mut proxy = Proxy::of(&origin);
    let _client = open_stream(&proxy);
    proxy.terminate();
    wait_until_deaf(&proxy);
    let started = Instant::now();
    proxy.terminate();
    proxy.wait();
    assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
    gate.open();
}

/// What a second signal cuts is seen to be cut, also where the body runs to the end of the connection, and logged.
#[test]
fn second_signal_cuts_visibly() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |mut conn| {
        let _ = conn.request_head();
        conn.send("HTTP/1.1 200 OK\r\n\r\nhello");
        held.pass();
    });
    let mut proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    client.send("GET /endless HTTP/1.0\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.exactly(5), b"hello");
    proxy.terminate();
    wait_until_deaf(&proxy);
    proxy.terminate();
    assert_eq!(client.until_end().1, End::Reset);
    proxy.wait();
    assert_eq!(proxy.log_for("/endless").get("phase"), "drain");
    gate.open();
}

/// The signal that other servers reload by does not kill this one.
#[test]
fn other_signals_are_survived() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::of(&origin);
    proxy.signal(Signal::HUP);
    eventually("it says so", || proxy.stderr().contains("SIGHUP").then_some(()));
    assert_eq!(proxy.get("/").text(), "fine");
    proxy.assert_healthy();
}

// ----- the start

/// Several listeners, IPv6 among them.
#[test]
fn several_listeners() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--listen", "[::1]:0", "--listen", "127.0.0.1:0"]);
    assert_eq!(proxy.addrs.len(), 3);
    assert!(proxy.addrs.iter().any(|addr| addr.is_ipv6()));
    for addr in &proxy.addrs {
        assert_eq!(Peer::connect(*addr).exchange(get("/")).text(), "fine", "{addr}");
    }
    assert_eq!(origin.heads().iter().filter(|head| head.value("x-forwarded-for") == Some("::1")).count(), 1);
}

/// Several workers serve one address.
#[test]
fn several_workers() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::with(&origin, &["--workers", "2"]);
    for _ in 0..40 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    proxy.terminate();
    assert_eq!(proxy.wait().code(), Some(0));
}

/// A successor gets the port at once, whether its predecessor drained or was killed. (A ring's poll outlives its
/// process in the kernel, and would hold the listening socket with it.)
#[test]
fn successor_gets_the_port() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::of(&origin);
    let addr = proxy.addr().to_string();
    for signal in [Signal::TERM, Signal::KILL].into_iter().cycle().take(10) {
        let _open = proxy.client();
        proxy.signal(signal);
        proxy.wait();
        proxy = Proxy::to(&[&origin.addr.to_string()], &["--listen", &addr]);
        assert_eq!(Peer::connect(addr.parse().unwrap()).exchange(get("/")).text(), "fine");
    }
}

/// Mistakes of the operator end the start with exit code 1 or 2 and a line that says what is wrong.
#[test]
fn start_up_errors_say_what_is_wrong() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: [(&[&str], &[i32], &str); 6] = [
        (&["--listen", &taken, "--upstream", "127.0.0.1:1"], &[1, 2], &taken),
        (&["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--no-such-flag"], &[2], "--no-such-flag"),
        (&["--listen", "nonsense", "--upstream", "127.0.0.1:1"], &[2], "nonsense"),
        (&["--listen", "127.0.0.1:0", "--upstream", "ftp://a"], &[2], "ftp://a"),
        (
            &["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--request-timeout", "soon"],
            &[2],
            "soon",
        ),
        (&["--listen", "127.0.0.1:0"], &[2], "--upstream"),
    ];
    for (args, codes, named) in cases {
        let output = run_to_exit(args);
        let code = output.status.code().expect("an exit code");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(codes.contains(&code), "{args:?}: {code}, {stderr}");
        assert!(stderr.contains(named), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}

/// `--help` and `--version` are no errors.
#[test]
fn help_and_version() {
    for flag in ["--help", "--version"] {
        let output = run_to_exit(&[flag]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("ringress"), "{flag}");
    }
}

// ----- limits

/// `--max-connections`: those beyond wait in the listener's queue and are served when there is room.
#[test]
fn connections_beyond_the_limit_wait() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--max-connections", "2"]);
    let mut held: Vec<Peer> = (0..2).map(|_| proxy.client()).collect();
    held.iter_mut().for_each(|client| assert_eq!(client.exchange(get("/")).text(), "fine"));
    let mut third = proxy.client();
    third.send(get("/third"));
    let refused_or_waiting = match third.stirs_within(Duration::from_millis(300)) {
        true => third.try_head().is_none_or(|head| head.status() == 503),
        false => true,
    };
    assert!(refused_or_waiting, "served beyond the limit");
    held.clear();
    eventually("room for another", || {
        let mut client = proxy.client();
        client.send(get("/"));
        (client.try_head()?.status() == 200).then_some(())
    });
}

/// More clients than descriptors: the process neither ends nor spins, those it has are served on, and so is
/// everybody when some are gone.
#[test]
fn running_out_of_descriptors_is_survived() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut proxy = Proxy::of(&origin);
    let mut early = proxy.client();
    assert_eq!(early.exchange(get("/")).text(), "fine");
    proxy.limit_descriptors(10);
    let crowd: Vec<Peer> = (0..60).map(|_| proxy.client()).collect();
    let before = proxy.cpu_time();
    // The pauses are no multiple of those between two attempts to accept, each of which may give a descriptor away.
    for _ in 0..4 {
        assert_eq!(early.exchange(get("/")).text(), "fine");
        thread::sleep(Duration::from_millis(250));
    }
    let spent = proxy.cpu_time() - before;
    assert!(spent < Duration::from_millis(300), "{spent:?} of CPU time in a second of waiting");
    drop(crowd);
    eventually("it serves again", || {
        let mut client = proxy.client();
        client.send(get("/"));
        (client.try_head()?.status() == 200).then_some(())
    });
    proxy.assert_healthy();
}

/// An idle proxy with idle connections and a silent stream costs no CPU time worth the name.
#[test]
fn idleness_costs_nothing() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let proxy = Proxy::of(&origin);
    let _stream = open_stream(&proxy);
    let mut idle = proxy.client();
    assert_eq!(idle.exchange(get("/")).text(), "fine");
    let before = proxy.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let spent = proxy.cpu_time() - before;
    assert!(spent <= Duration::from_millis(50), "{spent:?} of CPU time in a second of silence");
    gate.open();
}

/// Clients that ended their side and read nothing while more is to be sent to them: that is waited for, not tried. They get it
/// all when they read.
#[test]
fn waiting_for_a_half_closed_client_costs_nothing() {
    const BODY: usize = 12_000_000; // more than the kernel's buffers take
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.request_head() {
            let body = "x".repeat(BODY);
            if head.target() == "/tunnel" {
                conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                let _ = conn.try_send(body);
                conn.half_close();
                return;
            }
            let _ = conn.try_send(ok(&body));
        }
    });
    let proxy = Proxy::of(&origin);
    let mut tunnel = Peer::connect_narrow(proxy.addr());
    tunnel.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(tunnel.head().status(), 101);
    let mut multiplexed = Frames::connect_narrow(proxy.addr());
    multiplexed.send([settings(&[(4, 1 << 30)]), window(0, 1 << 30)].concat());
    multiplexed.send(frame(kind::HEADERS, flag::WHOLE, 1, request("GET", "/download")));
    multiplexed.until(|frame| frame.kind == kind::HEADERS);
    thread::sleep(Duration::from_millis(500)); // until both are stuck
    tunnel.half_close();
    multiplexed.peer.half_close();
    thread::sleep(Duration::from_millis(200)); // what they set off
    let before = proxy.cpu_time();
    thread::sleep(Duration::from_millis(800));
    let spent = proxy.cpu_time() - before;
    assert!(spent <= Duration::from_millis(50), "{spent:?} of CPU time in 800 ms of waiting");
    let (rest, _) = tunnel.until_end();
    assert_eq!(rest.len(), BODY);
}
