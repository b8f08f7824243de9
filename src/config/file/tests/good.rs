//! Good files, and what they amount to.

use std::time::{Duration, Instant};

use super::*;
use crate::config::group::{Balance, HashKey, Probe};
use crate::config::route::{Action, Host, LimitKey, Location, PathMatch, PathRewrite};
use crate::config::{LogTarget, Service};

/// The example of the documentation.
const EXAMPLE: &str = include_str!("../../../../docs/examples/two-applications.toml");

#[test]
fn the_example_is_what_it_says() {
    let config = good(EXAMPLE);
    let names: Vec<&str> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["shop", "shop-uploads", "shop-login", "chat", "chat-api", "old-shop", "nobody"]);
    assert_eq!(config.addresses(Service::Tls).count(), 2);
    assert_eq!(config.groups[0].members[2].weight.get(), 2);
    assert_eq!(config.groups[1].balance, Balance::Hash(HashKey::Cookie("session".into())));
    let uploads = &config.routes[1];
    assert_eq!(uploads.body_bytes_max, Some(1 << 30));
    assert_eq!(uploads.timeouts.request, Some(Duration::from_secs(300)));
    assert_eq!((uploads.retry.max, uploads.retry.connect_failure), (0, true));
    let chat = &config.routes[3];
    assert_eq!(chat.timeouts.request, Some(Duration::from_secs(30)), "from [timeouts]");
    assert_eq!(chat.body_bytes_max, Some(1 << 20), "from [limits]");
    let rewrite = PathRewrite::Prefix("/v2".into());
    assert_eq!(config.routes[4].action, Action::Forward { group: 1, rewrite });
    assert_eq!(config.routes[5].matches.hosts[1], Host::Wildcard("old-shop.example.com".into()));
    let limit = &config.routes[2].limits[0];
    assert_eq!(limit.key, LimitKey::Client);
    assert_eq!(limit.rate.map(|rate| (rate.requests.get(), rate.burst.get())), Some((5, 10)));
}

/// Every default, from the least that can be served.
#[test]
fn the_least_that_can_be_served() {
    let config = good("[groups.app]\nupstreams = [\"app:1\"]\n[[route]]\ngroup = \"app\"\n");
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert!(config.normalize_paths && config.http2 && config.pin && !config.demo);
    assert_eq!(config.routes[0].matches.path, PathMatch::Prefix("/".into()));
    assert_eq!(config.groups[0].pool, config.pool);
    assert_eq!(config.access_log, LogTarget::Off);
    assert_eq!(config.max_connections_per_client, None);
    let demo = good("[server]\ndemo = true\n");
    assert_eq!((demo.access_log, demo.routes.len(), demo.groups.len()), (LogTarget::Stdout, 1, 1));
}

#[test]
fn a_group_differs_from_the_pool_where_it_says_so() {
    let config = good(
        "[pool]\nidle-max = 7\n[groups.app]\nupstreams = [\"app:1\"]\npool = { age-max = \"off\" }\n\
         check = { tcp = true }\nejection = false\n[[route]]\ngroup = \"app\"\n",
    );
    let group = &config.groups[0];
    assert_eq!((group.pool.idle_max, group.pool.age_max), (7, crate::config::NEVER));
    assert_eq!(group.check.as_ref().map(|check| &check.probe), Some(&Probe::Tcp));
    assert_eq!(group.ejection, None);
}

#[test]
fn a_route_differs_from_the_retries_where_it_says_so() {
    let config = good(
        "[retry]\nmax = 5\nstatuses = [503]\n[groups.app]\nupstreams = [\"app:1\"]\n[[route]]\ngroup = \"app\"\n\
         [[route]]\npath = \"/a\"\ngroup = \"app\"\nretry = { max = 1 }\n",
    );
    assert_eq!(config.routes[0].retry.max, 5);
    assert_eq!((config.routes[1].retry.max, config.routes[1].retry.statuses.as_slice()), (1, &[503][..]));
}

#[test]
fn redirects_and_responses_have_defaults() {
    let config = good(
        "[[route]]\nredirect = { scheme = \"https\" }\n[[route]]\npath = \"/a\"\nrespond = { body = \"x\" }\n",
    );
    let location = Location::Parts { scheme: Some("https".into()), host: None, path: PathRewrite::Keep };
    assert_eq!(config.routes[0].action, Action::Redirect { status: 308, location });
    let content_type = Some("text/plain; charset=utf-8".into());
    assert_eq!(config.routes[1].action, Action::Respond { status: 200, content_type, body: "x".into() });
}

/// Windows editors end lines with CRLF and begin files with a mark of the byte order.
#[test]
fn marks_of_other_editors_are_no_fault() {
    let text = EXAMPLE.replace('\n', "\r\n");
    assert_eq!(good(&text).groups, good(EXAMPLE).groups);
    assert_eq!(good(&format!("\u{feff}{EXAMPLE}")).groups, good(EXAMPLE).groups);
    let text = "\u{feff}[server]\r\nworkres = 1\r\n";
    let said = config(text).unwrap_err().render("x", text);
    assert!(said.starts_with("error: x:2:1: ") && said.contains("\n2 | workres = 1\n"), "{said}");
}

/// Goal: many routes, each with a host of its own, are not compared each with each. Method: a large file and one of an eighth;
/// the best of three readings, so that a busy machine does not decide.
#[test]
fn time_to_read_grows_with_the_file_alone() {
    let file = |routes: u32| -> String {
        let route = |n| format!("[[route]]\nhosts = [\"h{n}.test\"]\ngroup = \"app\"\n");
        (0..routes)
            .map(route)
            .fold("[groups.app]\nupstreams = [\"app:1\"]\n".to_owned(), |text, it| text + &it)
    };
    let best = |routes: u32| {
        let document = read(&file(routes)).unwrap();
        let times = (0..3).map(|_| {
            let since = Instant::now();
            assert_eq!(resolve(&document).unwrap().routes.len(), routes as usize);
            since.elapsed()
        });
        times.min().unwrap()
    };
    let (few, many) = (best(1_500), best(12_000));
    assert!(many < few * 24, "{few:?} for 1 500 routes, {many:?} for 12 000");
}
