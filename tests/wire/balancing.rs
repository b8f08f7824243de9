//! Goal: requests go to the endpoint that the group's balance says, never more at once than it may have, and not to one
//! that fails. Method: origins that hold, count and fail on demand; where two workers matter, there are two.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;

/// An origin that answers with its name.
fn named(name: &'static str) -> Origin {
    Origin::serve(move |_| ok(name))
}

/// One group, `app`, of these origins and with these settings, and one route to it.
fn file(origins: &[&Origin], settings: &str) -> String {
    let upstreams: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.addr)).collect();
    format!("[groups.app]\nupstreams = [{}]\n{settings}\n[[route]]\ngroup = \"app\"\n", upstreams.join(", "))
}

/// A `GET` with one more field.
fn get_with(path: &str, field: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: wire.test\r\n{field}\r\n\r\n")
}

/// Two workers share the counts: an endpoint that holds its requests is left alone by both.
#[test]
fn the_idle_one_is_preferred_by_all_workers() {
    let (told, heard) = inbox();
    let release = Gate::new();
    let origin = |name: &'static str, holds: bool| {
        let (told, release) = (told.clone(), release.clone());
        Origin::serve(move |_| {
            told.send(name).unwrap();
            if holds {
                release.pass();
            }
            ok(name)
        })
    };
    let (slow, fast) = (origin("slow", true), origin("fast", false));
    let proxy = Proxy::configured(&file(&[&slow, &fast], ""), &["--workers", "2"]);
    let mut held = Vec::new();
    for _ in 0..60 {
        let mut client = proxy.client();
        client.send(get("/"));
        match heard.take() {
            "slow" => held.push(client),
            _ => assert_eq!(client.response().text(), "fast"),
        }
    }
    // One when both were idle, and one or two more while an answer of the fast one was still on its way.
    assert!((1..=5).contains(&held.len()), "{} of 60 went to the busy one", held.len());
    held.iter().for_each(|_| release.open());
    held.iter_mut().for_each(|client| assert_eq!(client.response().text(), "slow"));
}

/// In turn, and by weights: three times the weight is three times the requests.
#[test]
fn round_robin_goes_by_weights() {
    let (a, b) = (named("a"), named("b"));
    let groups = format!(
        "[groups.app]\nbalance = \"round-robin\"\nupstreams = [\"{}\", {{ address = \"{}\", weight = 3 }}]\n\
         [[route]]\ngroup = \"app\"\n",
        a.addr, b.addr
    );
    let proxy = Proxy::configured(&groups, &[]);
    let mut client = proxy.client();
    let answers: String = (0..40).map(|_| client.exchange(get("/")).text()).collect();
    assert_eq!(answers.matches('a').count(), 10, "{answers}");
    assert!(!answers.contains("aa") && !answers.contains("bbbbbb"), "they take turns: {answers}");
}

/// Least requests: idle endpoints are shared by weights too.
#[test]
fn least_requests_goes_by_weights() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let groups = format!(
        "[groups.app]\nupstreams = [{{ address = \"{}\", weight = 8 }}, \"{}\", \"{}\"]\n[[route]]\ngroup = \"app\"\n",
        a.addr, b.addr, c.addr
    );
    let proxy = Proxy::configured(&groups, &[]);
    let mut client = proxy.client();
    let answers: String = (0..200).map(|_| client.exchange(get("/")).text()).collect();
    let share = answers.matches('a').count();
    assert!((120..=195).contains(&share), "{share} of 200 for eight of ten weights");
}

/// A key goes to the same endpoint from every connection and every worker, and keys are spread.
#[test]
fn a_hash_is_stable() {
    let origins = [named("a"), named("b"), named("c")];
    let origins: Vec<&Origin> = origins.iter().collect();
    for (key, field) in [("header:x-user", "X-User: "), ("cookie:user", "Cookie: other=1; user=")] {
        let settings = format!("balance = \"hash\"\nhash-key = \"{key}\"");
        let proxy = Proxy::configured(&file(&origins, &settings), &["--workers", "2"]);
        let mut homes: HashMap<usize, String> = HashMap::new();
        for round in 0..120 {
            let user = round % 24;
            let answer = proxy.client().exchange(get_with("/", &format!("{field}{user}"))).text();
            let home = homes.entry(user).or_insert_with(|| answer.clone());
            assert_eq!(*home, answer, "user {user} in round {round}");
        }
        let used: std::collections::HashSet<&String> = homes.values().collect();
        assert_eq!(used.len(), 3, "{homes:?}");
    }
}

