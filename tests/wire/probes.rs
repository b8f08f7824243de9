//! Goal: probes find out who is well, as the configuration says, and nothing else. Method: configuration files with short
//! intervals, scripted origins that are well or not, and the log of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Signal;

use crate::harness::*;

/// The file of one group with these upstreams and this check.
fn file(upstreams: &[String], more: &str) -> String {
    group("app", "/", upstreams, more)
}

/// One more group, that requests below `path` go to.
fn beside(name: &str, upstreams: &[String], more: &str) -> String {
    group(name, &format!("/{name}"), upstreams, more)
}

fn group(name: &str, path: &str, upstreams: &[String], more: &str) -> String {
    format!(
        "[groups.{name}]\nupstreams = {upstreams:?}\n{more}\n[[route]]\npath = {path:?}\ngroup = {name:?}\n"
    )
}

/// A proxy with a file, in front of everything else that is local to this test.
struct Checked(Proxy);

impl std::ops::Deref for Checked {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.0
    }
}

impl Checked {
    #[track_caller]
    fn start(file: &str, flags: &[&str]) -> Checked {
        let folder = fresh_folder();
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (config, log) = (at("ringress.toml"), at("access.log"));
        std::fs::write(&config, file).unwrap();
        let own = ["--config", &config, "--listen", "127.0.0.1:0", "--access-log", &log];
        let args = [own.as_slice(), &["--workers", "1", "--pin", "off"], flags].concat();
        Checked(Proxy::launch(folder.clone(), &binary(), &args, |command| command))
    }

    #[track_caller]
    fn reload(&self, file: &str) {
        let next = self.folder().join("next.toml");
        std::fs::write(&next, file).unwrap();
        std::fs::rename(next, self.folder().join("ringress.toml")).unwrap();
        self.signal(Signal::HUP);
        self.says(&["configuration loaded again"]);
    }

    /// Waits for a line of the log with all these words; returns it.
    #[track_caller]
    fn says(&self, words: &[&str]) -> String {
        let said = |line: &&str| words.iter().all(|word| line.contains(word));
        eventually(&format!("{words:?}"), || self.stderr().lines().find(said).map(str::to_owned))
    }

    #[track_caller]
    fn assert_unavailable(&self) {
        let began = Instant::now();
        let head = self.get("/").head;
        assert_eq!(head.status(), 503, "{head:?}");
        assert!(head.value("proxy-status").unwrap().contains("destination_unavailable"), "{head:?}");
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    }
}

/// An origin that answers `/healthz` with what `health` holds, and everything else with 200.
fn patient() -> (Origin, Arc<AtomicU16>) {
    let health = Arc::new(AtomicU16::new(200));
    let told = Arc::clone(&health);
    let origin = Origin::serve(move |request| match request.head.target() {
        "/healthz" => answer(told.load(Ordering::SeqCst)),
        _ => ok("served"),
    });
    (origin, health)
}

