//! Goal: a request that failed goes out again where that is safe and wanted, whole and in order, and no more often than the
//! policy and the budget say. Method: origins that fail in every way, and count.

use http::{Request, Response as Head2};

use crate::harness::*;

/// One group of these upstreams, and one route to it with these settings.
fn file(upstreams: &[String], group: &str, retry: &str) -> String {
    let upstreams: Vec<String> = upstreams.iter().map(|upstream| format!("\"{upstream}\"")).collect();
    let all = "[retry]\nreset-before-response = true\n";
    format!(
        "{all}[groups.app]\nbalance = \"round-robin\"\nupstreams = [{}]\n{group}\n[[route]]\ngroup = \"app\"\nretry = {{ {retry} }}\n",
        upstreams.join(", ")
    )
}

fn addresses(origins: &[&Origin]) -> Vec<String> {
    origins.iter().map(|origin| origin.addr.to_string()).collect()
}

/// An origin that reads a request and is gone.
fn gone() -> Origin {
    Origin::start(|mut conn| {
        conn.request();
        conn.close();
    })
}

/// An origin that answers with the method and the body that it read.
fn echo() -> Origin {
    Origin::serve(|request| {
        let method = request.head.first.split(' ').next().unwrap();
        ok(&format!("{method} {}", String::from_utf8_lossy(&request.body.bytes)))
    })
}

/// An origin that answers with this status.
fn answers(status: u16) -> Origin {
    Origin::serve(move |_| format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno").into_bytes())
}

/// A request without a body.
fn bare(method: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
}

/// A connection that broke before a response: idempotent methods go to the other endpoint, others hear of it.
#[test]
fn a_broken_connection_is_for_idempotent_methods() {
    for (method, again) in
        [("GET", true), ("OPTIONS", true), ("PUT", true), ("DELETE", true), ("POST", false), ("PATCH", false)]
    {
        let (bad, good) = (gone(), echo());
        let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), "ejection = false", ""), &[]);
        let statuses: Vec<u16> =
            (0..4).map(|_| proxy.client().exchange(bare(method)).head.status()).collect();
        let failed = statuses.iter().filter(|status| **status == 502).count();
        assert_eq!(failed, if again { 0 } else { 2 }, "{method}: {statuses:?}");
        assert_eq!(good.heads().len(), if again { 4 } else { 2 }, "{method}");
    }
}

/// Each cause has its switch, and `max = 0` is none at all.
#[test]
fn what_is_not_wanted_is_not_done() {
    let dead = dead_address().to_string();
    for (setting, refused, broken, unavailable) in [
        ("", 0, 0, 1),
        ("connect-failure = false", 1, 0, 1),
        ("reset-before-response = false", 0, 1, 1),
        ("statuses = [503]", 0, 0, 0),
        ("statuses = [503], max = 0", 1, 1, 1),
    ] {
        let (closes, no, good) = (gone(), answers(503), echo());
        for (bad, expected) in
            [(dead.clone(), refused), (closes.addr.to_string(), broken), (no.addr.to_string(), unavailable)]
        {
            let upstreams = [bad.clone(), good.addr.to_string()];
            let proxy = Proxy::configured(&file(&upstreams, "ejection = false", setting), &[]);
            let failed = (0..2).filter(|_| proxy.get("/").head.status() != 200).count();
            assert_eq!(failed, expected, "{bad} with {setting:?}");
        }
    }
}

/// Statuses are tried again for safe methods only; the last answer is the client's.
#[test]
fn statuses_are_for_safe_methods() {
    let (no, good) = (answers(503), echo());
    let proxy =
        Proxy::configured(&file(&addresses(&[&no, &good]), "ejection = false", "statuses = [503]"), &[]);
    for (method, failures) in
        [("GET", 0), ("HEAD", 0), ("OPTIONS", 0), ("PUT", 1), ("POST", 1), ("DELETE", 1)]
    {
        let failed = (0..2)
            .filter(|_| {
                let mut client = proxy.client();
                client.send(bare(method));
                client.response_to(method).head.status() == 503
            })
            .count();
        assert_eq!(failed, failures, "{method}");
    }
    let both = [answers(503), answers(503)];
    let proxy = Proxy::configured(&file(&addresses(&[&both[0], &both[1]]), "", "statuses = [503]"), &[]);
    let mut client = proxy.client();
    let told = client.exchange(get("/"));
    assert_eq!((told.head.status(), told.text().as_str()), (503, "no"), "the origin's own answer");
    assert_eq!(both.iter().map(|origin| origin.heads().len()).sum::<usize>(), 3, "and two more attempts");
    assert!((proxy.log_for("/").number("retries") - 2.0).abs() < f64::EPSILON);
    assert_eq!(client.exchange(get("/next")).head.status(), 503, "the connection goes on");
}

