//! Zero-loss restart: SIGUSR2 and `ringress upgrade`. Goal: whatever the new process is like, no client notices.
//! Method: generations of the real binary, started by a script whose settings the test changes in between.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::*;
use crate::lifecycle::{gated_stream, open_stream};

/// A server that can be replaced. Its program is a script, so that the next generation can be another one.
struct Dynasty {
    proxy: Proxy,
}

impl Dynasty {
    #[track_caller]
    fn found(origin: &Origin, workers: &str, flags: &[&str]) -> Dynasty {
        let folder = fresh_folder();
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (script, log, pid_file) = (at("ringress"), at("access.log"), at("pid"));
        let upstream = origin.addr.to_string();
        let mut args = vec!["--listen", "127.0.0.1:0", "--pin", "off"];
        if !flags.contains(&"--access-log") {
            args.extend(["--access-log", &log]);
        }
        args.extend(["--pid-file", &pid_file, "--upstream", &upstream]);
        args.extend(flags);
        write_script(Path::new(&script), &serving(workers));
        let proxy = Proxy::launch(folder.clone(), Path::new(&script), &args, |command| command);
        let dynasty = Dynasty { proxy };
        eventually("the pid file", || fs::read_to_string(&pid_file).ok());
        dynasty
    }

    /// From now on, this is the program.
    fn replace(&self, body: &str) {
        let script = self.proxy.folder().join("ringress");
        write_script(&script, body);
    }

    /// Who serves, by the pid file.
    fn pid(&self) -> u32 {
        fs::read_to_string(self.proxy.folder().join("pid")).unwrap().trim().parse().unwrap()
    }

    fn ask(&self) -> Output {
        run_to_exit(&["upgrade", "--pid-file", self.proxy.folder().join("pid").to_str().unwrap()])
    }

    /// Replaces the process. Returns the new one.
    #[track_caller]
    fn upgrade(&self) -> u32 {
        let before = self.pid();
        let output = self.ask();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        let after = self.pid();
        assert_ne!(after, before);
        assert!(said.contains(&before.to_string()) && said.contains(&after.to_string()), "{said}");
        after
    }

    #[track_caller]
    fn refuse(&self) -> String {
        let before = self.pid();
        let output = self.ask();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(self.pid(), before);
        said
    }
}

/// The lines of a script that serves with so many workers.
fn serving(workers: &str) -> String {
    let binary = binary();
    format!("export RINGRESS_WORKERS={workers}\nexec -a \"$0\" {} \"$@\"", binary.display())
}

/// Written aside and moved there: a program that runs cannot be written to.
fn write_script(path: &Path, body: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, format!("#!/bin/bash\n{body}\n")).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&fresh, path).unwrap();
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Whether it runs; a zombie does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[track_caller]
fn wait_for_end(pid: u32) {
    eventually("the old process ends", || (!runs(pid)).then_some(()));
}

/// Clients that never rest, until they are told to. Each failure is a panic of its thread.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn on(addr: SocketAddr) -> Load {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let start = |body: fn(SocketAddr, &AtomicBool, &AtomicUsize)| {
            let (stop, served) = (stop.clone(), served.clone());
            thread::spawn(move || body(addr, &stop, &served))
        };
        let threads = vec![
            start(new_connections),
            start(new_connections),
            start(kept_connections),
            start(kept_connections),
            start(streams),
        ];
        Load { stop, served, threads }
    }

    /// Waits until they have been served so many times more.
    #[track_caller]
    fn progress(&self, more: usize) {
        let goal = self.served.load(Ordering::Relaxed) + more;
        eventually("the load is served", || {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a client failed");
            (self.served.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client failed"));
        self.served.load(Ordering::Relaxed)
    }
}

fn new_connections(addr: SocketAddr, stop: &AtomicBool, served: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(Peer::connect(addr).exchange(get("/")).text(), "fine");
        served.fetch_add(1, Ordering::Relaxed);
    }
}

fn kept_connections(addr: SocketAddr, stop: &AtomicBool, served: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let mut client = Peer::connect(addr);
        while !stop.load(Ordering::Relaxed) {
            let response = client.exchange(get("/"));
            assert_eq!(response.text(), "fine");
            served.fetch_add(1, Ordering::Relaxed);
            if response.head.lists("connection", "close") {
                break;
            }
        }
    }
}

