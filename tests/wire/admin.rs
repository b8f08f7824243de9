//! The admin listener: what `/metrics` says after known traffic, probes through a drain, and clients that misbehave.
//!
//! Method: the text is read by a parser that takes nothing but what the formats' grammars allow.

use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::lifecycle::{gated_stream, open_stream};

const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// Where the proxy said its admin listeners are.
#[track_caller]
fn addresses(proxy: &Proxy, count: usize) -> Vec<SocketAddr> {
    eventually("the admin listener is announced", || {
        let stderr = proxy.stderr();
        let said = stderr.lines().filter_map(|line| line.split_once("ringress admin on ")?.1.parse().ok());
        let said: Vec<SocketAddr> = said.collect();
        (said.len() >= count).then_some(said)
    })
}

#[track_caller]
fn client(proxy: &Proxy) -> Peer {
    Peer::connect(addresses(proxy, 1)[0])
}

/// One `GET` on a connection of its own, which the proxy then ends.
#[track_caller]
fn ask(proxy: &Proxy, path: &str) -> Response {
    let mut client = client(proxy);
    let response = client.exchange(get(path));
    client.assert_closed();
    response
}

// ----- reading metrics

/// The formats that are read.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Prometheus,
    OpenMetrics,
}

/// Samples by series, `name` or `name{key="value"}`.
type Samples = BTreeMap<String, f64>;

/// Reads a whole exposition: every family is HELP, TYPE and its samples, nothing twice, nothing unannounced.
#[track_caller]
fn parse(text: &str, format: Format) -> Samples {
    let text = match format {
        Format::Prometheus => text,
        Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("# EOF at the end"),
    };
    assert!(text.ends_with('\n') && !text.contains("# EOF") && !text.contains('\r'), "{text}");
    let (mut samples, mut families) = (Samples::new(), HashSet::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (family, help) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')).expect(line);
        assert!(is_name(family) && !help.is_empty() && !help.contains('\\'), "{line}");
        assert!(families.insert(family), "{family} twice");
        let kind = lines.next().and_then(|l| l.strip_prefix(&format!("# TYPE {family} "))).expect(line);
        let name = match (kind, format) {
            ("counter", Format::Prometheus) => family.strip_suffix("_total").map(|_| family.to_owned()),
            ("counter", Format::OpenMetrics) => {
                (!family.ends_with("_total")).then(|| format!("{family}_total"))
            }
            ("gauge", _) => (!family.ends_with("_total")).then(|| family.to_owned()),
            _ => None,
        };
        let name = name.unwrap_or_else(|| panic!("{family} is no name of a {kind}"));
        let before = samples.len();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.split_once(' ').expect(line);
            let label = series.strip_prefix(&name).expect(line);
            assert!(label.is_empty() || is_label(label), "{line}");
            let value: f64 = value.parse().expect(line);
            assert!(value >= 0.0 && samples.insert(series.to_owned(), value).is_none(), "{line}");
        }
        assert!(samples.len() > before, "{family} has no sample");
    }
    samples
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// `{key="value"}` without escapes.
fn is_label(label: &str) -> bool {
    let inner = label.strip_prefix('{').and_then(|rest| rest.strip_suffix("\"}"));
    inner
        .and_then(|inner| inner.split_once("=\""))
        .is_some_and(|(key, value)| is_name(key) && !value.is_empty() && !value.contains(['"', '\\']))
}

