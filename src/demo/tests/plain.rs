//! Goal: replies of known length are right in head and body, for GET and HEAD, good parameters and bad.

use super::client::Client;

fn assert_get(target: &str, status: u16, check: impl Fn(&[u8])) {
    let mut client = Client::new();
    let (head, body) = client.get(target);
    assert_eq!(head.status, status, "{target}");
    check(&body);
    client.ask("HEAD", target);
    let bare = client.head();
    assert_eq!(bare.status, status, "HEAD {target}");
    assert_eq!(bare.field("Content-Length"), head.field("Content-Length"), "HEAD {target}");
    assert_eq!(bare.field("Transfer-Encoding"), head.field("Transfer-Encoding"), "HEAD {target}");
    // A body where there must be none would be read as the head of this.
    assert_eq!(client.get("/bytes/3").1, b"abc", "after HEAD {target}");
}

#[test]
fn the_page_is_html_that_needs_nothing_else() {
    assert_get("/", 200, |body| {
        let text = str::from_utf8(body).unwrap();
        assert!(text.starts_with("<!doctype html>"));
        assert!(text.contains("EventSource('/sse')") && text.contains("/ws"));
        assert!(!text.contains("<script src") && !text.contains("rel=\"stylesheet\""));
    });
}

#[test]
fn bytes_are_counted_and_always_the_same() {
    for bytes in [0_usize, 1, 63, 64, 65, 100, 65_535, 65_536, 65_537, 1_000_000] {
        assert_get(&format!("/bytes/{bytes}"), 200, |body| {
            assert_eq!(body.len(), bytes);
            assert!(body.iter().zip(body.iter().skip(64)).all(|(a, b)| a == b), "period of 64");
        });
    }
    let mut client = Client::new();
    assert_eq!(client.get("/bytes/100000").1, client.get("/chunked/100000").1);
}

#[test]
fn chunked_has_no_length() {
    for bytes in [0_usize, 1, 65_536, 200_000] {
        assert_get(&format!("/chunked/{bytes}"), 200, |body| assert_eq!(body.len(), bytes));
    }
}

#[test]
fn ten_gibibytes_are_announced() {
    let mut client = Client::new();
    client.ask("HEAD", "/bytes/10737418240");
    assert_eq!(client.head().field("Content-Length"), Some("10737418240"));
    assert_eq!(client.get("/bytes/10737418241").0.status, 400);
}

#[test]
fn bad_parameters_are_told() {
    for target in [
        "/bytes/x",
        "/bytes/-1",
        "/chunked/1e3",
        "/status/99",
        "/status/600",
        "/status/101",
        "/slow?seconds=3601",
        "/slow?seconds=NaN",
        "/sse?interval=9",
        "/sse?interval=60001",
        "/sse?count=0",
        "/drip?bytes=x",
    ] {
        let mut client = Client::new();
        let (head, body) = client.get(target);
        assert_eq!(head.status, 400, "{target}");
        assert!(str::from_utf8(&body).unwrap().contains("number from"), "{target}");
    }
}

#[test]
fn slow_waits_before_its_head() {
    assert_get("/slow?seconds=0.01", 200, |body| assert!(body.starts_with(b"waited 0.01 s")));
    let start = std::time::Instant::now();
    Client::new().get("/slow?seconds=0.3");
    assert!(start.elapsed().as_millis() >= 300);
}

#[test]
fn statuses_are_given_as_asked() {
    for status in [200, 201, 204, 205, 302, 304, 401, 404, 405, 418, 426, 500, 503, 599] {
        let mut client = Client::new();
        let (head, body) = client.get(&format!("/status/{status}"));
        assert_eq!(head.status, status);
        assert_eq!(body.is_empty(), matches!(status, 204 | 205 | 304));
        assert_eq!(head.field("Content-Length").is_none(), matches!(status, 204 | 304));
        assert_eq!(client.get("/bytes/1").1, b"a", "after {status}");
    }
}

#[test]
fn headers_come_back_as_sent() {
    let mut client = Client::new();
    let request = "GET /headers?x=1 HTTP/1.1\r\nHost: demo\r\nX-Odd-CASE:  two  spaces \r\n\r\n";
    client.send(request);
    let (head, body) = client.reply();
    assert_eq!(head.field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(str::from_utf8(&body).unwrap(), request);
}

#[test]
fn other_paths_are_not_found() {
    assert_get("/nothing/here", 404, |body| assert!(str::from_utf8(body).unwrap().contains("/sse")));
}

#[test]
fn absolute_form_is_understood() {
    let mut client = Client::new();
    for (target, status) in [("http://demo/bytes/1", 200), ("http://demo", 200), ("http://demo?x=1", 200)] {
        assert_eq!(client.get(target).0.status, status, "{target}");
    }
}
