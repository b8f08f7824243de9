//! A request in steady state allocates nothing on its worker, and a silent stream keeps little: a counting allocator watches
//! the worker's thread while requests of every common shape pass.
//!
//! In a program of its own, because the allocator is the whole program's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringress::config::Config;
use ringress::control::dns::Resolver;
use ringress::control::log_writer::LogWriter;
use ringress::flags::{self, Command};
use ringress::limits;
use ringress::net::listener::{self, Door};
use ringress::net::shared::{Budget, Shared};
use ringress::net::site::Site;
use ringress::net::thread::{self, Setup};
use ringress::net::tls::OriginTls;
use ringress::telemetry::metrics::Shard;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes that the worker holds.
static HELD: AtomicI64 = AtomicI64::new(0);
/// Both are of one worker: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: every call is passed to the system's allocator as it is; the counter allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: `block` came from `System` with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(1, bytes as i64 - layout.size() as i64);
        // SAFETY: `block` came from `System` with this layout.
        unsafe { System.realloc(block, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(allocations: u64, bytes: i64) {
    // A thread that ends has no thread-locals left: not a worker's steady state.
    if IS_WORKER.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        HELD.fetch_add(bytes, Ordering::Relaxed);
    }
}

const ANSWERS: [(&str, &[u8]); 4] = [
    ("/length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("/chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("/stream", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("/nothing", b"HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"),
];

/// Reads one head; its request line, and the body announced by Content-Length.
fn read_message(from: &mut BufReader<TcpStream>, line: &mut String, body: &mut Vec<u8>) -> bool {
    line.clear();
    if from.read_line(line).unwrap_or(0) == 0 {
        return false;
    }
    let mut length = 0;
    loop {
        let mut field = String::new();
        from.read_line(&mut field).unwrap();
        if field == "\r\n" {
            break;
        }
        if let Some((name, value)) = field.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = usize::MAX;
            }
        }
    }
    if length == usize::MAX {
        read_chunks(from);
        return true;
    }
    body.resize(length, 0);
    from.read_exact(body).unwrap();
    true
}

fn read_chunks(from: &mut BufReader<TcpStream>) {
    loop {
        let mut size = String::new();
        from.read_line(&mut size).unwrap();
        let bytes = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; bytes + 2];
        from.read_exact(&mut chunk).unwrap();
        if bytes == 0 {
            return;
        }
    }
}

fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

fn answer(stream: TcpStream) {
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut to = stream;
    let (mut line, mut body) = (String::new(), Vec::new());
    while read_message(&mut from, &mut line, &mut body) {
        let target = line.split(' ').nth(1).unwrap();
        let (_, answer) = ANSWERS.iter().find(|(name, _)| *name == target).unwrap();
        if to.write_all(answer).is_err() {
            return;
        }
    }
}

fn config(origin: SocketAddr, log: &str) -> Config {
    let args = format!("ringress --listen 127.0.0.1:0 --upstream {origin} --workers 1 --access-log {log}");
    match flags::parse(args.split(' ').map(Into::into), &|path| std::fs::read_to_string(path)) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

/// A worker in this process, as control would start it; returns where it listens.
fn start_worker(log: &str) -> SocketAddr {
    let config = config(origin(), log);
    let (address, sockets) = listener::bind(config.listeners[0].address, 1).unwrap();
    let options = Arc::new(config.listeners[0].clone());
    let endpoints = Resolver::default().resolve(&config);
    let (writer, mut sinks) = LogWriter::start(&config.access_log, 1).unwrap();
    let door = |socket| Door { options: Arc::clone(&options), socket, kept: Arc::default() };
    let (ready, go) = (std::sync::mpsc::channel().0, std::sync::mpsc::channel());
    go.0.send(()).unwrap();
    sockets.iter().for_each(|socket| listener::listen(socket).unwrap());
    let setup = Setup {
        index: 0,
        core: None,
        doors: sockets.into_iter().map(door).collect(),
        ready,
        go: go.1,
        pulse: Arc::default(),
        doorbell: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap(),
        shared: Arc::new(Shared::new(
            Site::new(config, endpoints, OriginTls::default(), [1, 2]),
            Budget::within(1000, 1),
            Instant::now(),
        )),
        metrics: Arc::new(Shard::default()),
        log: sinks.pop(),
        id_seed: [1, 2],
    };
    std::thread::spawn(move || {
        let _writer = writer;
        IS_WORKER.set(true);
        thread::run(setup).unwrap();
    });
    address
}

/// Requests before counting: pools fill, tables grow.
const WARM_UP: usize = 300;
const COUNTED: usize = 2_000;

/// Allocations of the worker over `COUNTED` requests of one shape, on one connection.
fn allocations(proxy: SocketAddr, request: &str) -> u64 {
    let stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut to = stream;
    let (mut line, mut body) = (String::new(), Vec::new());
    let mut exchange = || {
        to.write_all(request.as_bytes()).unwrap();
        assert!(read_message(&mut from, &mut line, &mut body), "the proxy closed");
        assert!(line.starts_with("HTTP/1.1 20"), "{line}");
    };
    (0..WARM_UP).for_each(|_| exchange());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..COUNTED).for_each(|_| exchange());
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// What a table that grows or a second's housekeeping may take, and the buffers of the log, once: as many as its queue has
/// places are made when the writer's thread has to wait for its core.
const NOT_PER_REQUEST: u64 = 20 + limits::LOG_BATCHES_MAX as u64;

/// Goal: no allocation per request. Method: the worker's allocations over 2 000 requests of each shape must stay
/// far below one per request.
#[test]
fn a_request_in_steady_state_allocates_nothing() {
    let _alone = ALONE.lock().unwrap();
    let shapes = [
        ("length", "GET /length HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("chunked", "GET /chunked HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-One: 1\r\n\r\n"),
        ("no content, no date", "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("HEAD", "HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("upload", "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
        (
            "chunked upload",
            "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
    ];
    for log in ["off", "/dev/null"] {
        let proxy = start_worker(log);
        for (shape, request) in shapes {
            let allocations = allocations(proxy, request);
            assert!(
                allocations < NOT_PER_REQUEST,
                "{allocations} allocations in {COUNTED} requests ({shape}, access log {log})"
            );
        }
    }
}

/// Streams in each step: a power of two, at which tables have just grown.
const STREAMS: usize = 128;
/// What one may hold, both connections included. In PSS it is a quarter more: the allocator's size classes.
const STREAM_BYTES_MAX: i64 = 2_304;

/// Opens `n` streams whose first chunk has come, and which say nothing more.
fn open_streams(proxy: SocketAddr, n: usize) -> Vec<TcpStream> {
    let open = || {
        let mut stream = TcpStream::connect(proxy).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello\r\n") {
            let mut bytes = [0; 512];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the proxy closed");
            seen.extend_from_slice(&bytes[..read]);
        }
        stream
    };
    (0..n).map(|_| open()).collect()
}

/// Goal: thousands of silent streams cost little. Method: what the worker holds for one more of them, while as many are
/// open already.
#[test]
fn a_silent_stream_keeps_little() {
    let _alone = ALONE.lock().unwrap();
    let proxy = start_worker("off");
    let before = open_streams(proxy, STREAMS);
    let held = HELD.load(Ordering::Relaxed);
    let more = open_streams(proxy, STREAMS);
    let each = (HELD.load(Ordering::Relaxed) - held) / (STREAMS as i64);
    assert!((1..=STREAM_BYTES_MAX).contains(&each), "{each} bytes a stream");
    drop((before, more));
}
