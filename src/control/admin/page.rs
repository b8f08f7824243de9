//! The status page: one file, and the snapshots that it draws.
//!
//! Snapshots are sums since the start, as metrics are: the page takes differences itself, so that nothing is kept here for a
//! viewer, and two viewers do not disturb each other.

use std::hash::{BuildHasher, RandomState};

use crate::telemetry::histogram::{Counts, Scale};
use crate::telemetry::metrics::{self, Counter, Level, Shard};
use crate::telemetry::routes::Active;
use crate::telemetry::totals::Totals;

use super::json::Json;
use super::reply::Reply;
use super::subject::Subject;
use super::{endpoints, wire};

const PAGE: &str = include_str!("page.html");
/// Stands for the nonce in [`PAGE`].
const NONCE: &str = "{{nonce}}";

/// The page. Only what carries the nonce of this very response runs or is drawn, should a name ever find its way into the markup.
pub fn reply() -> Reply {
    // Keys of a hasher are drawn from the system's randomness.
    let nonce = format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1));
    let fields = format!(
        "Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
         Referrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n"
    );
    Reply { fields, ..Reply::of(200, "text/html; charset=utf-8", PAGE.replace(NONCE, &nonce)) }
}

/// The process at this moment.
pub fn snapshot(subject: &Subject) -> String {
    let shared = &subject.shared;
    let sum = |counter| metrics::sum(&subject.shards, counter);
    Json::object(|json| {
        json.text("program", env!("CARGO_PKG_VERSION"));
        json.text("lifecycle", subject.standing());
        json.raw("config_version", shared.site.load().version);
        json.raw("now_ms", u64::try_from(shared.epoch.elapsed().as_millis()).unwrap_or(u64::MAX));
        json.raw("unix_s", wire::unix_s());
        json.raw("connections", shared.connections());
        json.raw("requests", sum(Counter::Requests));
        json.raw("bytes_in", sum(Counter::BytesIn));
        json.raw("bytes_out", sum(Counter::BytesOut));
        json.raw("cut", sum(Counter::ExchangesCut));
        json.raw("refused", sum(Counter::HeadsRefused));
        json.raw("log_lines_lost", sum(Counter::LogLinesDropped) + (subject.controls.log_lines_lost)());
        let bounds = Counts::new(Scale::Time);
        let bounds: Vec<&str> = bounds.cumulative().map(|(le, _)| le).filter(|le| *le != "+Inf").collect();
        json.raw("bounds_s", format_args!("[{}]", bounds.join(",")));
        json.objects("routes", &subject.routes(), write_route);
        json.objects("endpoints", &endpoints::all(shared), |json, it| {
            json.text("group", &it.group);
            json.text("endpoint", &it.endpoint);
            json.text("health", it.health);
            json.raw("serves", it.serves);
            json.raw("active", it.active);
        });
        json.objects("workers", &subject.shards, |json, shard| write_worker(json, shard));
    })
}

fn write_route(json: &mut Json, route: &Totals) {
    let mut duration = Counts::new(Scale::Time);
    route.durations.iter().for_each(|class| duration.merge(class));
    json.text("name", &route.name);
    json.numbers("classes", route.classes);
    json.raw("errors", route.errors.iter().sum::<u64>());
    json.raw("retries", route.retries);
    json.raw("active", route.active(Active::Exchanges));
    json.raw("streams", route.active(Active::Streams));
    json.raw("tunnels", route.active(Active::Tunnels));
    for (name, counts) in [("duration", &duration), ("first_byte", &route.first_byte), ("gap", &route.gap)] {
        json.numbers(name, counts.cumulative().map(|(_, count)| count));
    }
}

fn write_worker(json: &mut Json, shard: &Shard) {
    let open =
        shard.value(Counter::ConnectionsAccepted).saturating_sub(shard.value(Counter::ConnectionsClosed));
    json.raw("connections", open);
    json.raw("requests", shard.value(Counter::Requests));
    json.raw("timers", shard.level(Level::Timers));
    json.raw("upstream_idle", shard.level(Level::UpstreamIdle));
    json.raw("stalls", shard.value(Counter::LoopStalls10));
    json.raw("stall_max_us", shard.level(Level::LoopStallMax));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the page needs nothing but itself, and nothing in it runs without the nonce. Method: its text.
    #[test]
    fn the_page_is_whole_and_strict() {
        let reply = reply();
        assert!(!reply.body.contains(NONCE) && PAGE.matches(NONCE).count() == 2, "one style, one script");
        assert_eq!(PAGE.matches("<script").count() + PAGE.matches("<style").count(), 2);
        for outside in ["http://", "https://", "src=", "@import", "url(", " style=", " onclick="] {
            let own = PAGE.replace("http://www.w3.org/2000/svg", ""); // a name, fetched by nobody
            assert!(!own.contains(outside), "{outside}");
        }
        assert!(!PAGE.contains("innerHTML"), "names are text");
        let nonce = |reply: &Reply| reply.fields.split("'nonce-").nth(1).map(|it| it[..32].to_owned());
        assert!(nonce(&reply).is_some_and(|nonce| reply.body.contains(&nonce)));
        assert_ne!(nonce(&reply), nonce(&super::reply()));
    }
}