/// The client's address as key; behind a trusted proxy, the address that it tells.
#[test]
fn a_hash_of_the_client_sees_through_trusted_proxies() {
    let origins = [named("a"), named("b"), named("c")];
    let origins: Vec<&Origin> = origins.iter().collect();
    let settings =
        "balance = \"hash\"\nhash-key = \"client\"\n[forwarding]\ntrusted-proxies = [\"127.0.0.0/8\"]";
    let proxy = Proxy::configured(&file(&origins, settings), &["--workers", "2"]);
    let ask =
        |n: usize| proxy.client().exchange(get_with("/", &format!("X-Forwarded-For: 10.0.0.{n}"))).text();
    let homes: Vec<String> = (0..24).map(ask).collect();
    assert_eq!(homes, (0..24).map(ask).collect::<Vec<_>>());
    assert!(["a", "b", "c"].iter().all(|name| homes.iter().any(|home| home == name)), "{homes:?}");
    let plain: Vec<String> = (0..12).map(|_| proxy.get("/").text()).collect();
    assert!(plain.iter().all(|home| *home == plain[0]), "{plain:?}");
}

/// The cookie of a response, as a client sends it back.
fn cookie(response: &Response) -> Option<String> {
    let set = response.head.value("set-cookie")?;
    assert_eq!(response.head.values("set-cookie").len(), 1);
    assert!(set.contains("; Path=/") && set.contains("HttpOnly"), "{set}");
    Some(set.split(';').next().unwrap().to_owned())
}

/// A sticky cookie: set with the first response, obeyed from every worker and not set again, set anew when its endpoint is
/// gone.
#[test]
fn a_cookie_keeps_a_client_at_home() {
    let (a, b) = (named("a"), named("b"));
    let (mut a, mut b) = (a, b);
    let proxy = Proxy::configured(&file(&[&a, &b], "sticky = { cookie = \"home\" }"), &["--workers", "2"]);
    let first = proxy.get("/");
    let home = cookie(&first).expect("a cookie");
    for _ in 0..20 {
        let again = proxy.client().exchange(get_with("/", &format!("Cookie: x=y; {home}")));
        assert_eq!((again.text(), cookie(&again)), (first.text(), None));
    }
    let strange = proxy.client().exchange(get_with("/", "Cookie: home=0123456789abcdef"));
    assert!(cookie(&strange).is_some(), "a stranger's cookie is replaced");
    if first.text() == "a" {
        a.kill()
    } else {
        b.kill()
    }
    let moved = proxy.client().exchange(get_with("/", &format!("Cookie: {home}")));
    assert_ne!(moved.text(), first.text());
    let next = cookie(&moved).expect("set anew");
    assert_ne!(next, home);
    let settled = proxy.client().exchange(get_with("/", &format!("Cookie: {next}")));
    assert_eq!((settled.text(), cookie(&settled)), (moved.text(), None));
}

/// `max-connections` is never exceeded, whatever workers do at once; everybody is served in the end.
#[test]
fn never_more_at_once_than_it_may_have() {
    const CLIENTS: usize = 100;
    const EACH: usize = 5;
    let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let origin = Origin::serve({
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        move |_| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2)); // what a request takes
            now.fetch_sub(1, Ordering::SeqCst);
            ok("fine")
        }
    });
    let settings = "max-connections = 5\nqueue = { max = 200, timeout = \"9s\" }";
    let proxy = Proxy::configured(&file(&[&origin], settings), &["--workers", "2"]);
    let address = proxy.addr();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Peer::connect(address);
                (0..EACH).filter(|_| client.exchange(get("/")).head.status() == 200).count()
            })
        })
        .collect();
    let served: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(served, CLIENTS * EACH);
    assert_eq!(peak.load(Ordering::SeqCst), 5, "as many as it may, and no more");
}

