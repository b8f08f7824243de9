//! What the admin listener can be ordered, who may not order, and the status page with its events.

use std::fs;

use serde_json::Value;

use crate::admin::{ADMIN, addresses, ask, client, get};
use crate::admin_metrics::{metrics, wait_for};
use crate::harness::*;
use crate::lifecycle::{gated_stream, open_stream};

/// A `POST` without a body.
fn order(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
}

#[track_caller]
fn give(proxy: &Proxy, path: &str) -> Response {
    client(proxy).exchange(order(path))
}

fn json(response: &Response) -> Value {
    assert_eq!(response.head.value("content-type"), Some("application/json"), "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

// ----- orders

#[test]
fn reload_answers_with_the_version() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let loaded = give(&proxy, "/reload");
    assert_eq!((loaded.head.status(), &json(&loaded)["version"]), (200, &Value::from(2)));
    let seen = metrics(&proxy);
    assert_eq!(seen["ringress_config_version"], 2.0);
    assert_eq!(seen["ringress_config_reloads_total{result=\"success\"}"], 1.0);
    let (loaded, started) = (
        seen["ringress_config_last_reload_success_timestamp_seconds"],
        seen["process_start_time_seconds"].floor(),
    );
    assert!((started..started + 120.0).contains(&loaded), "{loaded} {started}");
}

/// What is not valid is refused with its error, and what was served is served on.
#[test]
fn a_reload_of_what_is_not_valid_says_why() {
    let origin = Origin::serve(|_| ok("fine"));
    let (authority, folder) = (Authority::new(), Folder::new());
    let (cert, key) = authority.server(&["a.test"]).write(&folder, "a");
    let flags = [ADMIN.as_slice(), &["--tls-listen", "127.0.0.1:0", "--cert", &cert, "--key", &key]].concat();
    let proxy = Proxy::with(&origin, &flags);
    fs::write(&cert, "no certificate").unwrap();
    let refused = give(&proxy, "/reload");
    assert_eq!(refused.head.status(), 422);
    assert!(refused.text().contains(&cert), "{}", refused.text());
    let seen = metrics(&proxy);
    assert!(seen["ringress_config_reloads_total{result=\"failure\"}"] >= 1.0);
    assert_eq!(seen["ringress_config_version"], 1.0);
    assert_eq!(proxy.get("/").text(), "fine");
}

/// Goal: the drain is that of SIGTERM, and to ask again does not cut. Method: a stream that is open all the while.
#[test]
fn a_drain_lets_streams_finish_however_often_it_is_ordered() {
    let gate = Gate::new();
    let origin = gated_stream(&gate);
    let mut proxy = Proxy::with(&origin, &ADMIN);
    let mut stream = open_stream(&proxy);
    assert_eq!(give(&proxy, "/drain").head.status(), 202);
    eventually("not ready", || (ask(&proxy, "/readyz").head.status() == 503).then_some(()));
    assert_eq!(give(&proxy, "/drain").head.status(), 202);
    assert_eq!(give(&proxy, "/drain").head.status(), 202);
    assert_eq!(metrics(&proxy)["ringress_lifecycle"], 1.0);
    gate.open();
    assert!(stream.chunked().complete);
    assert_eq!(proxy.wait().code(), Some(0));
}

/// The answer is with the client before the process ends, which it does at once where nothing runs.
#[test]
fn a_drain_of_an_idle_process_is_answered() {
    for _ in 0..5 {
        let mut proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
        let answer = give(&proxy, "/drain");
        assert_eq!((answer.head.status(), &json(&answer)["lifecycle"]), (202, &Value::from("draining")));
        assert_eq!(proxy.wait().code(), Some(0));
    }
}

/// A configuration file with a route for each path below `/`, named like it, and more lines.
fn routes(folder: &Folder, origin: &Origin, names: &[&str], more: &str) -> String {
    let mut text = format!("{more}\n[groups.all]\nupstreams = [\"{}\"]\n", origin.addr);
    for name in names {
        text += &format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\ngroup = \"all\"\n");
    }
    folder.write("ringress.toml", &text)
}

fn requests_of(route: &str) -> String {
    format!("ringress_route_requests_total{{route=\"{route}\",class=\"2xx\"}}")
}