#[track_caller]
fn metrics(proxy: &Proxy) -> Samples {
    let response = ask(proxy, "/metrics");
    assert_eq!(response.head.status(), 200);
    assert_eq!(response.head.value("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(response.body.complete);
    parse(&response.text(), Format::Prometheus)
}

/// Waits until these series have these values: exchanges are counted a moment after their response.
#[track_caller]
fn wait_for(proxy: &Proxy, wanted: &[(&str, f64)]) -> Samples {
    let mut seen = Samples::new();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        seen = metrics(proxy);
        if wanted.iter().all(|(series, value)| seen.get(*series) == Some(value)) {
            return seen;
        }
    }
    panic!("wanted {wanted:?}, have {seen:#?}");
}

// ----- metrics

/// Goal: counts are those of the traffic, summed over workers. Method: a known mix over two workers.
#[test]
fn counts_after_known_traffic() {
    let origin = Origin::serve(|request| match request.head.target() {
        "/missing" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone".to_vec(),
        _ => ok("fine"),
    });
    let flags = [ADMIN.as_slice(), &["--workers", "2"]].concat();
    let proxy = Proxy::with(&origin, &flags);
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    assert_eq!(proxy.get("/missing").head.status(), 404);
    let mut broken = proxy.client();
    assert_eq!(broken.exchange("GET / HTTP/1.1\r\n\r\n").head.status(), 400);
    assert_eq!(proxy.client().exchange(post("/", "12345")).text(), "fine");
    drop(broken);
    let mut open = proxy.client();
    assert_eq!(open.exchange(get("/")).text(), "fine");
    let seen = wait_for(
        &proxy,
        &[
            ("ringress_requests_total", 9.0),
            ("ringress_responses_total{class=\"2xx\"}", 8.0),
            ("ringress_responses_total{class=\"4xx\"}", 2.0),
            ("ringress_responses_total{class=\"5xx\"}", 0.0),
            ("ringress_heads_refused_total", 1.0),
            ("ringress_bytes_in_total", 5.0),
            ("ringress_bytes_out_total", 8.0 * 4.0 + 4.0),
            ("ringress_connections_accepted_total", 10.0),
            ("ringress_connections_closed_total", 9.0),
            ("ringress_connections_open", 1.0),
            ("ringress_endpoints", 1.0),
            ("ringress_lifecycle", 0.0),
        ],
    );
    let version = concat!("ringress_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(seen.get(version), Some(&1.0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - seen["process_start_time_seconds"];
    assert!((0.0..120.0).contains(&age), "started {age} s ago");
    drop(open);
}

/// A timer that fired is counted under the word the log has for it.
#[test]
fn a_timeout_is_counted_under_its_phase() {
    let silent = Origin::start(|mut conn| while conn.request_head().is_some() {});
    let flags = [ADMIN.as_slice(), &["--request-timeout", "200ms"]].concat();
    let proxy = Proxy::with(&silent, &flags);
    assert_eq!(proxy.get("/").head.status(), 504);
    wait_for(
        &proxy,
        &[
            ("ringress_timeouts_total{phase=\"request\"}", 1.0),
            ("ringress_timeouts_total{phase=\"stream-idle\"}", 0.0),
            ("ringress_responses_total{class=\"5xx\"}", 1.0),
        ],
    );
}

/// OpenMetrics for whom it is asked for by, and the same series in it.
#[test]
fn openmetrics_on_request() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let request =
        "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n";
    let response = client(&proxy).exchange(request);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(response.head.value("content-type"), Some(content_type));
    let open = parse(&response.text(), Format::OpenMetrics);
    assert!(open.keys().eq(metrics(&proxy).keys()), "{open:?}");
}

// ----- probes

/// `/readyz` says no from the first signal on, while what runs may finish; `/healthz` says yes to the end.
#[test]
fn probes_through_a_drain() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let mut proxy = Proxy::with(&origin, &ADMIN);
    assert_eq!(ask(&proxy, "/healthz").text(), "ok\n");
    let ready = ask(&proxy, "/readyz");
    assert_eq!((ready.head.status(), ready.text().as_str()), (200, "ok\n"));
    let mut stream = open_stream(&proxy);
    proxy.terminate();
    let draining = eventually("not ready", || {
        let response = ask(&proxy, "/readyz");
        (response.head.status() != 200).then_some(response)
    });
    assert_eq!((draining.head.status(), draining.text().as_str()), (503, "draining\n"));
    assert_eq!(ask(&proxy, "/healthz").head.status(), 200);
    assert_eq!(metrics(&proxy)["ringress_lifecycle"], 1.0);
    gate.open();
    assert!(stream.chunked().complete);
    assert_eq!(proxy.wait().code(), Some(0));
}

// ----- requests