/// One answer that is tried again is one failure of its endpoint, and none if the status is nobody's illness.
#[test]
fn a_status_counts_once() {
    for (status, bad_heads) in [(503, 4), (429, 6)] {
        let (bad, good) = (answers(status), echo());
        let group = "ejection = { consecutive = 4, error-percent = 0, base = \"1m\" }";
        let retry = format!("statuses = [{status}]");
        let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), group, &retry), &[]);
        let mut client = proxy.client();
        for _ in 0..16 {
            assert_eq!(client.exchange(get("/")).head.status(), 200);
        }
        let heads = bad.heads().len();
        assert!(heads >= bad_heads && (status == 429 || heads == bad_heads), "{status}: {heads}");
    }
}

/// A body is kept and goes out again byte for byte, whatever its framing.
#[test]
fn a_body_goes_out_again() {
    let text: String = (0..1500).map(|n| format!("{n};")).collect();
    for chunked in [false, true] {
        let (bad, good) = (gone(), echo());
        let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), "ejection = false", ""), &[]);
        for _ in 0..2 {
            let mut client = proxy.client();
            if chunked {
                client.send("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
                client.send(format!("{}{}0\r\n\r\n", chunk(&text[..100]), chunk(&text[100..])));
            } else {
                client.send(format!(
                    "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ));
            }
            assert_eq!(client.response().text(), format!("PUT {text}"), "chunked: {chunked}");
        }
        assert_eq!(bad.accepted(), 1);
        assert_eq!(good.heads().iter().filter(|head| head.has("transfer-encoding") == chunked).count(), 2);
    }
}

/// An upload that is still under way goes on behind what was kept: the origin dies in the middle of it.
#[test]
fn an_upload_goes_on_elsewhere() {
    for chunked in [false, true] {
        let (told, heard) = inbox();
        let good = Origin::start({
            let told = told.clone();
            move |mut conn| {
                while let Some(head) = conn.request_head() {
                    told.send(()).unwrap();
                    let body = conn.request_body(&head);
                    conn.send(ok(&String::from_utf8_lossy(&body.bytes)));
                }
            }
        });
        let bad = Origin::start(move |mut conn| {
            conn.request_head();
            conn.some(1); // a bit of the body
            conn.reset();
            told.send(()).unwrap();
        });
        let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), "ejection = false", ""), &[]);
        for round in 0..2 {
            let mut client = proxy.client();
            let framing = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 10" };
            client.send(format!("PUT / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n"));
            let piece = |text: &str| if chunked { chunk(text) } else { text.to_owned() };
            client.send(piece("first"));
            heard.take();
            client.send(piece("other"));
            if chunked {
                client.send("0\r\n\r\n");
            }
            assert_eq!(client.response().text(), "firstother", "chunked: {chunked}, round {round}");
            while !heard.is_empty() {}
        }
        assert_eq!(bad.accepted(), 1);
    }
}

/// A body that does not fit is not kept: its request is sent once.
#[test]
fn a_large_body_goes_out_once() {
    for (length, status) in [(100, 200), (101, 502)] {
        let bad = gone();
        let good = echo();
        let retry = "max-body-bytes = 100";
        let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), "ejection = false", retry), &[]);
        let body = "x".repeat(length);
        let statuses: Vec<u16> = (0..2)
            .map(|_| {
                let put = format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
                proxy.client().exchange(put).head.status()
            })
            .collect();
        assert_eq!(statuses.iter().max(), Some(&status), "{length}: {statuses:?}");
    }
}

/// `Expect: 100-continue`: once the client was told to go on, a failure is its to hear; without an interim response the
/// request goes elsewhere, and the other origin tells it.
#[test]
fn expectations() {
    let put = "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let told = Origin::start(|mut conn| {
        conn.request_head();
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        conn.exactly(4);
        conn.close();
    });
    let silent = Origin::start(|mut conn| {
        conn.request_head();
        conn.close();
    });
    let asks = || {
        Origin::start(|mut conn| {
            while let Some(head) = conn.request_head() {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n");
                let body = conn.request_body(&head);
                conn.send(ok(&String::from_utf8_lossy(&body.bytes)));
            }
        })
    };
    for (bad, heard) in [(told, true), (silent, false)] {
        let good = asks();
        let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), "ejection = false", ""), &[]);
        let answers: Vec<u16> = (0..2)
            .map(|_| {
                let mut client = proxy.client();
                client.send(put);
                assert_eq!(client.head().status(), 100);
                client.send("body");
                client.response().head.status()
            })
            .collect();
        assert_eq!(answers.contains(&502), heard, "{answers:?}");
    }
}