/// Goal: routes are counted apart; one that stays goes on counting, one that goes takes its series along. Method: a file
/// that is replaced, and traffic before and after.
#[test]
fn a_reload_takes_routes_away_and_keeps_what_others_have_counted() {
    let origin = Origin::serve(|_| ok("fine"));
    let folder = Folder::new();
    let file = routes(&folder, &origin, &["stays", "goes"], "");
    let proxy = Proxy::to(&[], &[ADMIN.as_slice(), &["--config", &file, "--workers", "2"]].concat());
    for path in ["/stays/1", "/stays/2", "/goes"] {
        assert_eq!(proxy.get(path).text(), "fine", "{path}");
    }
    let (stays, goes, comes) = (requests_of("stays"), requests_of("goes"), requests_of("comes"));
    wait_for(&proxy, &[(&stays, 2.0), (&goes, 1.0)]);
    assert_eq!(proxy.get("/nowhere").head.status(), 404);
    routes(&folder, &origin, &["comes", "stays"], "");
    let loaded = give(&proxy, "/reload");
    assert_eq!(loaded.head.status(), 200, "{}", loaded.text());
    let seen = wait_for(&proxy, &[(&stays, 2.0), (&comes, 0.0)]);
    assert!(!seen.keys().any(|series| series.contains("\"goes\"")), "{seen:#?}");
    for path in ["/stays", "/comes", "/comes"] {
        assert_eq!(proxy.get(path).text(), "fine", "{path}");
    }
    wait_for(&proxy, &[(&stays, 3.0), (&comes, 2.0)]);
}

/// What only a new process takes up is told as such.
#[test]
fn a_reload_that_needs_a_new_process_conflicts() {
    let origin = Origin::serve(|_| ok("fine"));
    let folder = Folder::new();
    let file = routes(&folder, &origin, &["a"], "");
    let proxy = Proxy::to(&[], &[ADMIN.as_slice(), &["--config", &file]].concat());
    routes(&folder, &origin, &["a"], "[log]\nquery = true\n");
    let refused = give(&proxy, "/reload");
    assert_eq!(refused.head.status(), 409, "{}", refused.text());
    assert!(refused.text().contains("log-query"), "{}", refused.text());
    routes(&folder, &origin, &["a"], "[log\n");
    assert_eq!(give(&proxy, "/reload").head.status(), 422);
}

/// Goal: an endpoint that is drained gets nothing more, what it has finishes, and it comes back when told to. Method: two
/// endpoints, one with a stream that waits.
#[test]
fn an_endpoint_is_drained_and_comes_back() {
    let gate = Gate::new();
    let (leaves, stays) = (gated_stream(&gate), Origin::serve(|_| ok("other")));
    let folder = Folder::new();
    let text = format!(
        "[groups.all]\nbalance = \"round-robin\"\nupstreams = [\"{}\", \"{}\"]\n[[route]]\nname = \"all\"\ngroup = \"all\"\n",
        leaves.addr, stays.addr
    );
    let file = folder.write("ringress.toml", &text);
    let proxy = Proxy::to(&[], &[ADMIN.as_slice(), &["--config", &file]].concat());
    let mut stream = loop {
        let mut client = proxy.client();
        client.send(get("/stream"));
        if client.head().value("transfer-encoding").is_some() {
            break client;
        }
    };
    assert_eq!(stream.chunk(), Chunk::Data(b"one".to_vec()));
    let shown = |number: usize| json(&ask(&proxy, "/upstreams"))["groups"][0]["endpoints"][number].clone();
    assert_eq!((&shown(0)["active"], &shown(1)["active"]), (&Value::from(1), &Value::from(0)));
    let path = format!("/endpoints/all/{}", leaves.addr);
    assert_eq!(give(&proxy, &format!("{path}/drain")).head.status(), 200);
    assert_eq!((&shown(0)["health"], &shown(0)["serves"]), (&Value::from("draining"), &Value::from(false)));
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "other");
    }
    let serves = format!("ringress_endpoint_serves{{group=\"all\",endpoint=\"{}\"}}", leaves.addr);
    let active = format!("ringress_endpoint_requests_active{{group=\"all\",endpoint=\"{}\"}}", leaves.addr);
    wait_for(&proxy, &[(&serves, 0.0), (&active, 1.0)]);
    gate.open();
    assert!(stream.chunked().complete);
    assert_eq!(give(&proxy, &format!("{path}/undrain")).head.status(), 200);
    wait_for(&proxy, &[(&serves, 1.0), (&active, 0.0)]);
    let answers: Vec<String> = (0..6).map(|_| proxy.get("/").text()).collect();
    assert!(answers.contains(&"fine".to_owned()), "{answers:?}");
}

// ----- who may not

/// Orders are POST, shows are GET; a 405 says which.
#[test]
fn methods_are_those_of_the_path() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    for path in ["/reload", "/drain", "/endpoints/default/127.0.0.1:9/drain"] {
        let response = ask(&proxy, path);
        assert_eq!((response.head.status(), response.head.value("allow")), (405, Some("POST")), "{path}");
    }
    for path in ["/", "/events", "/config", "/upstreams", "/healthz"] {
        let response = give(&proxy, path);
        assert_eq!(
            (response.head.status(), response.head.value("allow")),
            (405, Some("GET, HEAD")),
            "{path}"
        );
    }
    assert_eq!(give(&proxy, "/nowhere").head.status(), 404);
    assert_eq!(give(&proxy, "/endpoints/default/drain").head.status(), 404);
    assert_eq!(give(&proxy, "/endpoints/default/10.9.9.9:1/drain").head.status(), 404);
    assert_eq!(metrics(&proxy)["ringress_lifecycle"], 0.0);
}

