//! Goal: threads, cores and memory are what the documentation says. Method: the real binary, seen through /proc.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::frames::{Frames, flag, frame, kind, request, window};
use crate::harness::*;
use crate::lifecycle::open_stream;

/// The cores each worker thread of `pid` may run on, as the kernel lists them.
fn worker_cores(pid: u32) -> Vec<String> {
    let mut cores: Vec<String> = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .filter(|status| status.starts_with("Name:\tworker-"))
        .filter_map(|status| {
            status.split_once("Cpus_allowed_list:\t").map(|(_, rest)| rest.lines().next().unwrap().to_owned())
        })
        .collect();
    cores.sort();
    cores
}

/// Waits until there are `count` workers whose cores satisfy `settled`: threads name and pin themselves.
fn settled_cores(pid: u32, count: usize, settled: impl Fn(&str) -> bool) -> Vec<String> {
    eventually("the workers have settled", || {
        let cores = worker_cores(pid);
        (cores.len() == count && cores.iter().all(|list| settled(list))).then_some(cores)
    })
}

fn is_one_core(list: &str) -> bool {
    list.parse::<usize>().is_ok()
}

/// Cores this test may run on.
fn own_cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

/// `--workers auto` is one per core, each pinned to its own.
#[test]
fn one_pinned_worker_per_core() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--workers", "auto", "--pin", "on"]);
    let cores = settled_cores(proxy.pid(), own_cores(), is_one_core);
    let mut distinct = cores.clone();
    distinct.dedup();
    assert_eq!(distinct, cores, "two workers share a core");
}

/// `--pin off` leaves the choice to the kernel.
#[test]
fn unpinned_workers_run_anywhere() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--workers", "2"]);
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let whole = status.split_once("Cpus_allowed_list:\t").unwrap().1.lines().next().unwrap();
    assert_eq!(settled_cores(proxy.pid(), 2, |_| true), [whole, whole]);
}

/// The affinity mask of the process is the limit: under `taskset` to one core there is one worker.
#[test]
fn affinity_mask_is_respected() {
    let mut child = Command::new("taskset")
        .args(["-c", "0", env!("CARGO_BIN_EXE_ringress")])
        .args(["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        let n = std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
        assert_ne!(n, 0, "ended before it listened");
    }
    let cores = settled_cores(child.id(), 1, is_one_core);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(cores, ["0"]);
}

/// Resident memory of the proxy in KiB.
pub fn resident_kib(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Resident KiB that each of many clients costs once `open` has brought it to rest.
fn cost_kib(proxy: &Proxy, open: impl Fn() -> Peer) -> f64 {
    const WARM: usize = 50;
    const MANY: usize = 300;
    let _warm: Vec<Peer> = (0..WARM).map(|_| open()).collect();
    let before = resident_kib(proxy);
    let _many: Vec<Peer> = (0..MANY).map(|_| open()).collect();
    resident_kib(proxy).saturating_sub(before) as f64 / MANY as f64
}

/// An idle connection, a silent stream and a silent tunnel hold no buffer: each costs far less than the smallest
/// buffer of the pool (16 KiB).
#[test]
fn silence_holds_no_buffer() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            match head.target() {
                "/idle" => conn.send(ok("fine")),
                "/stream" => conn.send(CHUNKED.to_owned() + &chunk("one")),
                _ => conn
                    .send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"),
            }
            if head.target() != "/idle" {
                held.pass();
                return;
            }
        }
    });
    let proxy = Proxy::of(&origin);
    let idle = cost_kib(&proxy, || {
        let mut client = proxy.client();
        assert_eq!(client.exchange(get("/idle")).text(), "fine");
        client
    });
    let stream = cost_kib(&proxy, || open_stream(&proxy));
    let tunnel = cost_kib(&proxy, || {
        let mut client = proxy.client();
        client.send("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        assert_eq!(client.head().status(), 101);
        client
    });
    let http2 = cost_kib(&proxy, || {
        let mut client = Frames::connect(proxy.addr());
        client.send(frame(kind::HEADERS, flag::WHOLE, 1, request("GET", "/idle")));
        assert!(client.until(|frame| frame.ends()).last().is_some_and(|frame| frame.stream == 1));
        client.peer
    });
    gate.open();
    for (what, each, most) in [
        ("idle connection", idle, 3.0),
        ("stream", stream, 5.0),
        ("tunnel", tunnel, 5.0),
        ("idle connection of HTTP/2", http2, 24.0), // 12 of it are buffers that `h2` keeps, one page of each
    ] {
        eprintln!("{each:.1} KiB for each {what}");
        assert!(each < most, "{each} KiB for each {what}");
    }
}

/// What a spike of connections took goes back to the system within seconds after it, though nothing else happens.
#[test]
fn memory_goes_back_after_a_spike() {
    const SPIKE: usize = 2_000;
    let origin = Origin::start(|mut conn| {
        while conn.request_head().is_some() {
            conn.send(ok("fine"));
        }
    });
    let proxy = Proxy::of(&origin);
    assert_eq!(proxy.client().exchange(get("/")).text(), "fine");
    let before = resident_kib(&proxy);
    let clients: Vec<Peer> = (0..SPIKE).map(|_| proxy.client()).collect();
    let during = eventually("the spike", || {
        let now = resident_kib(&proxy);
        (now > before + 1_500).then_some(now)
    });
    drop(clients);
    eventually("two thirds of the spike's memory to go back", || {
        (resident_kib(&proxy) < before + (during - before) / 3).then_some(())
    });
}

/// What waited of one response waits of the next in the same memory: it does not grow with their number.
#[test]
fn memory_does_not_grow_with_responses() {
    const BODY: usize = 100_000;
    let origin = Origin::serve(|_| ok(&"x".repeat(BODY)));
    let proxy = Proxy::of(&origin);
    let mut client = Frames::connect(proxy.addr());
    let mut download = |index: u32| {
        let stream = 2 * index + 1;
        client.send(frame(kind::HEADERS, flag::WHOLE, stream, request("GET", "/")));
        let mut bytes = 0;
        while bytes < BODY {
            let frame = client.next().expect("a response");
            if frame.kind == kind::DATA && !frame.payload.is_empty() {
                bytes += frame.payload.len();
                let more = u32::try_from(frame.payload.len()).unwrap();
                client.send([window(0, more), window(stream, more)].concat());
            }
        }
    };
    (0..20).for_each(&mut download);
    let before = resident_kib(&proxy);
    (20..220).for_each(&mut download);
    let grown = resident_kib(&proxy).saturating_sub(before);
    assert!(grown < 4 * 1024, "grew by {grown} KiB");
}