#[test]
fn head_is_get_without_the_body() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    for (path, status) in [("/healthz", 200), ("/metrics", 200), ("/other", 404)] {
        let mut client = client(&proxy);
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status(), status);
        assert!(head.content_length().is_some_and(|length| length > 2), "{head:?}");
        client.assert_closed();
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9_000));
    let fat = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9_000));
    let endless = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned() + &"A: b\r\n".repeat(2_000);
    for (request, statuses) in [
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", &[404][..]),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        ("GET /metrics/ HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345", &[405]),
        ("DELETE /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
        ("BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
        ("GET /healthz HTTP/1.1\r\n\r\n", &[400]),
        ("GET /healthz HTTP/1.1\nHost: a\n\n", &[400]),
        (
            "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[400],
        ),
        ("\x16\x03\x01\x02\x00\x01\x00", &[400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505]),
        (&long, &[414, 431]),
        (&fat, &[431]),
        (&endless, &[431]),
    ] {
        let mut client = client(&proxy);
        client.send(request);
        let response = client.response();
        let status = response.head.status();
        assert!(statuses.contains(&status), "{request:.60} {status}");
        assert_eq!(response.head.value("allow"), (status == 405).then_some("GET, HEAD"));
        assert!(response.body.complete && response.head.lists("connection", "close"));
        client.assert_closed();
    }
    assert_eq!(ask(&proxy, "/healthz").text(), "ok\n");
}

/// One request per connection: what is pipelined behind it is not answered, and does not cost the first its answer.
#[test]
fn one_request_per_connection() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let mut client = client(&proxy);
    client.send(get("/healthz") + &get("/metrics"));
    let response = client.response();
    assert_eq!(response.text(), "ok\n");
    assert!(response.head.lists("connection", "close"));
    client.assert_closed();
}

/// HTTP/1.0 without Host, as simple probes send it.
#[test]
fn http_1_0_is_served() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    assert_eq!(client(&proxy).exchange("GET /readyz HTTP/1.0\r\n\r\n").text(), "ok\n");
}

// ----- clients that misbehave

/// Goal: a head that drips in ends after five seconds, and nobody else waits for it. Method: one connection that says
/// half a head, one that says nothing, and probes beside them.
#[test]
fn a_slow_client_is_cut_and_delays_nobody() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let started = Instant::now();
    let (mut half, mut mute) = (client(&proxy), client(&proxy));
    half.send("GET /metrics HTTP/1.1\r\nHo");
    assert_within(Duration::from_secs(1), || {
        let asked = Instant::now();
        assert_eq!(ask(&proxy, "/healthz").text(), "ok\n");
        asked.elapsed()
    });
    while started.elapsed() < PATIENCE && !half.stirs_within(Duration::from_millis(500)) {
        let _ = half.try_send("o");
    }
    assert_eq!(half.response().head.status(), 408);
    half.assert_closed();
    mute.assert_closed();
    assert_took(started, Duration::from_secs(5));
}

/// Goal: with every place taken by the silent, a probe waits for their deadline and no longer.
#[test]
fn a_crowd_of_silent_clients_delays_a_probe_by_their_deadline() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let started = Instant::now();
    let crowd: Vec<Peer> = (0..40).map(|_| client(&proxy)).collect();
    let mut probe = client(&proxy);
    probe.send(get("/healthz"));
    assert!(!probe.stirs_within(Duration::from_secs(1)), "the crowd holds every place");
    assert_eq!(probe.response().text(), "ok\n");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(crowd);
}

// ----- listeners

#[test]
fn several_addresses_are_announced_and_served() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &["--admin", "127.0.0.1:0,[::1]:0"]);
    for address in addresses(&proxy, 2) {
        assert_eq!(Peer::connect(address).exchange(get("/readyz")).text(), "ok\n");
    }
}

#[test]
fn without_the_flag_there_is_none() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &[]);
    assert!(!proxy.stderr().contains("admin"), "{}", proxy.stderr());
}

/// A port that is taken is an error at the start, that of another ringress included.
#[test]
fn a_busy_port_is_a_start_error_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    for address in [taken.local_addr().unwrap(), addresses(&proxy, 1)[0]] {
        let text = address.to_string();
        let args = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--admin", &text];
        let output = run_to_exit(&args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
        assert!(stderr.contains(&format!("ss -ltnp 'sport = :{}'", address.port())), "{stderr}");
    }
}