/// Nothing is tried again behind an interim response that was passed on.
#[test]
fn nothing_behind_an_interim_response() {
    let bad = Origin::start(|mut conn| {
        conn.request();
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        conn.close();
    });
    let late = Origin::serve(|_| {
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    for bad in [bad, late] {
        let good = echo();
        let file = file(&addresses(&[&bad, &good]), "ejection = false", "statuses = [503]");
        let proxy = Proxy::configured(&file, &[]);
        let mut hinted = 0;
        for _ in 0..2 {
            let mut client = proxy.client();
            client.send(get("/"));
            let first = client.head().status();
            if first == 103 {
                hinted += 1;
                assert!(client.response().head.status() >= 502);
            }
        }
        assert_eq!((hinted, good.heads().len()), (1, 1));
    }
}

/// What was pipelined behind a request that is tried again is served in order, and once.
#[test]
fn pipelined_requests_stay_in_order() {
    let (bad, good) = (gone(), echo());
    let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), "ejection = false", ""), &[]);
    for _ in 0..2 {
        let mut client = proxy.client();
        let put =
            |body: &str| format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.send(format!("{}{}{}", put("one"), get("/two"), put("three")));
        assert_eq!(client.response().text(), "PUT one");
        assert_eq!(client.response().text(), "GET ");
        assert_eq!(client.response().text(), "PUT three");
    }
}

/// A dead group is not asked three times for each request: the budget stops that.
#[test]
fn the_budget_stops_a_storm() {
    let dead = [gone(), gone(), gone()];
    let upstreams = addresses(&[&dead[0], &dead[1], &dead[2]]);
    let proxy = Proxy::configured(&file(&upstreams, "ejection = false", "max = 5"), &[]);
    let mut client = proxy.client();
    for _ in 0..200 {
        assert_eq!(client.exchange(get("/")).head.status(), 502);
    }
    let asked: usize = dead.iter().map(Origin::accepted).sum();
    assert!((210..=200 + 10 + 40).contains(&asked), "{asked} connections for 200 requests");
}

/// Nobody connects: 200 requests, and hardly more attempts.
#[test]
fn the_budget_counts_connect_failures() {
    let upstreams: Vec<String> = (0..3).map(|_| dead_address().to_string()).collect();
    let proxy = Proxy::configured(&file(&upstreams, "ejection = false", ""), &[]);
    let mut client = proxy.client();
    for number in 0..100 {
        assert_eq!(client.exchange(get(&format!("/{number}"))).head.status(), 502);
    }
    proxy.log_for("/99");
    let retries: f64 = proxy.log_lines().iter().map(|line| line.number("retries")).sum();
    assert!((10.0..=30.0).contains(&retries), "{retries} for 100 requests");
}

/// A stream that was refused goes elsewhere whatever its method, over HTTP/2 on both sides, with its body.
#[test]
fn a_refused_stream_goes_elsewhere() {
    let bad = Http2Origin::start();
    let good = Http2Origin::start();
    let upstreams = [bad.upstream(), good.upstream()];
    let proxy = Proxy::configured(&file(&upstreams, "ejection = false", ""), &[]);
    let refusing = std::thread::spawn(move || {
        let mut asked = bad.next();
        asked.respond.send_reset(h2::Reason::REFUSED_STREAM);
        bad
    });
    let serving = good.serve(|head, body| {
        (Head2::new(()), format!("{} {}", head.method(), String::from_utf8_lossy(body)).into_bytes())
    });
    let mut two = Http2::connect(proxy.addr());
    let mut one = proxy.client();
    for _ in 0..1 {
        let mut opened = two.open(post2("/"), false);
        opened.body.send_data("kept".into(), true).unwrap();
        let (head, body) = two.head(opened.response);
        assert_eq!(head.status(), 200);
        assert_eq!(two.rest(body).unwrap().0, b"POST kept");
        assert_eq!(one.exchange(post("/", "other")).text(), "POST other");
    }
    let bad = refusing.join().unwrap();
    drop((bad, serving));
}

