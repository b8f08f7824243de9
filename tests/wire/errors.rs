//! Responses the proxy makes itself: negotiated bodies, `Proxy-Status`, nothing about the inside.

use crate::harness::*;

/// A proxy before an address where nobody listens.
fn proxy_to_nowhere() -> Proxy {
    Proxy::to(&[&dead_address().to_string()], &[])
}

/// What every generated response owes its reader.
#[track_caller]
fn assert_generated(response: &Response, status: u16) -> String {
    let head = &response.head;
    assert_eq!(head.status(), status, "{response:?}");
    assert!(head.has("date") && head.has("content-type"), "{head:?}");
    assert!(response.body.complete);
    let proxy_status = head.value("proxy-status").expect("Proxy-Status");
    let error = proxy_status.strip_prefix("ringress; error=").expect("ours");
    error.split(';').next().unwrap().to_owned()
}

/// One line of text by default.
#[test]
fn body_is_text_by_default() {
    let response = proxy_to_nowhere().get("/");
    assert_generated(&response, 502);
    assert!(response.head.value("content-type").unwrap().starts_with("text/plain"));
    let text = response.text();
    assert!(!text.trim().is_empty() && text.trim_end().lines().count() == 1, "{text:?}");
}

/// JSON when `Accept` asks for it.
#[test]
fn body_is_json_on_request() {
    let proxy = proxy_to_nowhere();
    for accept in ["application/json", "text/html;q=0.1, application/json"] {
        let response =
            proxy.client().exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n"));
        assert_generated(&response, 502);
        assert!(response.head.value("content-type").unwrap().starts_with("application/json"), "{accept}");
        let body: serde_json::Value = serde_json::from_slice(&response.body.bytes).expect("JSON");
        assert!(body["error"].is_string() && body["message"].is_string(), "{body}");
    }
}

/// No body to `HEAD`, and the connection stays in step.
#[test]
fn head_gets_no_body() {
    let proxy = proxy_to_nowhere();
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_generated(&client.response_to("HEAD"), 502);
    client.assert_closed();
}

/// A refused upstream says nothing about where it is.
#[test]
fn bodies_hold_no_internal_address() {
    let nowhere = dead_address();
    let proxy = Proxy::to(&[&nowhere.to_string()], &[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (bytes, _) = client.until_end();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 502"));
    assert!(!text.contains("127.0.0.1") && !text.contains(&nowhere.port().to_string()), "{text}");
}

/// Causes on the upstream side and their RFC 9209 types; the log uses the same words.
#[test]
fn proxy_status_names_the_cause_upstream() {
    let origin = Origin::start(|mut conn| {
        let head = conn.request_head().unwrap();
        match head.target() {
            "/silent" => drop(conn.until_end()),
            "/garbage" => conn.send("no HTTP at all\r\n\r\n"),
            "/reset" => conn.reset(),
            _ => {}
        }
    });
    let proxy = Proxy::with(&origin, &["--request-timeout", "500ms"]);
    let ended: &[&str] = &["connection_terminated", "http_response_incomplete"];
    let cases: [(&str, u16, &[&str]); 4] = [
        ("/silent", 504, &["http_response_timeout"]),
        ("/garbage", 502, &["http_protocol_error"]),
        ("/reset", 502, ended),
        ("/closed", 502, ended),
    ];
    for (path, status, errors) in cases {
        let error = assert_generated(&proxy.get(path), status);
        assert!(errors.contains(&error.as_str()), "{path}: {error}");
        let line = proxy.log_for(path);
        assert_eq!((line.get("error"), line.get("status")), (error.as_str(), status.to_string().as_str()));
    }
    let nowhere = proxy_to_nowhere();
    assert_eq!(assert_generated(&nowhere.get("/refused"), 502), "connection_refused");
    assert_eq!(nowhere.log_for("/refused").get("error"), "connection_refused");
}

/// Causes on the client's side.
#[test]
fn proxy_status_names_the_cause_downstream() {
    let origin = Origin::serve(|_| ok("fine"));
    let proxy = Proxy::with(&origin, &["--header-timeout", "500ms", "--max-body-bytes", "10"]);
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHo", 408),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ];
    for (request, status) in cases {
        let mut client = proxy.client();
        let response = client.exchange(request);
        let error = assert_generated(&response, status);
        assert!(error.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{error}");
        assert!(response.head.lists("connection", "close"), "{request}");
        client.assert_closed();
    }
}

/// Responses of the origin are its own: errors included, nothing is put in their place.
#[test]
fn errors_of_the_origin_pass_untouched() {
    let origin =
        Origin::serve(|_| b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy".to_vec());
    let proxy = Proxy::of(&origin);
    let response = proxy.get("/");
    assert_eq!((response.head.status(), response.text().as_str()), (503, "busy"));
    assert_eq!(response.head.value("retry-after"), Some("3"));
    assert!(!response.head.has("proxy-status"), "{:?}", response.head);
    assert_eq!(proxy.log_for("/").get("error"), "");
}

/// After a 502 to a request that was read whole, the connection is in step: it answers on, or it is closed.
#[test]
fn connection_after_an_error_is_clean() {
    let proxy = proxy_to_nowhere();
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.exchange(get("/"));
        assert_generated(&response, 502);
        if response.head.lists("connection", "close") {
            return client.assert_closed();
        }
    }
}