/// An origin with room for one: says which path it got, and answers when it is told to.
struct Narrow {
    origin: Origin,
    heard: Heard,
    release: Gate,
}

type Heard = std::sync::mpsc::Receiver<String>;

impl Narrow {
    fn new() -> Narrow {
        let (told, heard) = std::sync::mpsc::channel();
        let release = Gate::new();
        let held = release.clone();
        let origin = Origin::serve(move |request| {
            let _ = told.send(request.head.target().to_owned());
            held.pass();
            ok(request.head.target())
        });
        Narrow { origin, heard, release }
    }

    fn behind(&self, queue: &str) -> Proxy {
        let settings = format!("max-connections = 1\nqueue = {{ {queue} }}");
        Proxy::configured(&file(&[&self.origin], &settings), &[])
    }

    #[track_caller]
    fn next(&self) -> String {
        self.heard.recv_timeout(PATIENCE).expect("no request came")
    }
}

/// Who came first goes first. The order of arrival is sure within one connection of HTTP/2.
#[test]
fn the_line_keeps_its_order() {
    let narrow = Narrow::new();
    let proxy = narrow.behind("max = 20, timeout = \"9s\"");
    let mut client = Http2::connect(proxy.addr());
    let waiting: Vec<_> = (0..10).map(|n| client.open(get2(&format!("/{n}")), true)).collect();
    for (n, opened) in waiting.into_iter().enumerate() {
        assert_eq!(narrow.next(), format!("/{n}"));
        narrow.release.open();
        let (head, body) = client.head(opened.response);
        assert_eq!(head.status(), 200);
        assert_eq!(client.rest(body).unwrap().0, format!("/{n}").into_bytes());
    }
}

/// Waiting ends with 503 in time, and neither the connect timeout nor the request timeout counts meanwhile.
#[test]
fn waiting_has_its_own_timeout() {
    let narrow = Narrow::new();
    let settings = "max-connections = 1\nqueue = { max = 20, timeout = \"700ms\" }\n\
                    [timeouts]\nconnect = \"100ms\"\nrequest = \"5s\"";
    let proxy = Proxy::configured(&file(&[&narrow.origin], settings), &[]);
    let mut first = proxy.client();
    first.send(get("/first"));
    assert_eq!(narrow.next(), "/first");
    let mut late = proxy.client();
    let started = Instant::now();
    let told = late.exchange(get("/late"));
    assert_took(started, Duration::from_millis(700));
    assert_eq!((told.head.status(), told.head.value("retry-after")), (503, Some("1")));
    assert!(told.head.value("proxy-status").unwrap().contains("details=\"queue-timeout\""));
    assert!(!told.head.has("connection"), "it may ask again");
    let line = proxy.log_for("/late");
    assert_eq!((line.get("error"), line.get("upstream")), ("connection_limit_reached", ""));
    narrow.release.open();
    assert_eq!(first.response().text(), "/first");
    late.send(get("/again"));
    assert_eq!(narrow.next(), "/again");
    narrow.release.open();
    assert_eq!(late.response().text(), "/again");
}

/// A request that waited is served under its own timeouts afterwards.
#[test]
fn who_has_waited_is_served() {
    let narrow = Narrow::new();
    let settings = "max-connections = 1\nqueue = { timeout = \"9s\" }\n[timeouts]\nconnect = \"100ms\"";
    let proxy = Proxy::configured(&file(&[&narrow.origin], settings), &[]);
    let mut first = proxy.client();
    first.send(get("/first"));
    assert_eq!(narrow.next(), "/first");
    let mut second = proxy.client();
    second.send(post("/second", "body"));
    assert!(!second.stirs_within(Duration::from_millis(400)), "several connect timeouts");
    narrow.release.open();
    assert_eq!(first.response().text(), "/first");
    assert_eq!(narrow.next(), "/second");
    narrow.release.open();
    assert_eq!(second.response().text(), "/second");
}

