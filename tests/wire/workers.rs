//! Goal: threads, cores and memory are what the documentation says. Method: the real binary, seen through /proc.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::*;

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
fn resident_kib(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// An idle connection holds no buffer: it costs far less than the smallest buffer of the pool (16 KiB).
#[test]
fn idle_connections_hold_no_buffer() {
    const IDLE: usize = 400;
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::of(&origin);
    let mut warm: Vec<Peer> = (0..50).map(|_| proxy.client()).collect();
    warm.iter_mut().for_each(|client| assert_eq!(client.exchange(get("/")).text(), "fine"));
    let before = resident_kib(&proxy);
    let mut idle: Vec<Peer> = (0..IDLE).map(|_| proxy.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.exchange(get("/")).text(), "fine"));
    let each = (resident_kib(&proxy).saturating_sub(before)) as f64 / IDLE as f64;
    assert!(each < 8.0, "{each} KiB for each idle connection");
}
