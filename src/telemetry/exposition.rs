//! Metrics as text: the Prometheus exposition format 0.0.4, and OpenMetrics 1.0 for those who ask for it.
//!
//! The two differ in little: in OpenMetrics the family of a counter is named without `_total`, and the text ends with
//! `# EOF`. Every family is rendered, zeros too: a series that appears with its first event hides that event from `rate()`.
//! No help text holds a backslash, a quote or a line feed, so none needs escaping (a test holds them to it); values of labels
//! are escaped. Exceptions to "zeros too" are named where they are made, in [`super::series`].

use std::sync::Arc;

use super::metrics::{self, Counter, Shard};
use super::series::{self, EndpointFigures};
use super::text::{Format, Text};
use super::totals::Totals;

/// The process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The counters of every worker.
    pub shards: &'a [Arc<Shard>],
    /// Client connections open now.
    pub connections_open: usize,
    /// What passed by route.
    pub routes: &'a [Totals],
    /// Endpoints known now.
    pub endpoints: &'a [EndpointFigures],
    /// Lines of the access log that its output did not take.
    pub log_lines_lost: u64,
    /// Counts configurations, from 1.
    pub config_version: u64,
    /// Times that the configuration was loaded again, and times that it was refused.
    pub reloads: (u64, u64),
    /// Probes of endpoints that were good, and that were bad.
    pub probes: (u64, u64),
    /// When the configuration in use was loaded, in seconds since the Unix epoch.
    pub config_loaded_unix_s: u64,
    /// 0 running, 1 draining, 2 cutting.
    pub lifecycle: u8,
    /// Workers that hang.
    pub workers_hanging: u32,
    /// When the process started, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Version of the program.
    pub version: &'a str,
}

/// What the process counts and is, in `format`.
#[must_use]
pub fn render(snapshot: &Snapshot<'_>, format: Format) -> String {
    let mut text = Text::new(format);
    write_counters(&mut text, snapshot);
    series::errors(&mut text, snapshot.shards);
    series::routes(&mut text, snapshot.routes);
    series::workers(&mut text, snapshot.shards);
    series::endpoints(&mut text, snapshot.endpoints);
    GAUGES.iter().for_each(|gauge| write_gauge(&mut text, *gauge, snapshot));
    text.finish()
}

fn write_counters(text: &mut Text, snapshot: &Snapshot<'_>) {
    let mut current = "";
    for counter in Counter::ALL {
        let Series { family, label } = series(counter);
        if family == "loop_stalls" {
            continue; // each worker's own
        }
        let name = format!("ringress_{family}");
        if family != current {
            text.counter(&name, help(counter));
            current = family;
        }
        let value = metrics::sum(snapshot.shards, counter);
        match label {
            None => text.count(&name, &[], value),
            Some((key, word)) => text.count(&name, &[(key, &word)], value),
        }
    }
    let name = "ringress_log_lines_lost";
    text.counter(name, "Lines of the access log that its output did not take.");
    text.count(name, &[], snapshot.log_lines_lost);
    let name = "ringress_config_reloads";
    text.counter(name, "Times that the configuration was loaded again, by what came of it.");
    let (succeeded, failed) = snapshot.reloads;
    text.count(name, &[("result", "success")], succeeded);
    text.count(name, &[("result", "failure")], failed);
    let name = "ringress_probes";
    text.counter(name, "Probes of endpoints, by what they found.");
    let (good, bad) = snapshot.probes;
    text.count(name, &[("result", "good")], good);
    text.count(name, &[("result", "bad")], bad);
}

fn write_gauge(text: &mut Text, gauge: Gauge, snapshot: &Snapshot<'_>) {
    let name = gauge.name();
    text.gauge(name, gauge.help());
    match gauge {
        Gauge::ConnectionsOpen => text.level(name, &[], snapshot.connections_open),
        Gauge::WorkerConnections => series::worker_connections(text, name, snapshot.shards),
        Gauge::Endpoints => text.level(name, &[], snapshot.endpoints.len()),
        Gauge::Lifecycle => text.level(name, &[], snapshot.lifecycle),
        Gauge::WorkersHanging => text.level(name, &[], snapshot.workers_hanging),
        Gauge::ConfigVersion => text.level(name, &[], snapshot.config_version),
        Gauge::ConfigLoaded => text.level(name, &[], snapshot.config_loaded_unix_s),
        Gauge::BuildInfo => text.level(name, &[("version", snapshot.version)], 1),
        Gauge::Started => {
            let (s, ms) = (snapshot.started_unix_ms / 1000, snapshot.started_unix_ms % 1000);
            text.level(name, &[], format_args!("{s}.{ms:03}"));
        }
    }
}

