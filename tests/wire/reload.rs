//! Goal: a new configuration is served from the next request on, and nothing that runs notices; one that is no good changes
//! nothing. Method: the file behind a running proxy is replaced, between the steps of scripts and under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::workers::resident_kib;

/// An origin that answers with its name.
fn named(name: &'static str) -> Origin {
    Origin::serve(move |_| ok(name))
}

/// One group, `app`, of these origins and with these settings.
fn group(origins: &[&Origin], settings: &str) -> String {
    let upstreams: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.addr)).collect();
    format!("[groups.app]\nupstreams = [{}]\n{settings}\n", upstreams.join(", "))
}

/// As [`group`], with a route for everything.
fn file(origins: &[&Origin], settings: &str) -> String {
    group(origins, settings) + "[[route]]\ngroup = \"app\"\n"
}

/// The next request of an idle connection is served by the new file, in both versions of HTTP.
#[test]
fn an_idle_connection_takes_it_up() {
    let (a, b) = (named("a"), named("b"));
    let proxy = Proxy::configured(&file(&[&a], ""), &["--workers", "2"]);
    let mut clients: Vec<Peer> = (0..6).map(|_| proxy.client()).collect();
    let mut two = Http2::connect(proxy.addr());
    for client in &mut clients {
        assert_eq!(client.exchange(get("/")).text(), "a");
    }
    assert_eq!(two.exchange(get2("/")).body, b"a");
    proxy.reload(&(file(&[&b], "") + "[[route]]\npath = \"/new\"\nrespond = { status = 418 }\n"));
    for client in &mut clients {
        assert_eq!(client.exchange(get("/")).text(), "b");
        assert_eq!(client.exchange(get("/new")).head.status(), 418);
    }
    assert_eq!(two.exchange(get2("/")).body, b"b");
    assert_eq!(two.exchange(get2("/new")).head.status(), 418);
    assert_eq!(a.heads().len(), 7);
}

/// Who is believed is asked anew for each request, of connections that are open already too.
#[test]
fn an_idle_connection_is_no_longer_believed() {
    let origin = Origin::serve(|request| ok(request.head.value("x-forwarded-for").unwrap_or_default()));
    let believed = "[forwarding]\ntrusted-proxies = [\"127.0.0.0/8\"]\n".to_owned() + &file(&[&origin], "");
    let proxy = Proxy::configured(&believed, &[]);
    let mut client = proxy.client();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    assert_eq!(client.exchange(request).text(), "192.0.2.1, 127.0.0.1");
    proxy.reload(&file(&[&origin], ""));
    assert_eq!(client.exchange(request).text(), "127.0.0.1");
    proxy.reload(&believed);
    assert_eq!(client.exchange(request).text(), "192.0.2.1, 127.0.0.1");
}

/// An origin that begins a response when it is told to, and ends it when it is told to.
fn stepwise(step: &Gate) -> Origin {
    let step = step.clone();
    Origin::start(move |mut conn| {
        while conn.request().is_some() {
            step.pass();
            conn.send(CHUNKED.to_owned() + &chunk("one"));
            step.pass();
            conn.send(chunk("two") + "0\r\n\r\n");
        }
    })
}

/// What runs keeps the route that it began with: fields, timeouts, and an endpoint that is gone from the file.
#[test]
fn what_runs_keeps_its_route() {
    let step = Gate::new();
    let (old, new) = (stepwise(&step), named("new"));
    let was = file(&[&old], "") + "response-headers = { set = { x-route = \"old\" } }\n";
    let is = file(&[&new], "")
        + "response-headers = { set = { x-route = \"new\" } }\ntimeouts = { request = \"400ms\", stream-idle = \"100ms\" }\n";
    let proxy = Proxy::configured(&was, &[]);
    let mut client = proxy.client();
    client.send(get("/"));
    eventually("the origin has it", || (!old.heads().is_empty()).then_some(()));
    proxy.reload(&is);
    assert_eq!(proxy.get("/").text(), "new");
    assert!(!client.stirs_within(Duration::from_millis(800)), "the new timeout is not its own");
    step.open();
    let head = client.head();
    assert_eq!((head.status(), head.value("x-route")), (200, Some("old")));
    assert_eq!(client.chunk(), Chunk::Data(b"one".to_vec()));
    proxy.reload("[[route]]\nrespond = { status = 204 }\n");
    step.open();
    assert_eq!(client.chunk(), Chunk::Data(b"two".to_vec()));
    assert_eq!(client.chunk(), Chunk::Last(Vec::new()));
    assert_eq!(client.exchange(get("/")).head.status(), 204, "and then the latest");
}