/// A full line turns the next one away at once; who leaves makes room.
#[test]
fn a_full_line_turns_away() {
    let narrow = Narrow::new();
    let proxy = narrow.behind("max = 1, timeout = \"9s\"");
    let mut first = proxy.client();
    first.send(get("/first"));
    assert_eq!(narrow.next(), "/first");
    let mut second = proxy.client();
    second.send(get("/second"));
    let turned_away = |path: &str| {
        let started = Instant::now();
        let mut client = proxy.client();
        client.send(get(path));
        let waits = !client.stirs_within(Duration::from_millis(300));
        (!waits).then(|| {
            assert!(started.elapsed() < Duration::from_secs(1));
            client.response()
        })
    };
    // Until the second one is in line its place is anybody's.
    let told = eventually("the line is full", || turned_away("/third"));
    assert_eq!((told.head.status(), told.head.value("retry-after")), (503, Some("1")));
    assert!(told.head.value("proxy-status").unwrap().contains("details=\"queue-full\""));
    second.close();
    eventually("the line has room again", || turned_away("/fourth").is_none().then_some(()));
    narrow.release.open();
    assert_eq!(first.response().text(), "/first");
    let log = proxy.log_where("the one that left", |line| line.get("path") == "/second");
    assert_eq!(log.get("status"), "499");
    assert_eq!(narrow.origin.heads_for("/second").len(), 0, "nobody asks for one that is gone");
}

/// A client of HTTP/2 that takes its request back leaves the line, too.
#[test]
fn a_reset_stream_leaves_the_line() {
    let narrow = Narrow::new();
    let proxy = narrow.behind("max = 1, timeout = \"9s\"");
    let mut client = Http2::connect(proxy.addr());
    let first = client.open(get2("/first"), true);
    assert_eq!(narrow.next(), "/first");
    let mut second = client.open(get2("/second"), true);
    assert_eq!(client.exchange(get2("/third")).head.status(), 503, "in one connection the order is sure");
    second.body.send_reset(h2::Reason::CANCEL);
    drop(second);
    assert_eq!(proxy.log_for("/second").get("status"), "499");
    let fourth = client.open(get2("/fourth"), true);
    narrow.release.open();
    assert_eq!(client.head(first.response).0.status(), 200);
    assert_eq!(narrow.next(), "/fourth");
    narrow.release.open();
    assert_eq!(client.head(fourth.response).0.status(), 200);
}

/// A failing endpoint is left alone after so many failures in a row, and asked again after a while.
#[test]
fn who_fails_is_left_alone_for_a_while() {
    let ill = Arc::new(AtomicBool::new(true));
    let bad = Origin::serve({
        let ill = Arc::clone(&ill);
        move |_| match ill.load(Ordering::SeqCst) {
            true => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad".to_vec(),
            false => ok("bad"),
        }
    });
    let good = named("good");
    let settings =
        "balance = \"round-robin\"\nejection = { consecutive = 3, error-percent = 0, base = \"1s\" }";
    let proxy = Proxy::configured(&file(&[&bad, &good], settings), &["--workers", "2"]);
    let mut client = proxy.client();
    let answers: Vec<String> = (0..12).map(|_| client.exchange(get("/")).text()).collect();
    assert_eq!(answers.iter().filter(|name| *name == "bad").count(), 3, "{answers:?}");
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "good", "the other worker knows it as well");
    }
    assert!(proxy.stderr().contains("an upstream endpoint is"), "{}", proxy.stderr());
    ill.store(false, Ordering::SeqCst);
    eventually("it is asked again", || (proxy.get("/").text() == "bad").then_some(()));
}

/// Never more than half of a group is left alone.
#[test]
fn half_of_a_group_stays() {
    let origins: Vec<Origin> =
        (0..4).map(|_| Origin::serve(|_| b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec())).collect();
    let settings = "balance = \"round-robin\"\nejection = { consecutive = 2, base = \"1m\" }";
    let proxy = Proxy::configured(&file(&origins.iter().collect::<Vec<_>>(), settings), &["--workers", "2"]);
    for _ in 0..60 {
        assert_eq!(proxy.get("/").head.status(), 503);
    }
    let mut counts: Vec<usize> = origins.iter().map(|origin| origin.heads().len()).collect();
    counts.sort_unstable();
    assert!(counts[1] < 8 && counts[2] > 15, "two are left alone, two go on: {counts:?}");
}

