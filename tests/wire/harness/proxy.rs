//! The real binary on port 0, with its access log and its standard error in the test's hands.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, kill_process_group, prlimit};

use super::log::Line;
use super::origin::Origin;
use super::peer::{Peer, Response};
use super::{PATIENCE, eventually, get};

/// The program under test; `RINGRESS_BIN` names another build of it.
pub fn binary() -> PathBuf {
    std::env::var_os("RINGRESS_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ringress").into(), PathBuf::from)
}

/// A folder of this test's own.
pub fn fresh_folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wire-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// A command for the binary without any `RINGRESS_*` of the environment.
fn command(args: &[&str]) -> Command {
    command_of(&binary(), args)
}

fn command_of(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGRESS_") {
            command.env_remove(name);
        }
    }
    // Debug builds fail on demand: see `net/fault.rs`.
    command.env("RINGRESS_FAULTS", "on");
    command
}

/// Runs the binary with arguments that make it end by itself.
#[track_caller]
pub fn run_to_exit(args: &[&str]) -> Output {
    let mut child = command(args).spawn().expect("spawn");
    let deadline = std::time::Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > deadline {
            let _ = child.kill();
            panic!("{args:?} did not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("output")
}

/// A running proxy. Dropping it kills it.
pub struct Proxy {
    child: Child,
    /// Where it listens: each `--listen` in order, then each `--tls-listen`, then each `--http-redirect`.
    pub addrs: Vec<SocketAddr>,
    stderr: Arc<Mutex<String>>,
    folder: PathBuf,
    /// It leads a process group, which ends with it: its successors.
    leads: bool,
}

impl Proxy {
    /// In front of one origin.
    #[track_caller]
    pub fn of(origin: &Origin) -> Proxy {
        Proxy::with(origin, &[])
    }

    /// In front of one origin, with more flags.
    #[track_caller]
    pub fn with(origin: &Origin, flags: &[&str]) -> Proxy {
        Proxy::to(&[&origin.addr.to_string()], flags)
    }

    /// In front of any upstreams.
    #[track_caller]
    pub fn to(upstreams: &[&str], flags: &[&str]) -> Proxy {
        let mut args = vec!["--listen", "127.0.0.1:0"];
        args.extend(upstreams.iter().flat_map(|upstream| ["--upstream", upstream]));
        args.extend(flags);
        Proxy::serve(fresh_folder(), &args)
    }

    /// With a configuration file; its listener is on port 0 unless it names some itself.
    #[track_caller]
    pub fn configured(file: &str, flags: &[&str]) -> Proxy {
        let folder = fresh_folder();
        let path = folder.join("ringress.toml");
        std::fs::write(&path, file).expect("a configuration file");
        let mut args = vec!["--config", path.to_str().expect("a path in UTF-8")];
        if !file.contains("[[listener]]") {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        args.extend(flags);
        Proxy::serve(folder, &args)
    }

    #[track_caller]
    fn serve(folder: PathBuf, flags: &[&str]) -> Proxy {
        let log = folder.join("access.log");
        let log = log.to_str().expect("a path in UTF-8");
        // Proxies of tests that run at once must not all sit on the first core.
        let mut args = flags.to_vec();
        for (flag, value) in [("--workers", "1"), ("--pin", "off"), ("--access-log", log)] {
            if !flags.contains(&flag) {
                args.extend([flag, value]);
            }
        }
        Proxy::start(command(&args).stdout(Stdio::null()), folder, &args, false)
    }

    /// A program of the test's own that becomes the binary, with exactly these arguments; `prepare` may change how it is
    /// started. What it starts ends with it.
    #[track_caller]
    pub fn launch(
        folder: PathBuf,
        program: &Path,
        args: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Proxy {
        let mut command = command_of(program, args);
        prepare(command.stdout(Stdio::null()).process_group(0));
        Proxy::start(&mut command, folder, args, true)
    }

    #[track_caller]
    fn start(command: &mut Command, folder: PathBuf, args: &[&str], leads: bool) -> Proxy {
        let mut child = command.spawn().expect("spawn");
        let stderr = collect(child.stderr.take().expect("piped"));
        let listens = |flag: &&&str| matches!(**flag, "--listen" | "--tls-listen" | "--http-redirect");
        let listeners = args.iter().filter(listens).count().max(1);
        let mut proxy = Proxy { child, addrs: Vec::new(), stderr, folder, leads };
        proxy.addrs = proxy.wait_for_listeners(listeners);
        proxy
    }

    #[track_caller]
    fn wait_for_listeners(&mut self, count: usize) -> Vec<SocketAddr> {
        let (child, stderr) = (&mut self.child, &self.stderr);
        eventually("the proxy listens", || {
            let text = stderr.lock().unwrap().clone();
            let addrs: Vec<SocketAddr> = text.lines().filter_map(listening_address).collect();
            let exited = child.try_wait().unwrap();
            assert!(exited.is_none(), "the proxy ended with {exited:?}: {text}");
            (addrs.len() >= count).then_some(addrs)
        })
    }

    /// Its (first) address.
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// Where `--admin` listens.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        eventually("the admin listener is announced", || {
            let stderr = self.stderr();
            stderr.lines().find_map(|line| line.split_once("ringress admin on ")?.1.parse().ok())
        })
    }

    /// A new client.
    #[track_caller]
    pub fn client(&self) -> Peer {
        Peer::connect(self.addr())
    }

    /// One `GET` on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.client().exchange(get(path))
    }

    /// A folder that lives as long as the proxy.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// CPU time that its threads have spent so far, to the nanosecond.
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("alive");
        let spent = threads.filter_map(|thread| {
            // Time on a CPU is the first of three numbers (Documentation/scheduler/sched-stats.rst); a thread may have ended.
            let stat = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// From now on it may open only so many descriptors beyond those it has.
    pub fn limit_descriptors(&self, spare: u64) {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("alive");
        let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
        let taken: HashSet<u64> = numbers.collect(); // with gaps, and with high ones it was born with
        let limit = (0..).filter(|number| !taken.contains(number)).nth(usize::try_from(spare).unwrap());
        let pid = Pid::from_raw(self.pid().cast_signed());
        prlimit(pid, Resource::Nofile, Rlimit { current: limit, maximum: limit }).expect("prlimit");
    }

    // ----- its configuration file

    /// Replaces the configuration file at one stroke; nobody is told.
    pub fn rewrite(&self, file: &str) {
        let next = self.folder.join("next.toml");
        std::fs::write(&next, file).expect("a configuration file");
        std::fs::rename(next, self.folder.join("ringress.toml")).expect("rename");
    }

    /// How often a configuration was loaded again, or was not for what is wrong with it.
    fn loads(&self, words: &str) -> usize {
        self.stderr().matches(words).count()
    }

    /// Replaces the configuration file, and waits until it is served.
    #[track_caller]
    pub fn reload(&self, file: &str) {
        self.reload_until(file, "configuration loaded again");
    }

    /// Replaces the configuration file by one that is no good, and waits until that was said.
    #[track_caller]
    pub fn reload_in_vain(&self, file: &str) {
        self.reload_until(file, "cannot load the configuration again");
    }

    #[track_caller]
    fn reload_until(&self, file: &str, words: &str) {
        let before = self.loads(words);
        self.rewrite(file);
        self.signal(Signal::HUP);
        eventually(words, || (self.loads(words) > before).then_some(()));
    }

    // ----- signals and the end

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("kill");
    }

    /// Asks it to drain and stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the proxy ends", || child.try_wait().unwrap())
    }

    /// Asserts that it neither ended nor reported a panic.
    #[track_caller]
    pub fn assert_healthy(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the proxy ended: {}", self.stderr());
        assert!(!self.stderr().contains("panicked"), "a panic: {}", self.stderr());
    }

    // ----- the access log

    /// Path of the access log.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    /// Complete lines of the access log so far.
    pub fn log_text(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(str::to_owned).collect()
    }

    /// Complete lines of the access log so far, parsed.
    pub fn log_lines(&self) -> Vec<Line> {
        self.log_text().iter().map(|line| Line::parse(line)).collect()
    }

    /// The first line with this path, as soon as it is there.
    #[track_caller]
    pub fn log_for(&self, path: &str) -> Line {
        self.log_where(&format!("a line for {path}"), |line| line.get("path") == path)
    }

    /// The first line that `wanted` accepts, as soon as it is there.
    #[track_caller]
    pub fn log_where(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        eventually(what, || self.log_lines().into_iter().find(&wanted))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.leads {
            let _ = kill_process_group(Pid::from_raw(self.pid().cast_signed()).expect("a pid"), Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "--- stderr of the proxy\n{}--- access log\n{}",
                self.stderr(),
                self.log_text().join("\n")
            );
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The address in a line `ringress listening on ADDRESS`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("listening on ")?;
    address.split_whitespace().next()?.parse().ok()
}

/// Collects standard error in the background.
fn collect(stderr: ChildStderr) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = text.clone();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut sink = sink.lock().unwrap();
            sink.push_str(&line);
            sink.push('\n');
        }
    });
    text
}
