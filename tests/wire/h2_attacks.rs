//! Goal: no client of HTTP/2 or TLS makes the proxy hold or spend more than the documented bounds, whatever it sends.
//! Method: each known attack, bounded in count, from one client against one worker, while an honest client of the same
//! worker makes requests; then the end that the attack came to, and what it cost in memory, CPU and the neighbour's time.

use std::io::ErrorKind::ConnectionReset;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::frames::code::{CANCEL, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, PROTOCOL_ERROR};
use crate::harness::frames::flag::{END_HEADERS, END_STREAM, NONE, WHOLE};
use crate::harness::frames::{
    self, Frames, frame, integer, kind, literal, ping, request, reset, settings, window,
};
use crate::harness::*;
use crate::tls::Tls;
use crate::workers::resident_kib;

/// What an attack may cost.
struct Price {
    /// What the process may grow by.
    growth_kib: u64,
    /// CPU, in requests of the neighbour's (its own are counted apart), so that it means the same on a slow machine.
    requests: f64,
}

/// Of an attack that begins little: up to 430 requests' worth were seen.
const LITTLE: Price = Price { growth_kib: 4 * 1024, requests: 1_500.0 };
/// Of one that has exchanges begun by hundreds, or holds sixty open: 80 KiB each, and some. Up to 3 300 requests' worth were
/// seen.
const MUCH: Price = Price { growth_kib: 10 * 1024, requests: 8_000.0 };
/// Requests that the neighbour makes at least, and how long each may take.
const NEIGHBOUR_REQUESTS: usize = 20;
const NEIGHBOUR_PATIENCE: Duration = Duration::from_millis(250);
/// Requests that the cost of one is read from, before the attack and behind it.
const MEASURED_REQUESTS: u32 = 50;

/// Runs `attack` beside a neighbour; asserts what it cost.
#[track_caller]
fn besiege<T>(proxy: &Proxy, attack: impl FnOnce() -> T) -> T {
    besiege_at(LITTLE, proxy, attack)
}

/// As [`besiege`], at another price.
#[track_caller]
fn besiege_at<T>(price: Price, proxy: &Proxy, attack: impl FnOnce() -> T) -> T {
    let mut neighbour = proxy.client();
    let before = cost_of_a_request(proxy, &mut neighbour);
    let (memory, cpu) = (resident_kib(proxy), proxy.cpu_time());
    let over = AtomicBool::new(false);
    let (result, mut times, peak, cpu_after) = thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let (mut times, mut peak) = (Vec::new(), 0);
            while !over.load(Ordering::SeqCst) || times.len() < NEIGHBOUR_REQUESTS {
                let since = Instant::now();
                assert_eq!(neighbour.exchange(get("/neighbour")).head.status(), 200);
                times.push(since.elapsed());
                peak = peak.max(resident_kib(proxy));
                thread::sleep(Duration::from_millis(2)); // a client that asks now and then
            }
            (times, peak, proxy.cpu_time())
        });
        let result = catch_unwind(AssertUnwindSafe(attack)); // the neighbour must not wait for ever
        over.store(true, Ordering::SeqCst);
        let (times, peak, cpu) = neighbour.join().unwrap();
        (result, times, peak, cpu)
    });
    let result = result.unwrap_or_else(|panic| resume_unwind(panic));
    let request = before.max(cost_of_a_request(proxy, &mut neighbour));
    let grown = peak.saturating_sub(memory);
    let spent = (cpu_after - cpu).saturating_sub(request * u32::try_from(times.len()).unwrap());
    let requests = spent.div_duration_f64(request);
    times.sort();
    // The slowest may have met another process on its core.
    let slow = times[times.len() - 1 - times.len() / 20];
    eprintln!(
        "{grown} KiB, {requests:.0} requests of {request:?}, {} of the neighbour, {slow:?}",
        times.len()
    );
    assert!(grown <= price.growth_kib, "grew by {grown} KiB");
    assert!(requests <= price.requests, "cost as much as {requests:.0} requests");
    assert!(slow <= NEIGHBOUR_PATIENCE, "the neighbour waited {slow:?}");
    assert!(!proxy.stderr().contains("panicked"));
    result
}

/// CPU that the proxy spends on one request of the neighbour.
fn cost_of_a_request(proxy: &Proxy, neighbour: &mut Peer) -> Duration {
    let before = proxy.cpu_time();
    for _ in 0..MEASURED_REQUESTS {
        assert_eq!(neighbour.exchange(get("/measured")).head.status(), 200);
    }
    (proxy.cpu_time() - before) / MEASURED_REQUESTS
}

