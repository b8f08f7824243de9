//! What a service manager sees: readiness, the watchdog, socket activation, the unit files. Method: the test is the
//! service manager.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::*;

/// A service, and what it says to its manager.
struct Service {
    proxy: Proxy,
    said: UnixDatagram,
}

impl Service {
    #[track_caller]
    fn start(origin: &Origin, flags: &[&str], prepare: impl FnOnce(&mut Command) -> &mut Command) -> Service {
        let folder = fresh_folder();
        let path = folder.join("notify");
        let said = UnixDatagram::bind(&path).unwrap();
        let upstream = origin.addr.to_string();
        let mut args = vec!["--listen", "127.0.0.1:0", "--pin", "off", "--upstream", &upstream];
        args.extend(flags);
        let proxy = Proxy::launch(folder.clone(), &binary(), &args, |command| {
            prepare(command.env("NOTIFY_SOCKET", &path))
        });
        Service { proxy, said }
    }

    /// The next message; `None` after so much silence.
    fn within(&self, wait: Duration) -> Option<String> {
        self.said.set_read_timeout(Some(wait)).unwrap();
        let mut buf = [0; 1024];
        let n = self.said.recv(&mut buf).ok()?;
        Some(String::from_utf8(buf[..n].to_vec()).unwrap())
    }

    #[track_caller]
    fn next(&self) -> String {
        self.within(PATIENCE).expect("a message")
    }
}

/// READY when it serves, RELOADING and READY around SIGHUP, STOPPING when it drains; nothing else without a watchdog.
#[test]
fn the_service_manager_is_told() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut service = Service::start(&origin, &["--workers", "2"], |command| command);
    assert_eq!(service.next(), "READY=1");
    assert_eq!(service.proxy.get("/").text(), "fine");
    service.proxy.signal(Signal::HUP);
    let reloading = service.next();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(since.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(service.next(), "READY=1");
    service.proxy.terminate();
    assert_eq!(service.next(), "STOPPING=1");
    assert_eq!(service.proxy.wait().code(), Some(0));
    assert_eq!(service.within(Duration::from_millis(1)), None);
}