/// HTTP/2: a connection takes streams until GOAWAY has arrived; those it took are served. A stream that GOAWAY says was
/// not taken is for the next connection (RFC 9113 §6.8): `h2` sends its PONG, which ends the round trip that is allowed
/// for, before requests that were queued first.
fn streams(addr: SocketAddr, stop: &AtomicBool, served: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let mut client = Http2::connect(addr);
        while !stop.load(Ordering::Relaxed) {
            let Some(opened) = client.try_open(get2("/")) else { break };
            let response = match client.wait(opened.response) {
                Ok(response) => response,
                Err(error) if error.is_go_away() && error.is_remote() => {
                    assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR));
                    break;
                }
                Err(error) => panic!("{error}"),
            };
            assert_eq!(response.status(), 200);
            assert_eq!(client.rest(response.into_body()).unwrap().0, b"fine");
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Three upgrades in a row under load, to as many, fewer and more workers: nothing is refused, reset or failed. A stream
/// that is open across the first one runs on to its end.
#[test]
fn nothing_is_lost_in_upgrades_under_load() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let dynasty = Dynasty::found(&origin, "2", &[]);
    let first = dynasty.pid();
    assert_eq!(first, dynasty.proxy.pid());
    let mut stream = open_stream(&dynasty.proxy);
    let load = Load::on(dynasty.proxy.addr());
    load.progress(100);
    for workers in ["2", "1", "3"] {
        dynasty.replace(&serving(workers));
        let pid = dynasty.upgrade();
        load.progress(200);
        assert_eq!(worker_threads(pid), workers.parse::<usize>().unwrap());
    }
    assert!(runs(first), "it still has a stream");
    gate.open();
    let rest = stream.chunked();
    assert!(rest.complete && rest.bytes == b"two", "{rest:?}");
    drop(stream); // it was good for one more request
    load.end();
    wait_for_end(first);
    let last = dynasty.pid();
    signal(last, Signal::TERM);
    wait_for_end(last);
}

fn worker_threads(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("worker-")).count()
}

/// An idle connection is good for one request more, which says that it was the last.
#[test]
fn idle_connections_have_a_last_request() {
    let origin = Origin::serve(|_| ok("fine"));
    let dynasty = Dynasty::found(&origin, "1", &[]);
    let old = dynasty.pid();
    let (mut idle, mut fresh) = (dynasty.proxy.client(), dynasty.proxy.client());
    assert_eq!(idle.exchange(get("/")).text(), "fine");
    dynasty.upgrade();
    for client in [&mut idle, &mut fresh] {
        let last = client.exchange(get("/"));
        assert!(last.text() == "fine" && last.head.lists("connection", "close"), "{last:?}");
        client.assert_closed();
    }
    wait_for_end(old);
}

/// The order to stop ends the old process too: at once where clients are idle, and its streams in their own time.
#[test]
fn the_old_process_can_be_stopped() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let dynasty = Dynasty::found(&origin, "1", &[]);
    let old = dynasty.pid();
    let mut idle = dynasty.proxy.client();
    assert_eq!(idle.exchange(get("/")).text(), "fine");
    let mut stream = open_stream(&dynasty.proxy);
    dynasty.upgrade();
    signal(old, Signal::TERM);
    idle.assert_closed();
    gate.open();
    assert!(stream.chunked().complete);
    wait_for_end(old);
}