/// A file that is no good changes nothing, and the log says what is wrong and where.
#[test]
fn a_bad_file_changes_nothing() {
    let origin = named("fine");
    let good = file(&[&origin], "");
    let proxy = Proxy::configured(&good, &[]);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/")).text(), "fine");
    for (bad, said) in [
        (good.replace("group = \"app\"", "group = \"nobody\""), "nobody"),
        (good.replace("upstreams", "upstream"), "unknown key `upstream`"),
        ("not = [ TOML".to_owned(), "ringress.toml:1"),
        (String::new(), ""),
    ] {
        proxy.reload_in_vain(&bad);
        assert!(proxy.stderr().contains(said), "{said}: {}", proxy.stderr());
        assert_eq!(client.exchange(get("/")).text(), "fine");
        assert_eq!(proxy.get("/").text(), "fine");
    }
    proxy.reload(&(good + "path = \"/only\"\n"));
    assert_eq!(client.exchange(get("/")).head.status(), 404);
}

/// What only a new process takes up is refused with that advice, and nothing else of that file is taken either.
#[test]
fn a_listener_needs_a_restart() {
    let origin = named("fine");
    let listener = |port: &str| format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n");
    let proxy = Proxy::configured(&(listener("0") + &file(&[&origin], "")), &[]);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/")).text(), "fine");
    let changed = listener("0") + &listener("1") + "[[route]]\nrespond = { status = 500 }\n";
    proxy.reload_in_vain(&changed);
    let said = proxy.stderr();
    assert!(said.contains("listeners cannot change while the process runs"), "{said}");
    assert_eq!(client.exchange(get("/")).text(), "fine");
    proxy.reload(&(listener("0") + "[[route]]\nrespond = { status = 204 }\n"));
    assert_eq!(client.exchange(get("/")).head.status(), 204);
}

/// Limits that stay the same keep what they have counted; those that change begin anew.
#[test]
fn limits_keep_their_counts() {
    let origin = named("fine");
    let limited = |requests: u32, more: &str| {
        file(&[&origin], "")
            + &format!(
                "name = \"limited\"\nlimit = [{{ key = \"client\", requests = {requests}, per = \"1m\" }}]\n{more}"
            )
    };
    let proxy = Proxy::configured(&limited(2, ""), &["--workers", "2"]);
    assert_eq!(proxy.get("/").head.status(), 200);
    assert_eq!(proxy.get("/").head.status(), 200);
    proxy.reload(&limited(2, "[[route]]\npath = \"/new\"\nrespond = { status = 204 }\n"));
    assert_eq!(proxy.get("/new").head.status(), 204);
    assert_eq!(proxy.get("/").head.status(), 429, "as before");
    proxy.reload(&limited(3, ""));
    assert_eq!(proxy.get("/").head.status(), 200, "another limit");
}

/// Idle connections to an endpoint that is gone are closed, though nobody asks; those of one that stays are kept.
#[test]
fn idle_connections_of_the_gone_are_closed() {
    let (told, heard) = inbox();
    let gone = Origin::start(move |mut conn| {
        conn.request();
        conn.send(ok("gone"));
        conn.assert_closed();
        told.send(()).unwrap();
    });
    let stays = named("stays");
    let both = group(&[&stays], "")
        + &format!("[groups.gone]\nupstreams = [\"{}\"]\n", gone.addr)
        + "[[route]]\ngroup = \"app\"\n[[route]]\npath = \"/gone\"\ngroup = \"gone\"\n";
    let proxy = Proxy::configured(&both, &[]);
    assert_eq!(proxy.get("/gone").text(), "gone");
    assert_eq!(proxy.get("/").text(), "stays");
    let more = named("more");
    proxy.reload(&file(&[&stays, &more], "balance = \"round-robin\""));
    heard.take();
    let answers: Vec<String> = (0..4).map(|_| proxy.get("/").text()).collect();
    assert!(answers.iter().any(|name| name == "more"), "{answers:?}");
    assert_eq!(stays.accepted(), 1, "its connection was taken over");
}