/// A lone endpoint is never left alone, however ill.
#[test]
fn the_only_one_stays() {
    let origin = Origin::start(|mut conn| while conn.request().is_some_and(|_| false) {});
    let settings = "ejection = { consecutive = 1, base = \"1m\" }";
    let proxy = Proxy::configured(&file(&[&origin], settings), &[]);
    for _ in 0..6 {
        assert_eq!(proxy.client().exchange(post("/", "x")).head.status(), 502);
    }
    assert_eq!(origin.heads().len(), 6);
}

/// `max-connections` counts streams of HTTP/2 upstreams as well.
#[test]
fn streams_count_as_requests() {
    let origin = Http2Origin::start();
    let groups = format!(
        "[groups.app]\nupstreams = [\"{}\"]\nmax-connections = 1\nqueue = {{ timeout = \"9s\" }}\n[[route]]\ngroup = \"app\"\n",
        origin.upstream()
    );
    let proxy = Proxy::configured(&groups, &[]);
    let mut client = Http2::connect(proxy.addr());
    let first = client.open(get2("/1"), true);
    let second = client.open(get2("/2"), true);
    let mut asked = origin.next();
    assert_eq!(asked.request.uri().path(), "/1");
    assert!(origin.try_next(Duration::from_millis(200)).is_none(), "there is room for one");
    asked.respond.send_response(http::Response::new(()), true).unwrap();
    assert_eq!(client.head(first.response).0.status(), 200);
    let mut asked = origin.next();
    assert_eq!(asked.request.uri().path(), "/2");
    asked.respond.send_response(http::Response::new(()), true).unwrap();
    assert_eq!(client.head(second.response).0.status(), 200);
}

/// Requests of one key that are under way at once stay together: a page, its pictures, and the stream behind them.
#[test]
fn a_hash_keeps_requests_at_once_together() {
    const AT_ONCE: usize = 20;
    let release = Gate::new();
    let (told, heard) = inbox();
    let origins: Vec<Origin> = (0..3)
        .map(|number| {
            let (told, release) = (told.clone(), release.clone());
            Origin::serve(move |_| {
                told.send(number).unwrap();
                release.pass();
                ok("fine")
            })
        })
        .collect();
    let settings = "balance = \"hash\"\nhash-key = \"header:x-user\"";
    let proxy = Proxy::configured(&file(&origins.iter().collect::<Vec<_>>(), settings), &["--workers", "2"]);
    let mut clients: Vec<Peer> = (0..AT_ONCE).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get_with("/", "X-User: one")));
    let homes: Vec<usize> = clients.iter().map(|_| heard.take()).collect();
    clients.iter().for_each(|_| release.open());
    assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "fine"));
}

/// A session whose endpoint is full waits for it, and nobody else does while another endpoint has room.
#[test]
fn who_waits_for_its_home_holds_nobody_up() {
    let (told, heard) = inbox();
    let release = Gate::new();
    let origin = |name: &'static str| {
        let (told, release) = (told.clone(), release.clone());
        Origin::serve(move |request| {
            if request.head.target() == "/hold" {
                told.send(()).unwrap();
                release.pass();
            }
            ok(name)
        })
    };
    let (a, b) = (origin("a"), origin("b"));
    let settings = "max-connections = 1\nsticky = { cookie = \"home\" }\nqueue = { timeout = \"9s\" }";
    let proxy = Proxy::configured(&file(&[&a, &b], settings), &[]);
    let first = proxy.get("/");
    let (home, name) = (cookie(&first).unwrap(), first.text());
    let mut holds = proxy.client();
    holds.send(get_with("/hold", &format!("Cookie: {home}")));
    heard.take();
    let mut waits = proxy.client();
    waits.send(get_with("/waits", &format!("Cookie: {home}")));
    assert!(!waits.stirs_within(Duration::from_millis(200)), "its home is full");
    let mut client = proxy.client();
    for _ in 0..10 {
        let started = Instant::now();
        let answer = client.exchange(get("/"));
        assert_eq!(answer.head.status(), 200);
        assert_ne!(answer.text(), name);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    release.open();
    assert_eq!(holds.response().text(), name);
    assert_eq!(waits.response().text(), name, "it was worth the wait");
}

