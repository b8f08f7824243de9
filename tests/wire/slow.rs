//! Promise 2 and its backstop: a slow reader stalls its own origin, nobody else, and costs bounded memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::workers::resident_kib;

/// What two pairs of socket buffers may hold, and then some.
const SENT_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// An origin that sends as much as it is let, counting, and small answers on `/small`.
fn gushing_origin(framing: &'static str) -> (Origin, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let origin = Origin::start({
        let sent = sent.clone();
        move |mut conn| {
            while let Some(head) = conn.request_head() {
                if head.target() == "/small" {
                    conn.send(ok("small"));
                    continue;
                }
                conn.send(framing);
                let piece = match framing == CHUNKED {
                    true => chunk(&"x".repeat(65_536)),
                    false => "x".repeat(65_536),
                };
                while conn.try_send(&piece).is_ok() {
                    sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
                }
                return;
            }
        }
    });
    (origin, sent)
}

/// Waits until the counter has stood still for 300 ms.
fn settled(sent: &AtomicU64) -> u64 {
    let mut last = (u64::MAX, Instant::now());
    eventually("the origin stalls", || {
        let now = sent.load(Ordering::SeqCst);
        assert!(now < 4 * SENT_BYTES_MAX, "the origin never stalls: {now} bytes");
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(300) && now > 0).then_some(now)
    })
}

/// A client that reads nothing stalls the origin; `--write-timeout` cuts it; its neighbour does not notice.
#[test]
fn slow_reader_stalls_the_origin_and_is_cut() {
    for framing in [CHUNKED, "HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n"] {
        let (origin, sent) = gushing_origin(framing);
        let proxy = Proxy::with(&origin, &["--write-timeout", "2s"]);
        let mut neighbour = proxy.client();
        assert_eq!(neighbour.exchange(get("/small")).text(), "small");
        let before = resident_kib(&proxy);
        let mut client = Peer::connect_narrow(proxy.addr());
        client.send(get("/gush"));
        let head = client.head();
        let stalled_at = settled(&sent);
        assert!(stalled_at < SENT_BYTES_MAX, "the origin could send {stalled_at} bytes");
        let grown = resident_kib(&proxy).saturating_sub(before);
        assert!(grown < 4 * 1024, "one stalled stream costs {grown} KiB");
        assert_eq!(neighbour.exchange(get("/small")).text(), "small");

        let line = proxy.log_for("/gush");
        assert_eq!((line.get("status"), line.get("phase")), ("200", "write"));
        assert_ne!(line.get("error"), "");
        assert_eq!(neighbour.exchange(get("/small")).text(), "small");
        assert!(!client.response_body("GET", &head).complete, "a cut response looked complete");
    }
}

/// A client that reads slowly but steadily is never cut.
#[test]
fn steady_slow_reader_is_not_cut() {
    const STEP: usize = 1024 * 1024;
    let (origin, _sent) = gushing_origin("HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n");
    let proxy = Proxy::with(&origin, &["--write-timeout", "1s", "--stream-idle-timeout", "1s"]);
    let mut client = Peer::connect_narrow(proxy.addr());
    client.send(get("/gush"));
    client.head();
    for _ in 0..15 {
        client.exactly(STEP);
        thread::sleep(Duration::from_millis(200));
    }
    client.exactly(16 * STEP);
}

/// A slow origin stalls an upload, and the client with it.
#[test]
fn slow_origin_stalls_the_upload() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut conn| {
            let head = conn.request_head().unwrap();
            gate.pass();
            let body = conn.request_body(&head);
            conn.send(ok(&body.bytes.len().to_string()));
        }
    });
    const BYTES: usize = 64 * 1024 * 1024;
    let proxy = Proxy::of(&origin);
    let mut client = proxy.client();
    let sent = Arc::new(AtomicU64::new(0));
    let sender = thread::spawn({
        let (mut writer, sent) = (client.writer(), sent.clone());
        move || {
            writer.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n"));
            for _ in 0..BYTES / 65_536 {
                writer.send([b'x'; 65_536]);
                sent.fetch_add(65_536, Ordering::SeqCst);
            }
        }
    });
    let stalled_at = settled(&sent);
    assert!(stalled_at < 2 * SENT_BYTES_MAX, "the client could send {stalled_at} bytes");
    gate.open();
    assert_eq!(client.response().text(), BYTES.to_string());
    sender.join().unwrap();
}

/// A gushing stream does not starve a neighbour on the same worker: its requests stay quick.
#[test]
fn busy_stream_leaves_room_for_neighbours() {
    let (origin, _sent) = gushing_origin(CHUNKED);
    let proxy = Proxy::of(&origin);
    let mut greedy = proxy.client();
    greedy.send(get("/gush"));
    greedy.head();
    let stop = Gate::new();
    let reader = thread::spawn({
        let stop = stop.clone();
        move || {
            stop.open();
            while matches!(greedy.chunk(), Chunk::Data(_)) {}
        }
    });
    stop.pass();
    let mut neighbour = proxy.client();
    let mut took: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(neighbour.exchange(get("/small")).text(), "small");
            started.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[50] < Duration::from_millis(100), "median {:?}, worst {:?}", took[50], took[99]);
    drop(origin);
    reader.join().unwrap();
}

/// A reader so slow that its socket has no room for longer than `--write-timeout` is not cut while it reads: it is
/// judged by what it acknowledges, not by when there is room again (a third of megabytes).
#[test]
fn reader_slower_than_the_send_buffer_is_not_cut() {
    let (origin, _sent) = gushing_origin("HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n");
    let proxy = Proxy::with(&origin, &["--write-timeout", "1s"]);
    let mut client = Peer::connect_narrow(proxy.addr());
    client.send(get("/gush"));
    assert_eq!(client.head().status(), 200);
    // 320 KB/s: the loopback's large segments let the window open a few times a second, and the send queue takes
    // several seconds to free a third.
    for _ in 0..80 {
        client.exactly(16 * 1024);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(proxy.log_lines().is_empty(), "cut: {:?}", proxy.log_lines());
}