/// A file that has changed and is at rest is loaded without a signal; one that is bad is told of.
#[test]
fn a_change_is_noticed() {
    let origin = named("fine");
    for bad in [false, true] {
        let proxy = Proxy::configured(&file(&[&origin], ""), &[]);
        assert_eq!(proxy.get("/").text(), "fine");
        proxy.rewrite(if bad { "bad" } else { "[[route]]\nrespond = { status = 204 }\n" });
        if bad {
            eventually("the log says so", || {
                proxy.stderr().contains("cannot load the configuration again").then_some(())
            });
            assert_eq!(proxy.get("/").text(), "fine");
        } else {
            eventually("it is served", || (proxy.get("/").head.status() == 204).then_some(()));
        }
    }
}

/// A file that changes again in the moment in which it was loaded is loaded again.
#[test]
fn two_changes_are_noticed() {
    for _ in 0..10 {
        let proxy = Proxy::configured("[[route]]\nrespond = { status = 200 }\n", &[]);
        let mut client = proxy.client();
        for status in [204, 205] {
            proxy.rewrite(&format!("[[route]]\nrespond = {{ status = {status} }}\n"));
            let deadline = Instant::now() + PATIENCE;
            // At once, so that the next change comes as close behind as it can.
            while client.exchange(get("/")).head.status() != status {
                assert!(Instant::now() < deadline, "{status} was never served");
            }
        }
    }
}

/// Requests under way count against `max-connections` of the new file too, and who waits is served.
#[test]
fn places_are_counted_across() {
    let release = Gate::new();
    let (told, heard) = inbox();
    let origin = Origin::serve({
        let release = release.clone();
        move |request| {
            told.send(request.head.target().to_owned()).unwrap();
            release.pass();
            ok("fine")
        }
    });
    let narrow = |queue: u32| {
        file(&[&origin], &format!("max-connections = 1\nqueue = {{ max = {queue}, timeout = \"9s\" }}"))
    };
    let proxy = Proxy::configured(&narrow(10), &[]);
    let mut first = proxy.client();
    first.send(get("/first"));
    assert_eq!(heard.take(), "/first");
    let mut second = proxy.client();
    second.send(get("/second"));
    assert!(!second.stirs_within(Duration::from_millis(200)));
    proxy.reload(&narrow(11));
    let mut third = proxy.client();
    third.send(get("/third"));
    assert!(!third.stirs_within(Duration::from_millis(200)), "the place is taken");
    assert!(heard.is_empty());
    for _ in 0..3 {
        release.open();
    }
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.response().text(), "fine");
    }
}

/// An ejection outlives a reload: who was ill is ill.
#[test]
fn what_is_known_of_endpoints_stays() {
    let bad = Origin::serve(|_| b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec());
    let good = named("good");
    let settings = "balance = \"round-robin\"\nejection = { consecutive = 2, base = \"1m\" }";
    let proxy = Proxy::configured(&file(&[&bad, &good], settings), &[]);
    for _ in 0..6 {
        proxy.get("/");
    }
    assert_eq!(bad.heads().len(), 2);
    let more = named("good");
    proxy.reload(&file(&[&good, &bad, &more], settings));
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "good");
    }
}