/// A client of HTTP/2 before origins of HTTP/1.1: an idempotent request goes elsewhere with its body.
#[test]
fn http2_clients_are_served_elsewhere() {
    let (bad, good) = (gone(), echo());
    let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), "ejection = false", ""), &[]);
    let mut client = Http2::connect(proxy.addr());
    for _ in 0..2 {
        let put = Request::put("http://wire.test/").body(()).unwrap();
        let mut opened = client.open(put, false);
        opened.body.send_data("first".into(), false).unwrap();
        opened.body.send_data("other".into(), true).unwrap();
        let (head, body) = client.head(opened.response);
        assert_eq!(head.status(), 200);
        assert_eq!(client.rest(body).unwrap().0, b"PUT firstother");
    }
    assert_eq!(bad.accepted(), 1);
}

/// A timeout is no cause: who did not answer in time is not asked again.
#[test]
fn a_timeout_is_final() {
    let silent = Origin::start(|mut conn| {
        conn.request();
        conn.until_end();
    });
    let good = echo();
    let file = file(&addresses(&[&silent, &good]), "ejection = false", "statuses = [504]")
        + "timeouts = { request = \"300ms\" }\n";
    let proxy = Proxy::configured(&file, &[]);
    let mut statuses: Vec<u16> = (0..2).map(|_| proxy.get("/").head.status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
}

/// With a place for each request, one that is tried again gives its place back first.
#[test]
fn a_retry_gives_its_place_back() {
    let (bad, good) = (gone(), echo());
    let group = "ejection = false\nmax-connections = 1\nqueue = { timeout = \"300ms\" }";
    let proxy = Proxy::configured(&file(&addresses(&[&bad, &good]), group, ""), &[]);
    let mut client = proxy.client();
    for _ in 0..12 {
        assert_eq!(client.exchange(get("/")).head.status(), 200);
    }
    let alone = Proxy::configured(&file(&addresses(&[&bad]), group, ""), &[]);
    for _ in 0..6 {
        assert_eq!(alone.client().exchange(get("/")).head.status(), 502, "not 503: its own place was free");
    }
    assert!(bad.accepted() > 6, "it was tried again, for want of another one");
}

/// An endpoint that takes no connection: the next one is asked when the connect timeout of the route is over.
#[test]
fn a_connect_timeout_goes_elsewhere() {
    let (deaf, _full) = deaf_listener();
    let good = echo();
    let upstreams = [deaf.to_string(), good.addr.to_string()];
    let file = file(&upstreams, "ejection = false", "") + "timeouts = { connect = \"300ms\" }\n";
    let proxy = Proxy::configured(&file, &[]);
    for _ in 0..2 {
        assert_eq!(proxy.client().exchange(post("/", "body")).text(), "POST body");
    }
}

/// An upload that an origin of HTTP/2 refuses in the middle goes on elsewhere, whatever its method; one that is too large for
/// that is the client's to hear of.
#[test]
fn a_refused_upload_goes_elsewhere() {
    for (length, status) in [(1000, 200), (40_000, 502)] {
        let bad = Http2Origin::start();
        let good = Http2Origin::start();
        let upstreams = [bad.upstream(), good.upstream()];
        let proxy = Proxy::configured(&file(&upstreams, "ejection = false", ""), &[]);
        let (told, heard) = inbox();
        let refusing = std::thread::spawn(move || {
            let mut asked = bad.next();
            let mut seen = 0;
            while seen < length {
                seen += bad.data(&mut asked.body).unwrap().unwrap().len();
            }
            asked.respond.send_reset(h2::Reason::REFUSED_STREAM);
            told.send(()).unwrap();
            bad
        });
        let serving = good.serve(|_, body| (Head2::new(()), body.to_vec()));
        let mut client = proxy.client();
        let (first, other) = ("f".repeat(length), "o".repeat(1000));
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunk(&first));
        // Whichever origin was asked: both get here.
        let mut second = proxy.client();
        second.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        second.send(chunk(&first));
        heard.take();
        let mut statuses = Vec::new();
        for client in [&mut client, &mut second] {
            let _ = client.try_send(chunk(&other) + "0\r\n\r\n");
            let response = client.response();
            statuses.push(response.head.status());
            assert!(statuses.last() != Some(&200) || response.text() == format!("{first}{other}"));
        }
        assert_eq!(statuses.iter().max(), Some(&status), "{length}: {statuses:?}");
        drop((refusing.join().unwrap(), serving));
    }
}