/// A program that cannot serve leaves the old one serving, and whoever asked is told why; also when it is a good one again.
#[test]
fn failures_leave_the_old_process_serving() {
    let origin = Origin::serve(|_| ok("fine"));
    let logs = fresh_folder();
    let log = logs.join("ringress.log");
    let dynasty = Dynasty::found(&origin, "2", &["--access-log", log.to_str().unwrap()]);
    let load = Load::on(dynasty.proxy.addr());
    load.progress(20);
    dynasty.replace(&serving("many"));
    assert!(dynasty.refuse().contains("exit code 2"));
    dynasty.replace("exit 7");
    assert!(dynasty.refuse().contains("exit code 7"));
    dynasty.replace("kill -SEGV $$");
    assert!(dynasty.refuse().contains("signal 11"));
    fs::remove_file(dynasty.proxy.folder().join("ringress")).unwrap();
    assert!(dynasty.refuse().contains("cannot start"));
    dynasty.replace(&serving("2"));
    fs::rename(&logs, logs.with_extension("away")).unwrap();
    assert!(dynasty.refuse().contains("ringress.log"), "the reason of the new process");
    load.progress(100);
    fs::rename(logs.with_extension("away"), &logs).unwrap();
    dynasty.upgrade();
    load.progress(100);
    load.end();
    fs::remove_dir_all(&logs).unwrap();
}

/// The order to stop, while the new process takes its time, ends both.
#[test]
fn stopping_gives_an_upgrade_up() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut dynasty = Dynasty::found(&origin, "1", &[]);
    let started = dynasty.proxy.folder().join("started");
    dynasty.replace(&format!("echo $$ > {0}.new; mv {0}.new {0}\nexec sleep 1000", started.display()));
    dynasty.proxy.signal(Signal::USR2);
    let child = eventually("the new process starts", || fs::read_to_string(&started).ok());
    dynasty.proxy.signal(Signal::USR2);
    eventually("one at a time", || dynasty.proxy.stderr().contains("under way").then_some(()));
    dynasty.proxy.terminate();
    assert_eq!(dynasty.proxy.wait().code(), Some(0));
    wait_for_end(child.trim().parse().unwrap());
    assert!(!dynasty.proxy.folder().join("pid").exists(), "the pid file goes with the process");
}

/// The new process has the sockets it was given and those it made: no connection of the old one, which could never be
/// closed then.
#[test]
fn nothing_leaks_into_the_new_process() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let dynasty = Dynasty::found(&origin, "1", &["--admin", "127.0.0.1:0"]);
    let clients: Vec<Peer> = (0..20).map(|_| open_stream(&dynasty.proxy)).collect();
    let before = sockets(dynasty.pid());
    let pid = dynasty.upgrade();
    let after = sockets(pid);
    assert!(before >= 40, "{before}: two for each of 20 streams");
    assert!(after < 20, "{after} sockets, of {before} before");
    gate.open();
    drop(clients);
}

fn sockets(pid: u32) -> usize {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// TLS and admin listeners are handed over too: none of many probes fails.
#[test]
fn the_admin_listener_is_handed_over() {
    let origin = Origin::serve(|_| ok("fine"));
    let dynasty = Dynasty::found(&origin, "1", &["--admin", "127.0.0.1:0"]);
    let admin = eventually("the admin listener", || {
        let text = dynasty.proxy.stderr();
        text.split_once("ringress admin on ")?.1.split_whitespace().next()?.parse::<SocketAddr>().ok()
    });
    let stop = Arc::new(AtomicBool::new(false));
    let probes = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                let probe = Peer::connect(admin).exchange("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
                assert!(probe.head.status() == 200, "{probe:?}");
            }
        }
    });
    for _ in 0..3 {
        dynasty.upgrade();
    }
    stop.store(true, Ordering::Relaxed);
    probes.join().unwrap();
}

/// `ringress upgrade` leaves processes alone that would die of its signal, and names what is wrong.
#[test]
fn other_processes_are_left_alone() {
    let mut innocent = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let output = run_to_exit(&["upgrade", "--pid", &innocent.id().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SIGUSR2"), "{output:?}");
    assert!(innocent.try_wait().unwrap().is_none(), "it was killed");
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    let output = run_to_exit(&["upgrade", "--pid-file", "/nonexistent/pid"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/pid"), "{output:?}");
}
