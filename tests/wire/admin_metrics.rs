//! What `/metrics` says after known traffic.
//!
//! Method: the text is read by a parser that takes nothing but what the formats' grammars allow, and checks what has to
//! hold of every family.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use crate::admin::{ADMIN, ask, client};
use crate::harness::*;
use crate::lifecycle::{gated_stream, open_stream};

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
        let names = match (kind, format) {
            ("counter", Format::Prometheus) => family.strip_suffix("_total").map(|_| vec![family.to_owned()]),
            ("counter", Format::OpenMetrics) => {
                (!family.ends_with("_total")).then(|| vec![format!("{family}_total")])
            }
            ("gauge", _) => (!family.ends_with("_total")).then(|| vec![family.to_owned()]),
            ("histogram", _) => (family.ends_with("_seconds") || family.ends_with("_bytes"))
                .then(|| ["_bucket", "_sum", "_count"].map(|suffix| format!("{family}{suffix}")).to_vec()),
            _ => None,
        };
        let names = names.unwrap_or_else(|| panic!("{family} is no name of a {kind}"));
        let before = samples.len();
        let mut buckets = Buckets::default();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let name = series.split('{').next().unwrap();
            assert!(names.iter().any(|known| known == name), "{line} in {family}");
            let labels = labels(&series[name.len()..]);
            let value: f64 = value.parse().expect(line);
            assert!(value >= 0.0 && samples.insert(series.to_owned(), value).is_none(), "{line}");
            if kind == "histogram" {
                buckets.take(name, &labels, value);
            }
        }
        assert!(buckets.0.values().all(|last| last.counted), "{family} ends within a histogram");
        // Only one family may have nothing to say: types of errors that have not occurred.
        assert!(
            samples.len() > before || family.starts_with("ringress_route_errors"),
            "{family} has no sample"
        );
    }
    samples
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Labels and their values, which here need no escapes.
#[track_caller]
fn labels(text: &str) -> BTreeMap<String, String> {
    if text.is_empty() {
        return BTreeMap::new();
    }
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect(text);
    let pairs = inner.split(',').map(|pair| {
        let (key, value) = pair.split_once("=\"").expect(text);
        let value = value.strip_suffix('"').expect(text);
        assert!(is_name(key) && !value.is_empty() && !value.contains(['"', '\\']), "{text}");
        (key.to_owned(), value.to_owned())
    });
    let labels: BTreeMap<_, _> = pairs.collect();
    assert_eq!(labels.len(), inner.split(',').count(), "{text}: a label twice");
    labels
}

/// Histograms under way, by their labels but `le`.
#[derive(Default)]
struct Buckets(BTreeMap<String, Last>);

#[derive(Default)]
struct Last {
    le: Option<f64>,
    count: f64,
    sum: Option<f64>,
    counted: bool,
}