/// What can go down.
#[derive(Clone, Copy, Debug)]
enum Gauge {
    ConnectionsOpen,
    WorkerConnections,
    Endpoints,
    Lifecycle,
    WorkersHanging,
    ConfigVersion,
    ConfigLoaded,
    BuildInfo,
    Started,
}

const GAUGES: [Gauge; 9] = [
    Gauge::ConnectionsOpen,
    Gauge::WorkerConnections,
    Gauge::Endpoints,
    Gauge::Lifecycle,
    Gauge::WorkersHanging,
    Gauge::ConfigVersion,
    Gauge::ConfigLoaded,
    Gauge::BuildInfo,
    Gauge::Started,
];

impl Gauge {
    /// The whole name. The last one is what every program calls it.
    const fn name(self) -> &'static str {
        match self {
            Gauge::ConnectionsOpen => "ringress_connections_open",
            Gauge::WorkerConnections => "ringress_worker_connections",
            Gauge::Endpoints => "ringress_endpoints",
            Gauge::Lifecycle => "ringress_lifecycle",
            Gauge::WorkersHanging => "ringress_workers_hanging",
            Gauge::ConfigVersion => "ringress_config_version",
            Gauge::ConfigLoaded => "ringress_config_last_reload_success_timestamp_seconds",
            Gauge::BuildInfo => "ringress_build_info",
            Gauge::Started => "process_start_time_seconds",
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Gauge::ConnectionsOpen => "Client connections open now.",
            Gauge::WorkerConnections => "Client connections open now, by the worker that serves them.",
            Gauge::Endpoints => "Addresses that requests may be sent to, names resolved.",
            Gauge::Lifecycle => "0 while running, 1 while draining, 2 while what still runs is being cut.",
            Gauge::WorkersHanging => "Workers that have shown no sign of life for three seconds.",
            Gauge::ConfigVersion => "Counts the configurations that were served, from 1.",
            Gauge::ConfigLoaded => {
                "When a configuration was last loaded with success, in seconds since the Unix epoch."
            }
            Gauge::BuildInfo => "Always 1; the label says which version runs.",
            Gauge::Started => "When the process started, in seconds since the Unix epoch.",
        }
    }
}