/// In an upgrade the old process names the new one, which is what the manager follows from then on; the service neither
/// stops nor becomes ready again, and the watchdog is fed throughout.
#[test]
fn an_upgrade_names_the_new_process() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut service = Service::start(&origin, &["--workers", "1"], |command| {
        command.env("WATCHDOG_USEC", "2000000").env("WATCHDOG_PID", "") // as if for this process
    });
    assert_eq!(service.next(), "READY=1");
    let output = run_to_exit(&["upgrade", "--pid", &service.proxy.pid().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(service.proxy.wait().code(), Some(0));
    let mut told: Vec<String> = Vec::new();
    while !told.last().is_some_and(|last| last.contains("MAINPID")) {
        told.push(service.next());
    }
    let (last, before) = told.split_last().unwrap();
    assert!(before.iter().all(|message| message == "WATCHDOG=1"), "{told:?}");
    let pid = last.strip_prefix("WATCHDOG=1\nMAINPID=").unwrap();
    assert!(said.contains(pid), "{said}: {last}");
    assert_eq!((service.next(), service.next()), ("WATCHDOG=1".into(), "WATCHDOG=1".into()));
    assert_eq!(service.proxy.get("/").text(), "fine");
}

/// The watchdog is fed in time while all workers live, and not at all when one of two hangs.
#[test]
fn a_hung_worker_starves_the_watchdog() {
    let origin = Origin::serve(|_| ok("fine"));
    let service =
        Service::start(&origin, &["--workers", "2"], |command| command.env("WATCHDOG_USEC", "400000"));
    assert_eq!(service.next(), "READY=1");
    for _ in 0..20 {
        assert_eq!(service.within(Duration::from_secs(2)).as_deref(), Some("WATCHDOG=1"));
    }
    let mut victim = service.proxy.client();
    victim.send(get("/.fault/hang"));
    eventually("it says so", || service.proxy.stderr().contains("a worker hangs").then_some(()));
    while service.within(Duration::from_millis(1)).is_some() {}
    assert_eq!(service.within(Duration::from_millis(1500)), None, "fed in spite of it");
}

/// Without a watchdog of the manager's, or with one that is meant for another process, nothing is fed.
#[test]
fn a_watchdog_for_another_process_is_left_alone() {
    let origin = Origin::serve(|_| ok("fine"));
    let service = Service::start(&origin, &["--workers", "1"], |command| {
        command.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1")
    });
    assert_eq!(service.next(), "READY=1");
    assert_eq!(service.within(Duration::from_millis(300)), None);
}

// ----- socket activation

/// Starts the binary with `sockets` (one or two) from descriptor 3 on.
#[track_caller]
fn activate(origin: &Origin, sockets: &[&TcpListener], listen: SocketAddr, workers: &str) -> Proxy {
    let folder = fresh_folder();
    let script = folder.join("activate");
    let (count, binary) = (sockets.len(), binary());
    let lines = match count {
        1 => "exec 3<&0 </dev/null",
        _ => "exec 3<&0 4<&1 </dev/null >/dev/null",
    };
    let body = format!(
        "#!/bin/bash\n{lines}\nexport LISTEN_PID=$$ LISTEN_FDS={count}\nexec {} \"$@\"\n",
        binary.display()
    );
    std::fs::write(&script, body).unwrap();
    let (listen, upstream) = (listen.to_string(), origin.addr.to_string());
    let script = script.to_str().unwrap().to_owned();
    let args =
        [script.as_str(), "--listen", &listen, "--upstream", &upstream, "--workers", workers, "--pin", "off"];
    Proxy::launch(folder, Path::new("/bin/bash"), &args, |command| {
        let passed = |index: usize| sockets.get(index).map(|it| OwnedFd::from(it.try_clone().unwrap()));
        command.stdin(Stdio::from(passed(0).unwrap()));
        match passed(1) {
            Some(second) => command.stdout(Stdio::from(second)),
            None => command,
        }
    })
}

/// A socket of the manager is used by every worker, survives the service, and keeps those who come in between.
#[test]
fn sockets_of_the_service_manager_are_used_and_left_open() {
    let origin = Origin::serve(|_| ok("fine"));
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = passed.local_addr().unwrap();
    let mut early = Peer::connect(addr); // activation: the client comes first
    early.send(get("/early"));
    let mut service = activate(&origin, &[&passed], addr, "2");
    assert_eq!(service.addrs, [addr]);
    assert_eq!(early.response().text(), "fine");
    for _ in 0..20 {
        assert_eq!(service.get("/").text(), "fine");
    }
    drop(early);
    service.terminate();
    assert_eq!(service.wait().code(), Some(0));
    let mut between = Peer::connect(addr);
    between.send(get("/between"));
    let mut service = activate(&origin, &[&passed], addr, "1");
    assert_eq!(between.response().text(), "fine");
    drop(between);

    // An upgrade passes it on as what it is: not to be shut down by the last of them either.
    let output = run_to_exit(&["upgrade", "--pid", &service.pid().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(service.wait().code(), Some(0));
    let successor = String::from_utf8(output.stdout).unwrap();
    let successor = successor.rsplit_once("process ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(service.get("/").text(), "fine");
    rustix::process::kill_process(rustix::process::Pid::from_raw(successor).unwrap(), Signal::TERM).unwrap();
    eventually("the successor ends", || service.stderr().matches("ringress stopped").nth(1).map(|_| ()));
    TcpStream::connect(addr).expect("the manager's socket still listens");
}

/// A socket that no flag names is reported and not served; an address that has no socket is bound as ever.
#[test]
fn sockets_that_nobody_asked_for_are_named() {
    let origin = Origin::serve(|_| ok("fine"));
    let (wanted, stray) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let stray_addr = stray.local_addr().unwrap();
    let service = activate(&origin, &[&wanted, &stray], wanted.local_addr().unwrap(), "1");
    assert_eq!(service.get("/").text(), "fine");
    let warned = |line: &str| line.contains("WARN") && line.contains(&stray_addr.to_string());
    assert!(service.stderr().lines().any(warned), "{}", service.stderr());
}

// ----- the unit files

/// systemd itself has no objection to the unit files, and rates the service as well protected. Skipped where it is not
/// installed.
#[test]
fn the_unit_files_are_sound() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let folder = fresh_folder();
    for name in ["ringress.service", "ringress.socket"] {
        let unit = std::fs::read_to_string(scripts.join(name)).unwrap();
        let unit = unit.replace("/usr/local/bin/ringress", binary().to_str().unwrap());
        std::fs::write(folder.join(name), unit.replace("=ringress\n", "=daemon\n")).unwrap();
    }
    let analyze = |verb: &[&str]| {
        let units = ["ringress.service", "ringress.socket"].map(|name| folder.join(name));
        let units = if verb[0] == "verify" { &units[..] } else { &units[..1] };
        Command::new("systemd-analyze").args(verb).args(units).env("SYSTEMD_COLORS", "0").output()
    };
    let Ok(verified) = analyze(&["verify", "--man=no"]) else { return };
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = complaints.lines().filter(|line| line.contains("ringress.")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{complaints}");
    let security = analyze(&["security", "--offline=true", "--no-pager", "--threshold=20"]).unwrap();
    assert!(security.status.success(), "{}", String::from_utf8_lossy(&security.stdout));
    std::fs::remove_dir_all(folder).unwrap();
}

/// The watchdog of the unit leaves a worker that hangs for a moment more time than we need to notice it.
#[test]
fn the_unit_is_what_the_program_needs() {
    let unit = include_str!("../../scripts/ringress.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("NotifyAccess"), "main");
    assert_eq!(value("KillMode"), "mixed");
    assert!(value("WatchdogSec").parse::<u64>().unwrap() * 1000 >= 4 * ringress::limits::PULSE_MS);
}