fn fine() -> Origin {
    Origin::serve(|_| ok("fine"))
}

/// A proxy that says why it cuts a client.
fn outspoken(origin: &Origin) -> Proxy {
    Proxy::with(origin, &["--log-level", "info,ringress::net::client_h2=debug"])
}

/// HEADERS of a `GET`.
fn get_on(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, stream, request("GET", "/"))
}

/// HEADERS of a `POST` whose body follows.
fn post_on(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS, stream, request("POST", "/"))
}

/// Sends up to `count` pieces and reads nothing; how many were taken.
fn pour(frames: &mut Frames, count: u32, piece: impl Fn(u32) -> Vec<u8>) -> u32 {
    (0..count).find(|i| frames.peer.try_send(piece(*i)).is_err()).unwrap_or(count)
}

/// The code of the GOAWAY that the connection ends with; it must end.
#[track_caller]
fn verdict(frames: &mut Frames) -> Option<u32> {
    let all = frames.until(|_| false);
    all.iter().rfind(|frame| frame.kind == kind::GOAWAY).map(frames::Frame::code)
}

/// As a flood ends: with ENHANCE_YOUR_CALM, or, where what it still sends overtakes that, with RST.
#[track_caller]
fn assert_calmed(frames: &mut Frames) {
    let verdict = verdict(frames);
    assert!(matches!(verdict, None | Some(ENHANCE_YOUR_CALM)), "{verdict:?}");
}

/// CVE-2023-44487: streams reset as soon as they are opened.
#[test]
fn rapid_resets() {
    let origin = fine();
    let proxy = Proxy::of(&origin);
    let mut attacker = Frames::connect(proxy.addr());
    besiege(&proxy, || {
        pour(&mut attacker, 20_000, |i| [get_on(2 * i + 1), reset(2 * i + 1, CANCEL)].concat());
        assert_calmed(&mut attacker);
    });
}

/// The same, with patience: each stream is reset when it runs, so that an origin's connection is lost with it.
#[test]
fn resets_of_running_streams() {
    let origin = Origin::start(|mut conn| {
        if conn.request_head().is_some_and(|head| head.target() != "/") {
            conn.send(ok("fine"));
            answering(|_| ok("fine"))(conn);
        } else {
            let _ = conn.until_end();
        }
    });
    let proxy = outspoken(&origin);
    let mut attacker = Frames::connect(proxy.addr());
    let endured = besiege_at(MUCH, &proxy, || {
        (0..3_000).find(|i| {
            attacker.send(get_on(2 * i + 1));
            let alive = attacker.barrier().1;
            attacker.send(reset(2 * i + 1, CANCEL));
            !alive
        })
    });
    assert!(endured.is_some_and(|streams| streams < 1_500), "{endured:?} streams");
    eventually("the log to say so", || proxy.stderr().contains("flood").then_some(()));
    // A stream that met a connection of the neighbour's was answered.
    proxy.log_where("the log of a reset", |line| {
        line.get("path") == "/" && line.get("detail") == "client-gone"
    });
}

/// CVE-2025-8671: the server is made to reset streams whose exchanges run on.
#[test]
fn provoked_resets() {
    type Provocation<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>);
    let provocations: [Provocation<'_>; 4] = [
        ("a window too large", &|stream| window(stream, u32::MAX >> 1)),
        ("a window of 0 more", &|stream| window(stream, 0)),
        ("a second head", &|stream| frame(kind::HEADERS, END_HEADERS, stream, literal("x-a", "b"))),
        ("a stream on itself", &|stream| {
            frame(kind::PRIORITY, NONE, stream, [&stream.to_be_bytes()[..], &[1]].concat())
        }),
    ];
    let origin = fine();
    let proxy = Proxy::of(&origin);
    for (what, provoke) in provocations {
        let mut attacker = Frames::connect(proxy.addr());
        besiege(&proxy, || {
            pour(&mut attacker, 5_000, |i| [post_on(2 * i + 1), provoke(2 * i + 1)].concat());
            let code = verdict(&mut attacker);
            assert!(
                matches!(code, None | Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR | FLOW_CONTROL_ERROR)),
                "{what}: {code:?}"
            );
        });
    }
}

/// CVE-2024-27316 and its like: a header block that does not end, of large frames and of empty ones.
#[test]
fn continuation_floods() {
    let origin = fine();
    let proxy = Proxy::of(&origin);
    for piece in [Vec::new(), literal("x-a", "b"), literal("x-a", "b").repeat(2_000)] {
        let mut attacker = Frames::connect(proxy.addr());
        besiege(&proxy, || {
            attacker.send(frame(kind::HEADERS, END_STREAM, 1, request("GET", "/")));
            let taken = pour(&mut attacker, 20_000, |_| frame(kind::CONTINUATION, NONE, 1, &piece));
            assert_calmed(&mut attacker);
            assert!(taken < 20_000, "all were taken");
        });
    }
}