/// Responses that break off are failures, though their heads were fine.
#[test]
fn broken_responses_are_failures() {
    let bad = Origin::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        conn.close();
    });
    let good = named("good");
    let settings =
        "balance = \"round-robin\"\nejection = { consecutive = 3, error-percent = 0, base = \"1m\" }";
    let proxy = Proxy::configured(&file(&[&bad, &good], settings), &[]);
    let whole = (0..20).filter(|_| proxy.get("/").body.complete).count();
    assert_eq!((whole, bad.heads().len()), (17, 3));
}

/// A client that waits for a 100 makes an origin late that never says one: that is no failure of the origin.
#[test]
fn origins_are_not_blamed_for_their_clients() {
    let waiting = || {
        Origin::start(|mut conn| {
            conn.request_head();
            conn.until_end(); // of the proxy's patience
        })
    };
    let (a, b) = (waiting(), waiting());
    let settings = "ejection = { consecutive = 1, error-percent = 0, base = \"1m\" }";
    let more = format!("{}[timeouts]\nrequest = \"200ms\"\n", file(&[&a, &b], settings));
    let proxy = Proxy::configured(&more, &[]);
    for _ in 0..4 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
        client.head();
    }
    assert!(!proxy.stderr().contains("ejected"), "{}", proxy.stderr());
}

/// What clients do to their responses is nobody's failure, and an answer is one though its client did not wait for its end.
#[test]
fn clients_that_leave_are_no_failures() {
    let origin = |name: &'static str| {
        Origin::start(move |mut conn| {
            while let Some(head) = conn.request_head() {
                match head.target() {
                    "/fails" => conn.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
                    "/stream" => conn.send(CHUNKED.to_owned() + &chunk(name)),
                    _ => conn.send(ok(name)),
                }
            }
        })
    };
    let (a, b) = (origin("a"), origin("b"));
    let settings = "balance = \"round-robin\"\nejection = { consecutive = 0, error-percent = 50, requests-min = 6, base = \"1m\" }";
    let proxy = Proxy::configured(&file(&[&a, &b], settings), &[]);
    for _ in 0..24 {
        let mut client = proxy.client();
        client.send(get("/stream"));
        assert_eq!(client.head().status(), 200);
        client.close();
    }
    eventually("all of them are over", || (proxy.log_lines().len() >= 24).then_some(()));
    for _ in 0..16 {
        assert_eq!(proxy.get("/fails").head.status(), 503);
    }
    assert!(!proxy.stderr().contains("ejected"), "8 of 20 is less than half: {}", proxy.stderr());
}

/// Sends a body that nobody reads, and gives up on it.
fn give_up(mut conn: TcpStream) {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
    conn.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = [0; 4096];
    assert!(conn.read(&mut request).unwrap() > 0);
    conn.write_all(head).unwrap();
    conn.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    while conn.write(&[0; 65536]).is_ok() {} // until nothing is taken any more
    socket2::SockRef::from(&conn).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A client that reads late finds that its origin has given up: that is no failure of the origin.
#[test]
fn origins_may_give_up_on_clients_that_read_late() {
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let addresses = listeners.each_ref().map(|it| it.local_addr().unwrap());
    let (gone, given_up) = mpsc::channel();
    for listener in listeners {
        let gone = gone.clone();
        thread::spawn(move || {
            listener.incoming().for_each(|conn| {
                give_up(conn.unwrap());
                let _ = gone.send(());
            });
        });
    }
    let settings = "ejection = { consecutive = 1, error-percent = 0, base = \"1m\" }";
    let proxy = Proxy::configured(
        &format!(
            "[groups.app]\nupstreams = [\"{}\", \"{}\"]\n{settings}\n[[route]]\ngroup = \"app\"\n",
            addresses[0], addresses[1]
        ),
        &[],
    );
    for _ in 0..4 {
        let mut client = Peer::connect_narrow(proxy.addr());
        client.send(get("/"));
        client.head();
        given_up.recv_timeout(PATIENCE).unwrap();
        client.until_end();
    }
    eventually("all of them are over", || (proxy.log_lines().len() >= 4).then_some(()));
    assert!(!proxy.stderr().contains("ejected"), "{}", proxy.stderr());
}

/// A tunnel has its place for as long as it runs.
#[test]
fn a_tunnel_keeps_its_place() {
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.request_head() {
            if !head.has("upgrade") {
                conn.send(ok("fine"));
                continue;
            }
            conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            conn.until_end();
            return;
        }
    });
    let settings = "max-connections = 1\nqueue = { timeout = \"9s\" }";
    let proxy = Proxy::configured(&file(&[&origin], settings), &[]);
    let mut tunnel = proxy.client();
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(tunnel.head().status(), 101);
    let mut waits = proxy.client();
    waits.send(get("/"));
    assert!(!waits.stirs_within(Duration::from_millis(200)));
    tunnel.close();
    assert_eq!(waits.response().text(), "fine");
}