/// Where a counter is shown: its family, without prefix and suffix, and its label in it.
struct Series {
    family: &'static str,
    label: Option<(&'static str, String)>,
}

/// Responses and timeouts are one family each; any other counter is its own. The words of phases are those of the log.
fn series(counter: Counter) -> Series {
    let name = counter.name();
    let one_of = |family: &'static str, key: &'static str| {
        let word = name.strip_prefix(family)?.strip_prefix('_')?;
        Some(Series { family, label: Some((key, word.replace('_', "-"))) })
    };
    one_of("responses", "class")
        .or_else(|| one_of("timeouts", "phase"))
        .or_else(|| one_of("loop_stalls", "over_ms"))
        .unwrap_or(Series { family: name, label: None })
}

/// The meaning of a counter, or of its family, in one line.
const fn help(counter: Counter) -> &'static str {
    match counter {
        Counter::ConnectionsAccepted => "Client connections accepted.",
        Counter::ConnectionsClosed => "Client connections that ended.",
        Counter::ConnectionsHandedOver => {
            "Client connections that one worker accepted and another one with fewer serves."
        }
        Counter::Requests => "Request heads understood and taken on.",
        Counter::Responses1xx
        | Counter::Responses2xx
        | Counter::Responses3xx
        | Counter::Responses4xx
        | Counter::Responses5xx => {
            "Exchanges that ended, by class of their status, relayed or made here; 1xx are tunnels."
        }
        Counter::ExchangesCut => "Responses that were cut after their head was sent.",
        Counter::HeadsRefused => "Request heads refused.",
        Counter::BodiesRefused => "Request bodies refused.",
        Counter::UpstreamConnects => "Connections to endpoints that were established.",
        Counter::UpstreamConnectFailures => "Connections to endpoints that failed, by timeout too.",
        Counter::UpstreamReuses => "Requests sent on a connection that had served before.",
        Counter::UpstreamPingTimeouts => "HTTP/2 connections to origins that did not answer PING.",
        Counter::TlsHandshakes => "TLS handshakes with clients that ended well.",
        Counter::TlsHandshakeFailures => "TLS handshakes with clients that failed, other than by timeout.",
        Counter::ProxyHeaderFailures => "Connections that had to begin with a PROXY header, and did not.",
        Counter::Repeats => {
            "Requests sent again: in place of one that a stale connection lost, or as a retry that their route allows."
        }
        Counter::TimeoutsHandshake
        | Counter::TimeoutsHeader
        | Counter::TimeoutsBody
        | Counter::TimeoutsConnect
        | Counter::TimeoutsRequest
        | Counter::TimeoutsStreamIdle
        | Counter::TimeoutsWrite
        | Counter::TimeoutsTunnel
        | Counter::TimeoutsRequestDeadline
        | Counter::TimeoutsKeepAlive
        | Counter::TimeoutsDrain => "Deadlines that expired, by phase.",
        Counter::ClientAborts => "Clients that went away before their response ended.",
        Counter::ClientFloods => "Client connections of HTTP/2 that were cut for a flood.",
        Counter::ConnectionsRefused => {
            "Client connections beyond --max-connections-per-client, closed at once."
        }
        Counter::RequestsLimited => "Requests beyond a limit of their route, answered with 429.",
        Counter::Tunnels => "Exchanges that became tunnels.",
        Counter::ConnectionPanics => "Panics caught; each cost one connection.",
        Counter::AcceptPauses => {
            "Times that accepting paused for want of descriptors, memory or a free connection."
        }
        Counter::LogLinesDropped => {
            "Lines of the access log that were dropped because the log writer was behind."
        }
        Counter::BytesIn => "Bytes of request bodies and tunnels passed to origins.",
        Counter::BytesOut => "Bytes of response bodies and tunnels passed to clients.",
        Counter::BytesSpliced => "Bytes of bodies and tunnels that were moved inside the kernel.",
        Counter::BytesCopied => {
            "Bytes of responses, request bodies and tunnels that were read into this process."
        }
        Counter::LoopStalls10 | Counter::LoopStalls50 | Counter::LoopStalls100 => {
            "Times that a worker's loop was late by more than so many milliseconds."
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: the text is what the formats' grammars and the page for operators say, to the byte. Method: exact lines of
    //! known counts; every family looked up in docs/metrics.md.

    use std::collections::HashSet;

    use super::*;
    use crate::time::Phase;

    fn rendered(format: Format) -> String {
        let shards = [Arc::new(Shard::new()), Arc::new(Shard::new())];
        for shard in &shards {
            for (n, counter) in (1..).zip(Counter::ALL) {
                shard.add(counter, n);
            }
        }
        for shard in &shards {
            shard.serve_routes(["api", "a\"b"].into_iter());
        }
        let endpoint = EndpointFigures {
            group: "default".into(),
            endpoint: "127.0.0.1:3000".into(),
            health: "up",
            serves: true,
            active: 4,
        };
        shards[0].add(Counter::ConnectionsAccepted, 5); // 6 in all, of which 2 have ended
        let snapshot = Snapshot {
            shards: &shards,
            connections_open: 7,
            routes: &Totals::of(&shards, ["api", "a\"b"].into_iter()),
            endpoints: &[endpoint],
            log_lines_lost: 9,
            config_version: 2,
            reloads: (1, 3),
            probes: (5, 4),
            config_loaded_unix_s: 1_700_000_100,
            lifecycle: 1,
            workers_hanging: 0,
            started_unix_ms: 1_700_000_000_045,
            version: "1.2.3",
        };
        render(&snapshot, format)
    }

    const GAUGE_LINES: &str = "\
# HELP ringress_connections_open Client connections open now.
# TYPE ringress_connections_open gauge
ringress_connections_open 7
# HELP ringress_worker_connections Client connections open now, by the worker that serves them.
# TYPE ringress_worker_connections gauge
ringress_worker_connections{worker=\"0\"} 4
ringress_worker_connections{worker=\"1\"} 0
# HELP ringress_endpoints Addresses that requests may be sent to, names resolved.
# TYPE ringress_endpoints gauge
ringress_endpoints 1
# HELP ringress_lifecycle 0 while running, 1 while draining, 2 while what still runs is being cut.
# TYPE ringress_lifecycle gauge
ringress_lifecycle 1
# HELP ringress_workers_hanging Workers that have shown no sign of life for three seconds.
# TYPE ringress_workers_hanging gauge
ringress_workers_hanging 0
# HELP ringress_config_version Counts the configurations that were served, from 1.
# TYPE ringress_config_version gauge
ringress_config_version 2
# HELP ringress_config_last_reload_success_timestamp_seconds When a configuration was last loaded with success, in seconds since the Unix epoch.
# TYPE ringress_config_last_reload_success_timestamp_seconds gauge
ringress_config_last_reload_success_timestamp_seconds 1700000100
# HELP ringress_build_info Always 1; the label says which version runs.
# TYPE ringress_build_info gauge
ringress_build_info{version=\"1.2.3\"} 1
# HELP process_start_time_seconds When the process started, in seconds since the Unix epoch.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1700000000.045
";

    #[test]
    fn prometheus_text_is_exact() {
        let text = rendered(Format::Prometheus);
        assert!(text.starts_with(
            "# HELP ringress_connections_accepted_total Client connections accepted.\n\
             # TYPE ringress_connections_accepted_total counter\n\
             ringress_connections_accepted_total 7\n\
             # HELP ringress_connections_closed_total Client connections that ended.\n"
        ));
        assert!(text.contains(
            "# TYPE ringress_responses_total counter\n\
             ringress_responses_total{class=\"1xx\"} 10\n\
             ringress_responses_total{class=\"2xx\"} 12\n\
             ringress_responses_total{class=\"3xx\"} 14\n\
             ringress_responses_total{class=\"4xx\"} 16\n\
             ringress_responses_total{class=\"5xx\"} 18\n\
             # HELP ringress_exchanges_cut_total "
        ));
        assert!(text.contains("\nringress_bytes_out_total 82\n"), "{text}");
        assert!(
            text.contains("\nringress_worker_loop_stalls_total{worker=\"1\",over_ms=\"100\"} 46\n"),
            "{text}"
        );
        assert!(
            text.contains("\nringress_route_requests_total{route=\"a\\\"b\",class=\"2xx\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("ringress_endpoint_serves{group=\"default\",endpoint=\"127.0.0.1:3000\"} 1\n"),
            "{text}"
        );
        assert!(text.ends_with(GAUGE_LINES), "{text}");
    }

    #[test]
    fn open_metrics_differ_in_family_names_and_end() {
        let text = rendered(Format::OpenMetrics);
        assert!(text.starts_with(
            "# HELP ringress_connections_accepted Client connections accepted.\n\
             # TYPE ringress_connections_accepted counter\n\
             ringress_connections_accepted_total 7\n"
        ));
        assert!(text.ends_with(&format!("{GAUGE_LINES}# EOF\n")), "{text}");
        let samples =
            |text: &str| text.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
        assert_eq!(samples(&text), samples(&rendered(Format::Prometheus)));
    }

    #[test]
    fn a_family_is_in_one_place_and_every_series_is_there_once() {
        let text = rendered(Format::Prometheus);
        let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let series: Vec<&str> =
            text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(types.iter().collect::<HashSet<_>>().len(), types.len(), "{types:?}");
        assert_eq!(series.iter().collect::<HashSet<_>>().len(), series.len(), "{series:?}");
        let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
        assert!(
            helps.clone().count() == types.len() && helps.clone().all(|help| !help.contains(['\\', '"']))
        );
    }

    #[test]
    fn phases_have_the_words_of_the_log() {
        for phase in Phase::ALL {
            let series = series(Counter::timeout(phase));
            assert_eq!((series.family, series.label), ("timeouts", Some(("phase", phase.name().to_owned()))));
        }
    }

    /// The page for operators is written by hand; it must not fall behind.
    #[test]
    fn the_page_has_every_metric_and_no_other() {
        let page = include_str!("../../docs/metrics.md");
        let text = rendered(Format::Prometheus);
        let names: HashSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let rows: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next()).collect();
        let rows: Vec<&str> = rows.into_iter().filter(|row| !row.starts_with('/')).collect();
        assert_eq!(rows.iter().copied().collect::<HashSet<_>>(), names);
        assert_eq!(rows.len(), names.len(), "a row is there twice");
    }
}