/// A field that is sent once and meant ten thousand times: the list is measured as decoded.
#[test]
fn header_list_bombs() {
    let origin = fine();
    let proxy = Proxy::of(&origin);
    let field = [vec![0x40], frames::string("x-bomb"), frames::string("x".repeat(3_900))].concat();
    let bomb = |stream: u32, times: usize| {
        let block = [request("GET", "/"), field.clone(), integer(0x80, 7, 62).repeat(times)].concat();
        frame(kind::HEADERS, WHOLE, stream, block)
    };
    besiege(&proxy, || {
        for _ in 0..20 {
            let mut attacker = Frames::connect(proxy.addr());
            attacker.send(bomb(1, 10_000));
            assert_calmed(&mut attacker);
        }
        let mut attacker = Frames::connect(proxy.addr());
        attacker.send((0..100).map(|i| bomb(2 * i + 1, 9)).collect::<Vec<_>>().concat());
        for i in 0..100 {
            let answer = attacker.until(|frame| frame.kind == kind::HEADERS);
            assert_eq!(answer.last().map(|frame| frame.payload[..].starts_with(b"\x88")), Some(false), "{i}");
        }
    });
    assert!(origin.heads().iter().all(|head| !head.has("x-bomb")));
}

/// Fields of nothing (CVE-2019-9516): without a name they are none, and without a value there are not many.
#[test]
fn empty_fields() {
    let origin = fine();
    let proxy = Proxy::of(&origin);
    besiege(&proxy, || {
        for (field, times) in [(literal("", ""), 4_000), (literal("x", ""), 4_000), (literal("x", ""), 400)] {
            let mut attacker = Frames::connect(proxy.addr());
            let block = [request("GET", "/"), field.repeat(times)].concat();
            attacker.send(frame(kind::HEADERS, WHOLE, 1, block));
            let answer =
                attacker.until(|frame| matches!(frame.kind, kind::HEADERS | kind::RST_STREAM | kind::GOAWAY));
            assert!(answer.last().is_some_and(|frame| frame.kind != kind::HEADERS || frame.status() == 431));
        }
    });
    assert!(origin.heads().iter().all(|head| head.target() != "/"));
}

/// Frames that mean nothing, by tens of thousands: such a client is cut, whether it reads the answers or not.
#[test]
fn idle_frames() {
    type Flood<'a> = (&'a str, &'a dyn Fn() -> Vec<u8>);
    let floods: [Flood<'_>; 7] = [
        ("empty DATA", &|| frame(kind::DATA, NONE, 1, [])),
        ("SETTINGS", &|| settings(&[(3, 9)])),
        ("PING", &|| ping(&[0; 8])),
        ("PRIORITY", &|| frame(kind::PRIORITY, NONE, 3, [0, 0, 0, 0, 9])),
        ("an unknown frame", &|| frame(0x42, NONE, 0, [])),
        ("WINDOW_UPDATE", &|| window(0, 1)),
        ("WINDOW_UPDATE of a stream", &|| window(1, 1)),
    ];
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.request_head() {
            if head.target() == "/" {
                let _ = conn.until_end();
                return;
            }
            conn.send(ok("fine"));
        }
    });
    let proxy = outspoken(&origin);
    for (what, flood) in floods {
        for reads in [false, true] {
            let mut attacker = Frames::connect(proxy.addr());
            attacker.send(post_on(1));
            let pieces = flood().repeat(100);
            let said = proxy.stderr().matches("flood").count();
            besiege(&proxy, || {
                let mut reader = Frames { peer: attacker.peer.writer() };
                thread::scope(|scope| {
                    let reader = scope.spawn(move || {
                        if reads {
                            assert_calmed(&mut reader)
                        }
                    });
                    pour(&mut attacker, 500, |_| pieces.clone());
                    reader.join().unwrap();
                });
                if !reads {
                    assert_calmed(&mut attacker);
                }
            });
            eventually(&format!("the log to speak of {what}"), || {
                (proxy.stderr().matches("flood").count() > said).then_some(())
            });
        }
    }
}