fn answer(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn probes_of(origin: &Origin) -> usize {
    origin.heads_for("/healthz").len()
}

/// Waits for `count` more probes of `origin`.
#[track_caller]
fn probed(origin: &Origin, count: usize) {
    let before = probes_of(origin);
    eventually("more probes", || (probes_of(origin) >= before + count).then_some(()));
}

const QUICK: &str = r#"check = { http = "/healthz", interval = "20ms", healthy = 3, unhealthy = 2 }"#;

/// 503 takes an endpoint out after two probes, 200 puts it back after three; traffic follows.
#[test]
fn an_endpoint_that_is_not_well_gets_nothing_until_it_is() {
    let ((ill, health), (well, _)) = (patient(), patient());
    health.store(503, Ordering::SeqCst);
    let (bad, good) = (ill.addr.to_string(), well.addr.to_string());
    let mut proxy = Checked::start(&file(&[bad.clone(), good], QUICK), &["--log-level", "debug"]);
    let line = proxy.says(&["WARN", "an upstream endpoint is down: 2 bad probes in a row"]);
    assert!(line.contains("group=\"app\"") && line.contains("status 503") && line.contains(&bad), "{line}");
    let single = proxy.says(&["DEBUG", "a probe was bad"]);
    assert!(single.contains(&bad) && single.contains("status 503"), "{single}");
    let before = ill.heads_for("/").len();
    (0..20).for_each(|_| assert_eq!(proxy.get("/").head.status(), 200));
    assert_eq!((ill.heads_for("/").len(), well.heads_for("/").len()), (before, 20 - before));
    health.store(204, Ordering::SeqCst);
    proxy.says(&["INFO", "an upstream endpoint is up: 3 good probes in a row"]);
    eventually("a request for it", || {
        proxy.get("/");
        (ill.heads_for("/").len() > before).then_some(())
    });
    assert_eq!(proxy.stderr().matches("an upstream endpoint is").count(), 2, "once each");
    proxy.0.assert_healthy();
}

/// Whoever has one bad probe among good ones stays.
#[test]
fn one_bad_probe_is_not_enough() {
    let count = AtomicUsize::new(0);
    let origin = Origin::serve(move |_| {
        let bad = count.fetch_add(1, Ordering::SeqCst) % 2 == 0;
        answer(if bad { 500 } else { 200 })
    });
    let proxy = Checked::start(&file(&[origin.addr.to_string()], QUICK), &[]);
    probed(&origin, 20);
    assert!(!proxy.stderr().contains("down"), "{}", proxy.stderr());
}

/// All endpoints are down, also those whose probes hang: whoever asks is told at once.
#[test]
fn with_everybody_down_requests_are_refused_at_once() {
    let (origin, health) = patient();
    health.store(500, Ordering::SeqCst);
    let proxy = Checked::start(&file(&[origin.addr.to_string()], QUICK), &[]);
    proxy.says(&["endpoint is down"]);
    proxy.assert_unavailable();
    assert!(origin.heads_for("/").is_empty());
}

/// An answer that does not come, and a head that drips: bad when the timeout is over, and not before. One probe at a time.
#[test]
fn a_probe_that_hangs_is_bad_at_its_timeout() {
    for drips in [false, true] {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (tell, told) = inbox();
        let highest = Arc::clone(&most);
        let origin = Origin::start(move |mut conn| {
            if conn.request_head().is_none() {
                return;
            }
            highest.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _ = tell.send(Instant::now());
            conn.send("HTTP/1.1 200 OK\r\n");
            while drips && conn.try_send("X: y\r\n").is_ok() && !conn.stirs_within(Duration::from_millis(20))
            {
            }
            conn.until_end();
            open.fetch_sub(1, Ordering::SeqCst);
        });
        let check = r#"check = { http = "/healthz", interval = "10ms", timeout = "400ms", unhealthy = 1 }"#;
        let proxy = Checked::start(&file(&[origin.addr.to_string()], check), &[]);
        let began = told.take();
        let line = proxy.says(&["down: 1 bad probes in a row"]);
        assert_took(began, Duration::from_millis(400));
        assert!(line.contains("no answer in time"), "{line}");
        told.take();
        told.take();
        assert_eq!(most.load(Ordering::SeqCst), 1, "one at a time");
        proxy.assert_unavailable();
    }
}

/// A TCP probe connects, says nothing, and is good where somebody accepts.
#[test]
fn a_tcp_probe_connects_and_says_nothing() {
    let check = r#"check = { tcp = true, interval = "20ms", timeout = "300ms", healthy = 1, unhealthy = 1 }"#;
    let (tell, told) = inbox();
    let listen = move |mut conn: Conn| tell.send(conn.until_end()).unwrap_or_default();
    let mut origin = Origin::start(listen.clone());
    let (deaf, _queue) = deaf_listener();
    let dead = dead_address();
    let upstreams = [origin.addr, deaf, dead].map(|addr| addr.to_string());
    let proxy = Checked::start(&file(&upstreams, check), &[]);
    (0..5).for_each(|_| assert_eq!(told.take(), (Vec::new(), End::Fin)));
    assert!(proxy.says(&["is down", &upstreams[1]]).contains("no answer in time"));
    assert!(proxy.says(&["is down", &upstreams[2]]).contains("cannot connect"));
    assert!(!proxy.stderr().lines().any(|line| line.contains("is down") && line.contains(&upstreams[0])));
    origin.kill();
    proxy.says(&["is down", &upstreams[0]]);
    proxy.assert_unavailable();
    let _again = Origin::start_at(origin.addr, listen);
    proxy.says(&["is up", &upstreams[0]]);
}

/// Path, Host, and that nothing of a response but its head matters; without a Host it is the endpoint's.
#[test]
fn the_request_is_as_configured() {
    let huge = || Origin::serve(|_| [ok("").as_slice(), &vec![b'x'; 1 << 20]].concat());
    let (named, plain) = (huge(), huge());
    let check = |more: &str| format!(r#"check = {{ http = "/up?full=1", interval = "20ms"{more} }}"#);
    let text = beside("named", &[named.addr.to_string()], &check(r#", host = "app.internal:81""#))
        + &file(&[plain.addr.to_string()], &check(""));
    let proxy = Checked::start(&text, &[]);
    for (origin, host) in [(&named, "app.internal:81".to_owned()), (&plain, plain.addr.to_string())] {
        let heads = eventually("probes", || Some(origin.heads()).filter(|heads| heads.len() > 3));
        for head in heads {
            assert_eq!(head.first, "GET /up?full=1 HTTP/1.1");
            assert_eq!((head.values("host"), head.values("connection")), (vec![&*host], vec!["close"]));
            assert_eq!(head.value("user-agent"), Some("ringress-probe"));
        }
    }
    assert!(!proxy.stderr().contains("down"), "{}", proxy.stderr());
}

/// `expect` decides, interim responses do not, and what is no response is bad.
#[test]
fn only_the_expected_status_is_good() {
    let check =
        |expect| format!(r#"check = {{ http = "/", interval = "10ms", unhealthy = 1, expect = {expect} }}"#);
    let early =
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    for (expect, response, down) in [
        ("\"200-399\"", answer(399), None),
        ("\"200-399\"", answer(400), Some("status 400")),
        ("404", early.clone(), None),
        ("200", early, Some("status 404")),
        ("200", b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), Some("no valid response")),
        ("200", b"HTTP/1.1 200 OK\r\n".to_vec(), Some("closed without a response")),
        ("200", [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'a'; 100_000]].concat(), Some("no valid response")),
    ] {
        let origin = Origin::start(move |mut conn| {
            if conn.request_head().is_some() {
                let _ = conn.try_send(&response);
                conn.half_close();
                conn.until_end();
            }
        });
        let proxy = Checked::start(&file(&[origin.addr.to_string()], &check(expect)), &[]);
        match down {
            None => {
                eventually("probes", || (origin.accepted() > 5).then_some(()));
                assert!(!proxy.stderr().contains("down"), "{}", proxy.stderr());
            }
            Some(why) => assert!(proxy.says(&["is down"]).contains(why), "{}", proxy.stderr()),
        }
    }
}

/// With TLS: trusted, and asked by name; a certificate of nobody we trust is bad, for `tcp` too.
#[test]
fn probes_speak_tls_where_traffic_does() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let serving = |of: &Authority| {
        let config = authority.serving(&of.server(&["localhost"]), None);
        Origin::start_tls(config, answering(|_| answer(200)))
    };
    let (ours, foreign) = (serving(&authority), serving(&Authority::new()));
    let plain = Origin::start(|mut conn| {
        conn.some(1);
        conn.send(answer(400));
    });
    let ca = folder.write("ca.pem", &authority.pem);
    let at = |origin: &Origin| format!("https://localhost:{}", origin.addr.port());
    let tcp = r#"check = { tcp = true, interval = "20ms", unhealthy = 1 }"#;
    let text = beside("tcp", &[at(&foreign), at(&plain)], tcp)
        + &file(
            &[at(&ours), at(&foreign)],
            r#"check = { http = "/healthz", interval = "20ms", unhealthy = 1 }"#,
        )
        + &format!("[upstream-tls]\nca = {ca:?}\n");
    let proxy = Checked::start(&text, &[]);
    let port = foreign.addr.port().to_string();
    for group in ["tcp", "app"] {
        let line = proxy.says(&["is down", &format!("group=\"{group}\""), &port]);
        assert!(line.contains("TLS: ") && line.contains("certificate"), "{line}");
    }
    assert!(proxy.says(&["is down", "tcp", &plain.addr.port().to_string()]).contains("TLS: "));
    let heads = eventually("probes", || Some(ours.heads_for("/healthz")).filter(|heads| heads.len() > 3));
    assert_eq!(heads[3].value("host"), Some(&*format!("localhost:{}", ours.addr.port())));
    assert_eq!(proxy.get("/").head.status(), 200);
}

/// HTTP/2 with and without TLS is probed in HTTP/2, by whatever status comes; an origin of HTTP/1.1 fails.
#[test]
fn origins_of_http2_are_probed_in_http2() {
    let check = r#"check = { http = "/healthz?a=b", interval = "20ms", unhealthy = 1, healthy = 1 }"#;
    let (authority, folder) = (Authority::new(), Folder::new());
    let mut config = Arc::unwrap_or_clone(authority.serving(&authority.server(&["localhost"]), None));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let ca = folder.write("ca.pem", &authority.pem);
    for tls in [false, true] {
        let origin =
            if tls { Http2Origin::start_tls(&Arc::new(config.clone())) } else { Http2Origin::start() };
        let old = patient().0;
        let port = origin.addr.port();
        let (upstream, host) = match tls {
            true => (format!("h2://localhost:{port}"), format!("localhost:{port}")),
            false => (origin.upstream(), origin.addr.to_string()),
        };
        let text = beside("old", &[format!("h2c://{}", old.addr)], check)
            + &file(&[upstream], check)
            + &format!("[upstream-tls]\nca = {ca:?}\n");
        let proxy = Checked::start(&text, &[]);
        let tell = |status: u16| {
            let mut asked = origin.next();
            let head = http::Response::builder().status(status).body(()).unwrap();
            let mut body = asked.respond.send_response(head, false).unwrap();
            let _ = body.send_data(Bytes::from(vec![b'x'; 1 << 20]), true);
            asked.request
        };
        let request = tell(204);
        assert_eq!(request.uri().path_and_query().unwrap(), "/healthz?a=b");
        assert_eq!(request.uri().authority().unwrap(), &*host);
        assert_eq!(request.uri().scheme_str(), Some(if tls { "https" } else { "http" }));
        assert_eq!(
            (request.method().as_str(), &request.headers()["user-agent"]),
            ("GET", &"ringress-probe".parse().unwrap())
        );
        tell(200);
        assert!(!proxy.stderr().contains("group=\"app\""), "{}", proxy.stderr());
        tell(503);
        assert!(proxy.says(&["is down", "group=\"app\""]).contains("status 503"));
        tell(200);
        proxy.says(&["is up", "group=\"app\""]);
        assert!(proxy.says(&["is down", "group=\"old\""]).contains("HTTP/2: "));
        eventually("connections are closed", || (origin.open() <= 1).then_some(()));
    }
}

/// Where connections begin with a PROXY header, those of probes do: it names nobody.
#[test]
fn a_probe_introduces_itself_where_traffic_does() {
    for (version, header) in
        [("v1", b"PROXY UNKNOWN\r\n".as_slice()), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")]
    {
        let (tell, told) = inbox();
        let origin = Origin::start(move |mut conn| {
            let start = conn.exactly(header.len() + 4);
            let _ = tell.send(start);
        });
        let more = format!("send-proxy = \"{version}\"\n{QUICK}");
        let _proxy = Checked::start(&file(&[origin.addr.to_string()], &more), &[]);
        assert_eq!(told.take(), [header, b"GET "].concat());
    }
}

/// A Unix socket is probed like any other.
#[test]
fn unix_sockets_are_probed() {
    let folder = Folder::new();
    let path = folder.path("app.sock");
    let origin = Origin::start_unix(path.as_ref(), answering(|_| answer(200)));
    let proxy = Checked::start(&file(&[format!("unix:{path}"), "unix:/nowhere/at/all".into()], QUICK), &[]);
    probed(&origin, 5);
    assert_eq!(origin.heads()[0].value("host"), Some("localhost"));
    assert!(proxy.says(&["is down", "/nowhere/at/all"]).contains("cannot connect"));
    assert_eq!(proxy.get("/").head.status(), 200);
}

/// A check that goes away takes with it what it found; nobody is probed any more, and when it comes back it begins anew.
#[test]
fn a_check_that_goes_away_forgets() {
    let ((origin, health), (pulse, _)) = (patient(), patient());
    health.store(503, Ordering::SeqCst);
    let upstreams = [origin.addr.to_string()];
    let beat = beside("pulse", &[pulse.addr.to_string()], QUICK);
    let proxy = Checked::start(&(beat.clone() + &file(&upstreams, QUICK)), &[]);
    proxy.says(&["endpoint is down"]);
    proxy.assert_unavailable();
    proxy.reload(&(beat + &file(&upstreams, "")));
    eventually("it gets requests", || (proxy.get("/").head.status() == 200).then_some(()));
    let last = probes_of(&origin);
    probed(&pulse, 10);
    assert!(probes_of(&origin) <= last + 1, "{} after {last}", probes_of(&origin));
}

/// Endpoints that a reload takes away are left alone, in the middle of a probe too; the others are probed on.
#[test]
fn probes_of_removed_endpoints_end() {
    let (stays, _) = patient();
    let (came, gone) = (Gate::new(), Gate::new());
    let (coming, going) = (came.clone(), gone.clone());
    let leaves = Origin::start(move |mut conn| {
        if conn.request_head().is_some() {
            coming.open();
            conn.until_end();
            going.open();
        }
    });
    let check = r#"check = { http = "/healthz", interval = "20ms", timeout = "1h" }"#;
    let upstreams = [stays.addr, leaves.addr].map(|addr| addr.to_string());
    let proxy = Checked::start(&file(&upstreams, check), &[]);
    came.pass();
    proxy.reload(&file(&upstreams[..1], check));
    gone.pass();
    probed(&stays, 10);
    assert_eq!(leaves.accepted(), 1);
}

/// Only so many at once: of more endpoints that hang, the last are probed when the first are through.
#[test]
fn probes_under_way_are_bounded() {
    const MOST: usize = 64;
    let (tell, told) = inbox();
    let origin = Origin::start_at(([0, 0, 0, 0], 0).into(), move |mut conn| {
        let _ = tell.send(Instant::now());
        conn.until_end();
    });
    let upstreams: Vec<String> = (1..=90).map(|n| format!("127.0.0.{n}:{}", origin.addr.port())).collect();
    let check = r#"check = { http = "/healthz", interval = "100ms", timeout = "2s", unhealthy = 1 }"#;
    let _proxy = Checked::start(&file(&upstreams, check), &[]);
    let mut times: Vec<Instant> = (0..90).map(|_| told.take()).collect();
    times.sort();
    assert!(times[MOST - 1] - times[0] < SLACK, "{:?}", times[MOST - 1] - times[0]);
    assert!(times[MOST] - times[0] >= Duration::from_millis(1900), "{:?}", times[MOST] - times[0]);
}

/// An ejection that is over is told of, though nobody asks for the endpoint.
#[test]
fn an_ejection_ends_without_traffic() {
    let origin = Origin::serve(|_| answer(503));
    let more = r#"ejection = { consecutive = 1, base = "300ms" }"#;
    let upstreams = [origin.addr.to_string(), dead_address().to_string()];
    let proxy = Checked::start(&file(&upstreams, more), &[]);
    eventually("an ejection", || {
        proxy.get("/");
        proxy.stderr().contains("is ejected").then_some(())
    });
    proxy.says(&["INFO", "an upstream endpoint is readmitted", "group=\"app\""]);
}
