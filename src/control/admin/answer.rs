//! What is answered to whom: the paths of the admin listener.

use crate::control::reload::Refused;
use crate::flags;
use crate::h1::{Known, Method};
use crate::net::shared::Lifecycle;
use crate::telemetry::text::Format;

use super::endpoints::{self, Ordered};
use super::json::Json;
use super::reply::{Answer, Reply};
use super::subject::Subject;
use super::wire::Ask;
use super::{guard, page};

/// The answer to `ask`.
pub fn answer(ask: Ask<'_>, subject: &Subject) -> Answer {
    if let Err(refusal) = guard::check(ask) {
        return Answer::Reply(refusal);
    }
    let target = ask.head.path.of(ask.bytes);
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let Ok(path) = str::from_utf8(path) else { return Answer::Reply(Reply::refusal(404)) };
    match (is_order(path), ask.head.method) {
        (true, Method::Post) => obey(path, subject),
        (true, _) => Answer::Reply(Reply::not_allowed("POST")),
        (false, Method::Get) => show(path, ask, subject),
        (false, Method::Head) => match show(path, ask, subject) {
            Answer::Reply(reply) => Answer::Reply(Reply { head_only: true, ..reply }),
            Answer::Events { .. } => Answer::Events { head_only: true },
            other @ Answer::ReplyThen(..) => other,
        },
        (false, _) if !is_shown(path) => Answer::Reply(Reply::text(404, NOWHERE)),
        (false, _) => Answer::Reply(Reply::not_allowed("GET, HEAD")),
    }
}

const NOWHERE: &str = "not here: there are /, /metrics, /healthz, /readyz, /upstreams, /config and /events\n";

fn is_order(path: &str) -> bool {
    matches!(path, "/reload" | "/drain") || endpoint_order(path).is_some()
}

fn is_shown(path: &str) -> bool {
    matches!(
        path,
        "/" | "/metrics" | "/healthz" | "/readyz" | "/upstreams" | "/config" | "/events" | "/snapshot"
    )
}

fn show(path: &str, ask: Ask<'_>, subject: &Subject) -> Answer {
    Answer::Reply(match path {
        "/" => page::reply(),
        "/events" => return Answer::Events { head_only: false },
        "/snapshot" => Reply::json(200, page::snapshot(subject)),
        "/metrics" => {
            let accept = ask.fields.iter().filter(|field| field.known == Known::Accept);
            let format =
                Format::wanted(accept.filter_map(|field| str::from_utf8(field.value.of(ask.bytes)).ok()));
            Reply::of(200, format.content_type(), subject.metrics(format))
        }
        "/healthz" => match subject.shared.workers_hanging() {
            0 => Reply::text(200, "ok\n"),
            _ => Reply::text(503, "a worker hangs\n"),
        },
        "/readyz" => match subject.shared.lifecycle() {
            Lifecycle::Running => Reply::text(200, "ok\n"),
            // Asked before a successor had taken over, and answered after: the service is as ready as ever.
            Lifecycle::Draining if subject.shared.has_successor() => Reply::text(200, "ok\n"),
            Lifecycle::Draining | Lifecycle::Cutting => Reply::text(503, "draining\n"),
        },
        "/upstreams" => Reply::json(200, upstreams(subject)),
        "/config" => {
            let config = &subject.shared.site.load().config;
            Reply::of(200, "application/toml; charset=utf-8", flags::effective(config))
        }
        _ => Reply::text(404, NOWHERE),
    })
}

/// Every group with its endpoints.
fn upstreams(subject: &Subject) -> String {
    let site = subject.shared.site.load();
    let all = endpoints::all(&subject.shared);
    let mut text = Json::object(|json| {
        json.raw("version", site.version);
        json.objects("groups", &site.config.groups, |json, group| {
            json.text("name", &group.name);
            json.objects("endpoints", all.iter().filter(|it| it.group == group.name), |json, it| {
                json.text("endpoint", &it.endpoint);
                json.text("health", it.health);
                json.raw("serves", it.serves);
                json.raw("active", it.active);
            });
        });
    });
    text.push('\n');
    text
}

fn obey(path: &str, subject: &Subject) -> Answer {
    match path {
        "/reload" => Answer::Reply(reload(subject)),
        "/drain" => {
            let reply = Reply::json(202, "{\"lifecycle\":\"draining\"}\n".into());
            Answer::ReplyThen(reply, |subject| (subject.controls.drain)())
        }
        _ => Answer::Reply(match endpoint_order(path) {
            Some((group, label, drained)) => order_endpoint(subject, &group, &label, drained),
            None => Reply::text(404, NOWHERE),
        }),
    }
}

fn reload(subject: &Subject) -> Reply {
    match subject.controls.reloads.reload_now() {
        Ok(version) => Reply::json(200, format!("{{\"version\":{version}}}\n")),
        Err(refused) => {
            let status = match refused {
                Refused::Restart(_) => 409,
                Refused::Invalid(_) => 422,
                Refused::Busy(_) => 503,
            };
            Reply::text(status, format!("{refused}\n"))
        }
    }
}

fn order_endpoint(subject: &Subject, group: &str, label: &str, drained: bool) -> Reply {
    match endpoints::order(&subject.shared, group, label, drained) {
        Ordered::Done => Reply::json(200, upstreams(subject)),
        Ordered::Unknown => Reply::text(404, "no such group, or no such endpoint in it: see /upstreams\n"),
    }
}

/// `/endpoints/GROUP/ENDPOINT/drain`: the group, the endpoint, and whether it is to drain. Both may be percent-encoded; a slash in
/// the name of an endpoint, as in `https://…` and `unix:/…`, need not be.
fn endpoint_order(path: &str) -> Option<(String, String, bool)> {
    let (group, rest) = path.strip_prefix("/endpoints/")?.split_once('/')?;
    let (label, drained) = match rest.strip_suffix("/drain") {
        Some(label) => (label, true),
        None => (rest.strip_suffix("/undrain")?, false),
    };
    Some((decoded(group)?, decoded(label)?, drained)).filter(|(_, label, _)| !label.is_empty())
}

/// Percent-decoded (RFC 3986 §2.1); `None` if that is no text.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_to_endpoints_name_them() {
        let order = |group: &str, label: &str, drained| Some((group.to_owned(), label.to_owned(), drained));
        for (path, expected) in [
            ("/endpoints/default/127.0.0.1:3000/drain", order("default", "127.0.0.1:3000", true)),
            ("/endpoints/a%20b/127.0.0.1%3A3000/undrain", order("a b", "127.0.0.1:3000", false)),
            ("/endpoints/g/https://10.0.0.1:443/drain", order("g", "https://10.0.0.1:443", true)),
            ("/endpoints/g/unix%3A%2Frun%2Fa/undrain", order("g", "unix:/run/a", false)),
            ("/endpoints/g//drain", None),
            ("/endpoints/g/drain", None),
            ("/endpoints/g/a", None),
            ("/endpoints/g/%zz/drain", None),
            ("/endpoints/g/%+1/drain", None),
            ("/endpoints/g/%f/drain", None),
            ("/endpoints/g/%ff/drain", None),
            ("/endpoints/", None),
        ] {
            assert_eq!(endpoint_order(path), expected, "{path}");
        }
    }
}