/// The answer to an upgrade sets the cookie too, and a tunnel goes home with it, in both versions of HTTP.
#[test]
fn tunnels_are_at_home_too() {
    let origin = |name: &'static str| {
        Origin::start(move |mut conn| {
            conn.request_head();
            conn.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            conn.send(name);
            conn.until_end();
        })
    };
    let (a, b) = (origin("a"), origin("b"));
    let proxy = Proxy::configured(&file(&[&a, &b], "sticky = { cookie = \"home\" }"), &[]);
    let open = |field: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{field}\r\n"
        ));
        let head = client.head();
        assert_eq!(head.status(), 101);
        (client.exactly(1), head.value("set-cookie").map(|set| set.split(';').next().unwrap().to_owned()))
    };
    let (name, home) = open("");
    let home = home.expect("a cookie");
    for _ in 0..8 {
        assert_eq!(open(&format!("Cookie: {home}\r\n")), (name.clone(), None));
    }
    let mut two = Http2::connect(proxy.addr());
    for (field, sets) in [("x=y", true), (home.as_str(), false)] {
        let request = http::Request::connect("http://wire.test/")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("cookie", field);
        let opened = two.open(request.body(()).unwrap(), false);
        let (head, mut body) = two.head(opened.response);
        assert_eq!((head.status().as_u16(), head.headers().contains_key("set-cookie")), (200, sets));
        let told = two.data(&mut body).unwrap().unwrap();
        assert!(sets || told == name);
    }
}

/// A body that comes while its request waits is held back, and arrives whole; the deadline of the request counts meanwhile.
#[test]
fn bodies_wait_with_their_requests() {
    let (told, heard) = inbox();
    let release = Gate::new();
    let origin = Origin::serve({
        let release = release.clone();
        move |request| {
            told.send(()).unwrap();
            if request.head.target() == "/first" {
                release.pass();
            }
            ok(&request.body.bytes.len().to_string())
        }
    });
    let routes =
        "[[route]]\npath = \"/deadline\"\ngroup = \"app\"\ntimeouts = { request-deadline = \"400ms\" }\n";
    let settings = "max-connections = 1\nqueue = { timeout = \"9s\" }";
    let proxy = Proxy::configured(&(file(&[&origin], settings) + routes), &[]);
    let mut first = proxy.client();
    first.send(get("/first"));
    heard.take();
    let mut second = proxy.client();
    let mut writer = second.writer();
    let sending = thread::spawn(move || writer.send(post("/second", &"x".repeat(4 << 20))));
    let mut late = proxy.client();
    let started = Instant::now();
    assert_eq!(late.exchange(get("/deadline")).head.status(), 504);
    assert_took(started, Duration::from_millis(400));
    assert!(heard.is_empty());
    release.open();
    assert_eq!(first.response().head.status(), 200);
    assert_eq!(second.response().text(), (4 << 20).to_string());
    sending.join().unwrap();
}

/// A drain waits for those who wait.
#[test]
fn a_drain_serves_the_line() {
    let narrow = Narrow::new();
    let mut proxy = narrow.behind("max = 20, timeout = \"9s\"");
    let mut clients: Vec<Peer> = (0..3).map(|_| proxy.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(get(&format!("/{number}")));
        assert!(!client.stirs_within(Duration::from_millis(100)));
    }
    proxy.terminate();
    eventually("it drains", || proxy.stderr().contains("drain").then_some(()));
    for _ in &clients {
        narrow.next();
        narrow.release.open();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{number}"));
        client.assert_closed();
    }
    assert!(proxy.wait().success());
}