/// A page from elsewhere cannot make a browser order anything.
#[test]
fn orders_of_other_origins_are_refused() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let address = addresses(&proxy, 1)[0];
    let from = |origin: &str| {
        let request = format!(
            "POST /reload HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"
        );
        client(&proxy).exchange(request).head.status()
    };
    for origin in
        ["http://evil.test", "null", "http://localhost", "http://127.0.0.1:1", &format!("x{address}")]
    {
        assert_eq!(from(origin), 403, "{origin}");
    }
    assert_eq!(metrics(&proxy)["ringress_config_version"], 1.0);
    assert_eq!(from(&format!("http://{address}")), 200);
    let two = format!(
        "POST /reload HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(client(&proxy).exchange(two).head.status(), 403);
}

/// A name that an attacker lets point to this machine is not answered to.
#[test]
fn names_that_are_not_of_this_machine_are_misdirected() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let address = addresses(&proxy, 1)[0];
    for host in ["evil.test", "localhost.evil.test:80", "10.0.0.1", "[::2]"] {
        for path in ["/config", "/metrics", "/"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(client(&proxy).exchange(request).head.status(), 421, "{host}");
        }
    }
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:9145", &address.to_string()] {
        let request = format!("GET /config HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(client(&proxy).exchange(request).head.status(), 200, "{host}");
    }
}

// ----- shows

#[test]
fn the_configuration_in_use_is_shown() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &[ADMIN.as_slice(), &["--request-timeout", "1234ms"]].concat());
    let config = ask(&proxy, "/config");
    assert_eq!(config.head.status(), 200);
    assert!(config.text().contains("1234ms") && config.text().contains("127.0.0.1:9"), "{}", config.text());
}

#[test]
fn groups_and_their_endpoints_are_shown() {
    let proxy = Proxy::to(&["127.0.0.1:9", "127.0.0.1:10"], &ADMIN);
    let shown = json(&ask(&proxy, "/upstreams"));
    let group = &shown["groups"][0];
    assert_eq!((&shown["version"], &group["name"]), (&Value::from(1), &Value::from("default")));
    let names: Vec<_> = group["endpoints"].as_array().unwrap().iter().map(|it| &it["endpoint"]).collect();
    assert_eq!(names, ["127.0.0.1:9", "127.0.0.1:10"]);
    assert_eq!(group["endpoints"][0]["serves"], true);
}

// ----- the status page

#[test]
fn the_page_may_load_nothing_and_be_framed_by_nobody() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let page = ask(&proxy, "/");
    let policy = page.head.value("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.head.value("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.head.value("x-content-type-options"), Some("nosniff"));
    assert!(page.text().starts_with("<!doctype html>"));
}

/// The next event of a stream, as JSON.
fn event(viewer: &mut Peer) -> Value {
    let mut line = Vec::new();
    while !line.ends_with(b"\n\n") {
        line.extend(viewer.exactly(1));
    }
    let text = String::from_utf8(line).unwrap();
    serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap()
}

/// Opens the events, if there is a place.
fn watch(proxy: &Proxy) -> Result<Peer, u16> {
    let mut viewer = client(proxy);
    viewer.send(get("/events"));
    let head = viewer.head();
    if head.status() != 200 {
        return Err(head.status());
    }
    assert_eq!(head.value("content-type"), Some("text/event-stream"));
    Ok(viewer)
}

/// Goal: figures come by themselves, and show traffic. Method: events before and behind a request.
#[test]
fn events_follow_the_traffic() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &ADMIN);
    let mut viewer = watch(&proxy).unwrap();
    let first = event(&mut viewer);
    assert_eq!((&first["lifecycle"], &first["requests"]), (&Value::from("running"), &Value::from(0)));
    assert_eq!(
        (first["workers"].as_array().unwrap().len(), &first["routes"][0]["name"]),
        (1, &Value::from("default"))
    );
    let bounds = first["bounds_s"].as_array().unwrap().len();
    assert_eq!(first["routes"][0]["duration"].as_array().unwrap().len(), bounds + 1);
    assert_eq!(proxy.get("/").text(), "fine");
    let later = eventually("an event with the request", || {
        let event = event(&mut viewer);
        (event["routes"][0]["classes"][1] == 1).then_some(event)
    });
    assert_eq!(later["routes"][0]["duration"][bounds], 1);
    assert!(later["now_ms"].as_u64() > first["now_ms"].as_u64());
}

/// Goal: viewers are few and leave places for probes. Method: as many as may, one more, and one more again when one left.
#[test]
fn viewers_are_bounded() {
    let proxy = Proxy::to(&["127.0.0.1:9"], &ADMIN);
    let mut viewers: Vec<Peer> = (0..8).map(|_| watch(&proxy).unwrap()).collect();
    assert_eq!(watch(&proxy).err(), Some(503));
    assert_eq!(ask(&proxy, "/healthz").text(), "ok\n");
    viewers.pop();
    let mut next = eventually("the place is free", || watch(&proxy).ok());
    event(&mut next);
}