/// A hundred reloads under load: no request fails, no stream and no tunnel is cut, and memory does not grow with them.
#[test]
fn a_hundred_reloads_cut_nothing() {
    const RELOADS: usize = 100;
    const STREAMS: usize = 60;
    const TUNNELS: usize = 20;
    let release = Gate::new();
    let held = release.clone();
    let serves = move |mut conn: Conn| {
        while let Some(head) = conn.request_head() {
            match head.target() {
                "/stream" => {
                    conn.send(CHUNKED.to_owned() + &chunk("one"));
                    held.pass();
                    conn.send(chunk("two") + "0\r\n\r\n");
                }
                "/tunnel" => {
                    conn.send(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
                    );
                    while let Some(bytes) = conn.some(1024) {
                        conn.send(bytes);
                    }
                    return;
                }
                _ => conn.send(ok("fine")),
            }
        }
    };
    let (a, b) = (Origin::start(serves.clone()), Origin::start(serves));
    let numbered = |number: usize| {
        let origins: &[&Origin] = if number.is_multiple_of(2) { &[&a, &b] } else { &[&b] };
        file(origins, &format!("queue = {{ max = {} }}", 100 + number))
            + &format!("name = \"r{number}\"\nlimit = [{{ key = \"client\", requests = 100000 }}]\n")
            + &format!("[[route]]\npath = \"/{number}\"\nrespond = {{ status = 204 }}\n")
    };
    let proxy = Proxy::configured(&numbered(0), &["--workers", "2"]);
    let mut streams: Vec<Peer> = (0..STREAMS)
        .map(|_| {
            let mut client = proxy.client();
            client.send(get("/stream"));
            assert_eq!(client.head().status(), 200);
            assert_eq!(client.chunk(), Chunk::Data(b"one".to_vec()));
            client
        })
        .collect();
    let mut tunnels: Vec<Peer> = (0..TUNNELS)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            assert_eq!(client.head().status(), 101);
            client
        })
        .collect();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let address = proxy.addr();
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                let mut client = Peer::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.exchange(get("/")).text(), "fine");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut at_twenty = 0;
    for number in 1..=RELOADS {
        proxy.reload(&numbered(number));
        if number == 20 {
            at_twenty = resident_kib(&proxy);
        }
        for tunnel in tunnels.iter_mut().take(2) {
            tunnel.send("ping");
            assert_eq!(tunnel.exactly(4), b"ping");
        }
    }
    stop.store(true, Ordering::SeqCst);
    load.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(served.load(Ordering::SeqCst) >= RELOADS, "there was load");
    for tunnel in &mut tunnels {
        tunnel.send("ping");
        assert_eq!(tunnel.exactly(4), b"ping");
    }
    streams.iter().for_each(|_| release.open());
    for stream in &mut streams {
        assert_eq!(stream.chunk(), Chunk::Data(b"two".to_vec()));
        assert_eq!(stream.chunk(), Chunk::Last(Vec::new()));
    }
    let mut client = proxy.client();
    assert_eq!(client.exchange(get(&format!("/{RELOADS}"))).head.status(), 204);
    let grown = resident_kib(&proxy).saturating_sub(at_twenty);
    // Eighty configurations, none of which anybody uses any more.
    assert!(grown < 8 * 1024, "{grown} KiB more than after 20 reloads, {at_twenty} KiB");
}

/// Connections of HTTP/2 to an endpoint that is gone end with their last stream, and take no new one.
#[test]
fn links_of_the_gone_end_with_their_streams() {
    let gone = Http2Origin::start();
    let routes =
        |upstream: &str| format!("[groups.app]\nupstreams = [\"{upstream}\"]\n[[route]]\ngroup = \"app\"\n");
    let proxy = Proxy::configured(&routes(&gone.upstream()), &[]);
    let mut client = Http2::connect(proxy.addr());
    let opened = client.open(get2("/stream"), true);
    let mut asked = gone.next();
    let mut body = asked.respond.send_response(http::Response::new(()), false).unwrap();
    let (_, mut received) = client.head(opened.response);
    let stays = named("stays");
    proxy.reload(&routes(&stays.addr.to_string()));
    assert_eq!(client.exchange(get2("/")).body, b"stays");
    body.send_data("still there".into(), true).unwrap();
    assert_eq!(client.data(&mut received).unwrap().unwrap(), "still there");
    eventually("the connection ends", || (gone.open() == 0).then_some(()));
}