impl Buckets {
    /// Bounds rise, counts do not fall, `+Inf` is the last and is the count, and there is a sum.
    #[track_caller]
    fn take(&mut self, name: &str, labels: &BTreeMap<String, String>, value: f64) {
        let mut others = labels.clone();
        let le = others.remove("le");
        let last = self.0.entry(format!("{others:?}")).or_default();
        assert!(!last.counted, "{name} {others:?} goes on behind its end");
        match (le, name.rsplit('_').next().unwrap()) {
            (Some(le), "bucket") => {
                let le: f64 = le.parse().unwrap();
                assert!(last.le.is_none_or(|before| before < le) && last.sum.is_none(), "{name} {le}");
                assert!(value >= last.count, "{name}: {value} up to {le}, {} before", last.count);
                (last.le, last.count) = (Some(le), value);
            }
            (None, "sum") => last.sum = Some(value),
            (None, "count") => {
                assert!(last.le == Some(f64::INFINITY) && last.sum.is_some(), "{name} {others:?}");
                assert_eq!(value, last.count, "{name} {others:?}");
                last.counted = true;
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[track_caller]
pub fn metrics(proxy: &Proxy) -> Samples {
    let response = ask(proxy, "/metrics");
    assert_eq!(response.head.status(), 200);
    assert_eq!(response.head.value("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(response.body.complete);
    parse(&response.text(), Format::Prometheus)
}

/// Waits until these series have these values: exchanges are counted a moment after their response.
#[track_caller]
pub fn wait_for(proxy: &Proxy, wanted: &[(&str, f64)]) -> Samples {
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
    let request = "GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n";
    let response = client(&proxy).exchange(request);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(response.head.value("content-type"), Some(content_type));
    let open = parse(&response.text(), Format::OpenMetrics);
    assert!(open.keys().eq(metrics(&proxy).keys()), "{open:?}");
}

// ----- by route

/// The series of a route's metric.
fn of_route(metric: &str, labels: &str) -> String {
    format!("ringress_route_{metric}{{route=\"default\"{labels}}}")
}

/// Goal: a route has the requests, sizes, durations and errors of its traffic. Method: a known mix over two workers, one of
/// them to an origin that says nothing.
#[test]
fn a_route_is_counted() {
    let origin = Origin::start(|mut conn| {
        while let Some(head) = conn.request_head() {
            match head.target() {
                "/silent" => {}
                "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"),
                _ => {
                    conn.request_body(&head);
                    conn.send(ok("fine"));
                }
            }
        }
    });
    let flags = [ADMIN.as_slice(), &["--workers", "2", "--request-timeout", "300ms"]].concat();
    let proxy = Proxy::with(&origin, &flags);
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    assert_eq!(proxy.client().exchange(post("/", "12345")).text(), "fine");
    assert_eq!(proxy.get("/missing").head.status(), 404);
    assert_eq!(proxy.get("/silent").head.status(), 504);
    assert_eq!(proxy.client().exchange("GET / HTTP/1.1\r\n\r\n").head.status(), 400);
    let series = |metric, labels| of_route(metric, labels);
    let seen = wait_for(
        &proxy,
        &[
            (&series("requests_total", ",class=\"2xx\""), 5.0),
            (&series("requests_total", ",class=\"4xx\""), 1.0),
            (&series("requests_total", ",class=\"5xx\""), 1.0),
            (&series("errors_total", ",type=\"http_response_timeout\""), 1.0),
            ("ringress_errors_total{type=\"http_response_timeout\"}", 1.0),
            ("ringress_errors_total{type=\"http_request_error\"}", 1.0),
            (&series("exchanges_active", ""), 0.0),
            (&series("duration_seconds_count", ",class=\"2xx\""), 5.0),
            (&series("duration_seconds_count", ",class=\"5xx\""), 1.0),
            (&series("first_byte_seconds_count", ""), 6.0),
            (&series("stream_gap_seconds_count", ""), 0.0),
            (&series("request_body_bytes_sum", ""), 5.0),
            (&series("response_body_bytes_sum", ""), 6.0 * 4.0),
            (&series("response_body_bytes_count", ""), 7.0),
        ],
    );
    let late = seen[&series("duration_seconds_sum", ",class=\"5xx\"")];
    assert!((0.3..10.0).contains(&late), "{late} s");
    assert!(!seen.contains_key(&series("duration_seconds_count", ",class=\"3xx\"")), "there was none");
    assert!(seen["ringress_copied_bytes_total"] > 24.0 && seen["ringress_spliced_bytes_total"] == 0.0);
}

/// Goal: a stream is under way while it is, and the pause of its origin is a gap. Method: a stream whose origin waits.
#[test]
fn a_stream_is_active_and_its_pause_is_a_gap() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let proxy = Proxy::with(&origin, &ADMIN);
    let mut stream = open_stream(&proxy);
    wait_for(&proxy, &[(&of_route("exchanges_active", ""), 1.0), (&of_route("streams_active", ""), 1.0)]);
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_millis(120) {
        assert!(!stream.stirs_within(Duration::from_millis(40)), "the gate is shut");
    }
    gate.open();
    assert!(stream.chunked().complete);
    let seen = wait_for(
        &proxy,
        &[
            (&of_route("exchanges_active", ""), 0.0),
            (&of_route("streams_active", ""), 0.0),
            (&of_route("requests_total", ",class=\"2xx\""), 1.0),
            (&of_route("stream_gap_seconds_bucket", ",le=\"0.1\""), 0.0),
        ],
    );
    let gaps = seen[&of_route("stream_gap_seconds_count", "")];
    assert!((1.0..=2.0).contains(&gaps), "{gaps}: the pause, and maybe the end by itself");
    assert!(seen[&of_route("stream_gap_seconds_sum", "")] >= 0.12);
}

/// A client that leaves in the middle of a stream leaves nothing under way.
#[test]
fn a_stream_that_is_given_up_is_not_active() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let proxy = Proxy::with(&origin, &ADMIN);
    let stream = open_stream(&proxy);
    wait_for(&proxy, &[(&of_route("streams_active", ""), 1.0)]);
    stream.reset();
    wait_for(
        &proxy,
        &[
            (&of_route("streams_active", ""), 0.0),
            (&of_route("exchanges_active", ""), 0.0),
            (&of_route("errors_total", ",type=\"http_request_error\""), 1.0),
        ],
    );
    gate.open();
}

/// Goal: a panic in the middle of an exchange leaves no count behind. Method: the fault of debug builds.
#[test]
fn a_panic_leaves_nothing_active() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &ADMIN);
    proxy.client().send(get("/.fault/panic"));
    wait_for(&proxy, &[("ringress_connection_panics_total", 1.0), (&of_route("exchanges_active", ""), 0.0)]);
}

/// A tunnel is under way while it is open, and its duration is no answer's.
#[test]
fn a_tunnel_is_active_until_it_ends() {
    let origin = Origin::start(|mut conn| {
        if conn.request_head().is_some() {
            conn.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            conn.until_end();
        }
    });
    let proxy = Proxy::with(&origin, &ADMIN);
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    wait_for(&proxy, &[(&of_route("tunnels_active", ""), 1.0), (&of_route("streams_active", ""), 0.0)]);
    drop(client);
    let seen = wait_for(
        &proxy,
        &[(&of_route("tunnels_active", ""), 0.0), (&of_route("requests_total", ",class=\"1xx\""), 1.0)],
    );
    assert!(!seen.contains_key(&of_route("duration_seconds_count", ",class=\"1xx\"")));
}

/// Goal: what was spliced is told from what was copied. Method: a body that is spliced from its first byte.
#[test]
fn spliced_bytes_are_counted() {
    let body = "x".repeat(300_000);
    let origin = Origin::serve({
        let body = body.clone();
        move |_| ok(&body)
    });
    let proxy = Proxy::with(&origin, &[ADMIN.as_slice(), &["--splice-min", "1"]].concat());
    assert_eq!(proxy.get("/").body.bytes.len(), body.len());
    let seen = wait_for(&proxy, &[("ringress_bytes_out_total", 300_000.0)]);
    let (spliced, copied) = (seen["ringress_spliced_bytes_total"], seen["ringress_copied_bytes_total"]);
    assert!(spliced > 100_000.0 && spliced + copied >= 300_000.0, "{spliced} and {copied}");
}

/// Each worker's loop is there with its levels.
#[test]
fn workers_are_there() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &[ADMIN.as_slice(), &["--workers", "2"]].concat());
    assert_eq!(proxy.get("/").text(), "fine");
    let seen = eventually("a heart has beaten", || {
        let seen = metrics(&proxy);
        let of = |metric: &str| -> f64 {
            (0..2).map(|worker| seen[&format!("ringress_worker_{metric}{{worker=\"{worker}\"}}")]).sum()
        };
        (of("timers") >= 2.0 && of("upstream_idle") == 1.0).then_some(seen)
    });
    assert!(seen.contains_key("ringress_worker_loop_stalls_total{worker=\"1\",over_ms=\"100\"}"));
    assert_eq!(seen["ringress_config_version"], 1.0);
}