/// What is no flood: a ping now and then, a client that opens its window for every little piece, a stream that is
/// reset here and there.
#[test]
fn busy_clients_are_no_flood() {
    let origin = Origin::serve(|_| ok(&"x".repeat(100_000)));
    let proxy = Proxy::of(&origin);
    let mut client = Frames::connect(proxy.addr());
    client.send([settings(&[(4, 512)]), window(0, 1 << 24)].concat());
    besiege_at(MUCH, &proxy, || {
        for i in 0..20 {
            let stream = 2 * i + 1;
            client.send(get_on(stream));
            loop {
                let frame = client.next().expect("a response");
                if frame.stream == stream && frame.ends() {
                    break;
                }
                if frame.kind == kind::DATA && frame.stream == stream {
                    client.send([window(stream, 512), window(0, 512), ping(&[0; 8])].concat());
                }
            }
        }
        for i in 20..200 {
            client.send([get_on(2 * i + 1)].concat());
            assert!(client.barrier().1, "cut after {i} streams");
            client.send(reset(2 * i + 1, CANCEL));
        }
        assert!(client.barrier().1);
    });
}

/// Windows that never open: the origins wait, and `--write-timeout` ends it.
#[test]
fn stalled_windows() {
    let origin =
        Origin::serve(|request| ok(&"x".repeat(if request.head.target() == "/" { 2_000_000 } else { 4 })));
    let proxy = Proxy::with(&origin, &["--write-timeout", "700ms"]);
    let mut attacker = Frames::connect(proxy.addr());
    besiege_at(MUCH, &proxy, || {
        attacker.send(settings(&[(4, 0)]));
        attacker.send((0..60).map(|i| get_on(2 * i + 1)).collect::<Vec<_>>().concat());
        let mut resets = 0;
        attacker.until(|frame| {
            resets += usize::from(frame.kind == kind::RST_STREAM && frame.code() == CANCEL);
            resets == 60
        });
        assert_eq!(resets, 60);
    });
    assert_eq!(proxy.log_for("/").get("phase"), "write");
}

/// Handshakes that drip in, and what is no handshake, from fifty clients at once: each ends by itself.
#[test]
fn slow_and_senseless_handshakes() {
    let origin = fine();
    let tls = Tls::with(&origin, &["--handshake-timeout", "800ms"]);
    let name = "wire.test".try_into().unwrap();
    let mut hello = Vec::new();
    rustls::ClientConnection::new(tls.authority.trusting(), name).unwrap().write_tls(&mut hello).unwrap();
    let began = Instant::now();
    besiege(&tls.proxy, || {
        let mut dripping: Vec<_> = (0..50).map(|_| tls.raw()).collect();
        let mut garbled: Vec<_> = (0..50).map(|_| tls.raw()).collect();
        for tcp in &mut garbled {
            let _ = tcp.write_all(&[0x16, 0x03, 0x01, 0x40, 0x00].repeat(4_000));
        }
        for byte in hello.iter().take(30) {
            for tcp in &mut dripping {
                let _ = tcp.write_all(&[*byte]);
            }
            thread::sleep(Duration::from_millis(30)); // so slow is the drip
        }
        for tcp in dripping.iter_mut().chain(&mut garbled) {
            let _ = tcp.read_to_end(&mut Vec::new());
        }
    });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// TLS 1.2 knows renegotiation, and a client may ask for it without end: it gets none, and is served on or cut.
#[test]
fn renegotiation_is_refused() {
    let origin = fine();
    let tls = Tls::of(&origin);
    let addr = tls.proxy.addrs[1].to_string();
    let output = besiege(&tls.proxy, || {
        let mut client = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &addr,
                "-servername",
                "wire.test",
                "-tls1_2",
                "-legacy_renegotiation",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl");
        let mut input = client.stdin.take().unwrap();
        for _ in 0..20 {
            let _ = input.write_all(b"R\n");
            thread::sleep(Duration::from_millis(5)); // s_client looks at one read as one command
        }
        drop(input);
        client.wait_with_output().unwrap()
    });
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || said.contains("unexpected"), "{said}");
}

/// TLS 1.3 has key updates in its place, and each asks for one in return: whoever sends nothing else is cut.
#[test]
fn key_updates() {
    let origin = fine();
    let tls = Tls::of(&origin);
    let name = "wire.test".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(tls.authority.trusting(), name).unwrap();
    let mut tcp = tls.raw();
    while client.is_handshaking() {
        client.complete_io(&mut tcp).unwrap();
    }
    besiege(&tls.proxy, || {
        for _ in 0..5_000 {
            if client.refresh_traffic_keys().is_err() || client.write_tls(&mut tcp).is_err() {
                break;
            }
        }
        let _ =
            tcp.read_to_end(&mut Vec::new()).inspect_err(|error| assert_eq!(error.kind(), ConnectionReset));
    });
}
