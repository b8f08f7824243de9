//! Goal: of all routes the right one has the request, and what it says happens to the very bytes that it was chosen by.
//! Method: origins that answer with their name and what they read, behind a configuration file.

use http::Request;

use crate::harness::*;

/// An origin that answers with its name, and the method, target and host that it read.
fn mirror(name: &'static str) -> Origin {
    Origin::serve(move |request| {
        let mut words = request.head.first.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let host = request.head.value("host").unwrap_or("-");
        ok(&format!("{name} {method} {target} {host}"))
    })
}

/// A group for each origin, and then the routes.
fn file(groups: &[(&str, &Origin)], routes: &str) -> String {
    let mut file = String::new();
    for (name, origin) in groups {
        file += &format!("[groups.{name}]\nupstreams = [\"{}\"]\n", origin.addr);
    }
    file + routes
}

/// A `GET` for a host.
fn ask(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Everything about hosts: exact before wildcard before none, one label, case, port, trailing dot, the target's own host.
#[test]
fn hosts_choose() {
    let (exact, wild, none) = (mirror("exact"), mirror("wild"), mirror("none"));
    let routes = r#"
        [[route]]
        group = "none"
        [[route]]
        group = "wild"
        hosts = ["*.example.com"]
        [[route]]
        group = "exact"
        hosts = ["a.example.com", "[2001:db8::1]"]
    "#;
    let proxy = Proxy::configured(&file(&[("exact", &exact), ("wild", &wild), ("none", &none)], routes), &[]);
    let mut client = proxy.client();
    for (host, name) in [
        ("a.example.com", "exact"),
        ("A.Example.COM", "exact"),
        ("a.example.com:8443", "exact"),
        ("a.example.com.", "exact"),
        ("a.example.com.:80", "exact"),
        ("b.example.com", "wild"),
        ("B.EXAMPLE.com:1", "wild"),
        ("example.com", "none"),
        ("a.b.example.com", "none"),
        ("xa.example.com.evil", "none"),
        ("[2001:db8::1]:80", "exact"),
        ("[2001:DB8:0:0::1]", "exact"),
        ("[2001:db8::2]", "none"),
    ] {
        assert_eq!(client.exchange(ask(host, "/p")).text(), format!("{name} GET /p {host}"));
    }
    let absolute = "GET http://a.example.com/abs HTTP/1.1\r\nHost: a.example.com\r\n\r\n";
    assert_eq!(client.exchange(absolute).text(), "exact GET /abs a.example.com");
    let old = proxy.client().exchange("GET /old HTTP/1.0\r\n\r\n").text();
    assert!(old.starts_with("none GET /old"), "{old}");
    let mut two = Http2::connect(proxy.addr());
    for (host, name) in [("a.example.com", "exact"), ("C.example.com:81", "wild"), ("else", "none")] {
        let request = Request::get(format!("http://{host}/two")).body(()).unwrap();
        let body = two.exchange(request).body;
        assert_eq!(String::from_utf8_lossy(&body), format!("{name} GET /two {host}"));
    }
}

/// Paths end where a segment does; exact ones before prefixes, longer ones before shorter ones; methods and fields decide
/// among the same path.
#[test]
fn paths_methods_and_fields_choose() {
    let names = ["root", "a", "ab", "exact", "post", "field", "two"];
    let origins: Vec<Origin> = names.into_iter().map(mirror).collect();
    let groups: Vec<(&str, &Origin)> = names.into_iter().zip(&origins).collect();
    let routes = r#"
        [[route]]
        group = "root"
        [[route]]
        path = "/a"
        group = "a"
        [[route]]
        path = "/a/b/"
        group = "ab"
        [[route]]
        exact-path = "/a/x"
        group = "exact"
        [[route]]
        path = "/a"
        methods = ["POST"]
        group = "post"
        [[route]]
        path = "/a"
        headers = { x-one = "1" }
        group = "field"
        [[route]]
        path = "/a"
        headers = { x-one = "1", x-two = true }
        group = "two"
    "#;
    let proxy = Proxy::configured(&file(&groups, routes), &[]);
    let mut client = proxy.client();
    for (method, path, fields, name) in [
        ("GET", "/", "", "root"),
        ("GET", "/ab", "", "root"),
        ("GET", "/A", "", "root"),
        ("GET", "/a", "", "a"),
        ("GET", "/a?x", "", "a"),
        ("GET", "/a/", "", "a"),
        ("GET", "/a/b", "", "a"),
        ("GET", "/a/b/", "", "ab"),
        ("GET", "/a/b/c", "", "ab"),
        ("GET", "/a/x", "", "exact"),
        ("POST", "/a/x", "X-One: 1\r\n", "exact"),
        ("GET", "/a/x?q", "", "exact"),
        ("GET", "/a/x/", "", "a"),
        ("POST", "/a", "", "post"),
        ("POST", "/a", "X-One: 1\r\n", "post"),
        ("GET", "/a", "X-One: 1\r\n", "field"),
        ("GET", "/a", "x-one: 11\r\n", "a"),
        ("GET", "/a", "X-One: 0\r\nX-One: 1\r\n", "field"),
        ("GET", "/a", "X-One: 1\r\nX-Two: \r\n", "two"),
        ("OPTIONS", "*", "", "root"),
    ] {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        assert_eq!(client.exchange(&head).text(), format!("{name} {method} {path} h"), "{head}");
    }
}

/// What was decided on is what is served: dot segments, slashes and escapes are gone before a route is chosen.
#[test]
fn the_origin_sees_what_was_routed_on() {
    let (public, admin) = (mirror("public"), mirror("admin"));
    let routes = r#"
        [[route]]
        group = "public"
        [[route]]
        path = "/admin"
        group = "admin"
    "#;
    let proxy = Proxy::configured(&file(&[("public", &public), ("admin", &admin)], routes), &[]);
    for (sent, answer) in [
        ("/x/../admin", "admin /admin"),
        ("/x/%2e%2E/admin/1", "admin /admin/1"),
        ("//admin", "admin /admin"),
        ("/./admin//x?//../%zz", "admin /admin/x?//../%zz"),
        ("/%61dmin", "admin /admin"),
        ("/admin%2fx", "public /admin%2Fx"),
        ("/admin%5cx", "public /admin%5Cx"),
        ("/admin/..", "public /"),
        ("/admin/../x", "public /x"),
        ("/x?/../admin", "public /x?/../admin"),
        ("/admin%3Fx", "public /admin%3Fx"),
        ("/admin;v=1", "public /admin;v=1"),
    ] {
        let (name, target) = answer.split_once(' ').unwrap();
        let one = proxy.client().exchange(ask("h", sent)).text();
        assert_eq!(one, format!("{name} GET {target} h"), "{sent}");
        let mut two = Http2::connect(proxy.addr());
        let request = Request::get(format!("http://h{sent}")).body(());
        if let Ok(request) = request {
            let two = two.exchange(request).body;
            assert_eq!(String::from_utf8_lossy(&two), one, "{sent} in HTTP/2");
        }
    }
    for sent in ["/..", "/a/../../admin", "/%00", "/a%00b", "/%", "/%4", "/%zz", "/%2e%2e/admin"] {
        let mut client = proxy.client();
        let response = client.exchange(ask("h", sent));
        assert_eq!(response.head.status(), 400, "{sent}");
        let mut two = Http2::connect(proxy.addr());
        if let Ok(request) = Request::get(format!("http://h{sent}")).body(()) {
            assert_eq!(two.exchange(request).head.status(), 400, "{sent} in HTTP/2");
        }
    }
}

/// With `normalize-paths` off, the bytes are routed on and forwarded as they came.
#[test]
fn paths_may_stay_as_they_came() {
    let (public, admin) = (mirror("public"), mirror("admin"));
    let routes = r#"
        [[route]]
        group = "public"
        [[route]]
        path = "/admin"
        group = "admin"
        [server]
        normalize-paths = false
    "#;
    let proxy = Proxy::configured(&file(&[("public", &public), ("admin", &admin)], routes), &[]);
    let mut client = proxy.client();
    for (sent, name) in
        [("/x/../admin", "public"), ("//admin", "public"), ("/%61dmin", "public"), ("/admin/../x", "admin")]
    {
        assert_eq!(client.exchange(ask("h", sent)).text(), format!("{name} GET {sent} h"));
    }
}

/// Nobody's request: 404 that says so, the connection carries on, and a gRPC call hears it in its own words.
#[test]
fn no_route_is_404() {
    let origin = mirror("app");
    let routes = "[[route]]\nhosts = [\"a.test\"]\ngroup = \"app\"\n";
    let proxy = Proxy::configured(&file(&[("app", &origin)], routes), &[]);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.exchange(ask("b.test", "/nobody"));
        assert_eq!(response.head.status(), 404);
        assert!(response.head.value("proxy-status").unwrap().contains("error=destination_not_found"));
        assert!(!response.head.has("connection"));
    }
    client.send("HEAD / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(client.response_to("HEAD").head.status(), 404);
    assert_eq!(client.exchange(ask("a.test", "/")).text(), "app GET / a.test");
    assert_eq!(origin.heads().len(), 1);
    let line = proxy.log_for("/nobody");
    assert_eq!((line.get("status"), line.get("error")), ("404", "destination_not_found"));

    let mut two = Http2::connect(proxy.addr());
    assert_eq!(two.exchange(Request::get("http://b.test/").body(()).unwrap()).head.status(), 404);
    let call = Request::post("http://b.test/pkg.Service/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let told = two.exchange(call.body(()).unwrap()).head;
    assert_eq!(told.status(), 200);
    assert_eq!(told.headers()["grpc-status"], "12", "UNIMPLEMENTED, as a 404 is in gRPC");
    let fine = two.exchange(Request::get("http://a.test/").body(()).unwrap());
    assert_eq!(fine.body, b"app GET / a.test");
}

/// A 404 to a request whose body still comes: the answer arrives, and the body is no next request.
#[test]
fn an_unread_body_is_no_request() {
    let routes = r#"
        [[route]]
        path = "/fixed"
        respond = { status = 403, body = "no\n" }
    "#;
    let proxy = Proxy::configured(routes, &[]);
    for path in ["/fixed", "/nobody"] {
        let mut client = proxy.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n"));
        let response = client.response();
        assert!(matches!(response.head.status(), 403 | 404));
        assert_eq!(response.head.value("connection"), Some("close"));
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n-----");
        client.assert_closed();
        let mut whole = proxy.client();
        let response = whole.exchange(post(path, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(matches!(response.head.status(), 403 | 404));
        assert_eq!(proxy.log_lines().iter().filter(|line| line.get("path") == "/smuggled").count(), 0);
    }
}

/// Fixed responses: HEAD has the length and no body, 204 has neither, and the connection carries on.
#[test]
fn fixed_responses() {
    let routes = r#"
        [[route]]
        path = "/text"
        respond = { status = 418, body = "short\n" }
        response-headers = { set = { x-mine = "1", cache-control = "max-age=1" } }
        [[route]]
        path = "/json"
        respond = { body = "{}", content-type = "application/json" }
        [[route]]
        path = "/empty"
        respond = { status = 204 }
    "#;
    let proxy = Proxy::configured(routes, &[]);
    let mut client = proxy.client();
    let text = client.exchange(get("/text"));
    assert_eq!((text.head.status(), text.text().as_str()), (418, "short\n"));
    assert_eq!(text.head.values("content-type"), ["text/plain; charset=utf-8"]);
    assert_eq!((text.head.value("x-mine"), text.head.value("cache-control")), (Some("1"), Some("max-age=1")));
    assert!(text.head.has("date") && !text.head.has("proxy-status"));
    let head = client.exchange("HEAD /text HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((head.head.content_length(), head.text().as_str()), (Some(6), ""));
    let json = client.exchange(get("/json"));
    assert_eq!((json.head.status(), json.text().as_str()), (200, "{}"));
    assert_eq!(json.head.values("content-type"), ["application/json"]);
    let empty = client.exchange(get("/empty"));
    assert_eq!(empty.head.status(), 204);
    assert!(!empty.head.has("content-length") && !empty.head.has("transfer-encoding"));
    client.send(format!("{}{}", get("/empty"), get("/json")));
    assert_eq!(client.response().head.status(), 204);
    assert_eq!(client.response().text(), "{}", "pipelined behind it");
    assert_eq!(proxy.log_for("/empty").get("status"), "204");
    let mut two = Http2::connect(proxy.addr());
    let text = two.exchange(get2("/text"));
    assert_eq!((text.head.status().as_u16(), text.body.as_slice()), (418, b"short\n".as_slice()));
    assert_eq!(two.exchange(get2("/empty")).head.status(), 204);
    let head = two.exchange(Request::head("http://wire.test/text").body(()).unwrap());
    assert!(head.body.is_empty());
}

/// Where redirects lead.
#[test]
fn redirects() {
    let routes = r#"
        [[route]]
        path = "/tls"
        redirect = { scheme = "https" }
        [[route]]
        path = "/host"
        redirect = { host = "new.test", status = 301 }
        [[route]]
        path = "/old"
        redirect = { replace-prefix = "/new", status = 302 }
        response-headers = { set = { x-mine = "1" } }
        [[route]]
        path = "/strip"
        redirect = { strip-prefix = true, status = 307 }
        [[route]]
        exact-path = "/fixed"
        redirect = { to = "https://else.test/x?y", status = 303 }
    "#;
    let proxy = Proxy::configured(routes, &[]);
    let mut client = proxy.client();
    let mut two = Http2::connect(proxy.addr());
    for (path, status, location) in [
        ("/tls/a?b", 308, "https://h.test/tls/a?b"),
        ("/host/a?b", 301, "http://new.test/host/a?b"),
        ("/old", 302, "/new"),
        ("/old/a//b?c=//d", 302, "/new/a/b?c=//d"),
        ("/strip//evil.test/", 307, "/evil.test/"),
        ("/strip/%5cevil.test", 307, "/%5Cevil.test"),
        ("/strip/\\evil.test", 307, "/%5Cevil.test"),
        ("/strip", 307, "/"),
        ("/fixed?q", 303, "https://else.test/x?y"),
    ] {
        let response = client.exchange(ask("h.test:8080", path));
        assert_eq!(response.head.status(), status, "{path}");
        let told = response.head.value("location").unwrap();
        let told = told.replace("http://h.test:8080", "");
        assert_eq!(told, location, "{path}");
        assert_eq!(response.head.content_length(), Some(0));
        assert_eq!(response.head.has("x-mine"), path.starts_with("/old"));
        if let Ok(request) = Request::get(format!("http://h.test:8080{path}")).body(()) {
            let response = two.exchange(request);
            assert_eq!(response.head.status(), status, "{path}");
            assert_eq!(response.head.headers()["location"], location, "{path}");
        }
    }
    client.send("HEAD /old HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response_to("HEAD").head.value("location"), Some("/new"));
    let hostless = proxy.client().exchange("GET /tls HTTP/1.0\r\n\r\n");
    assert_eq!(hostless.head.status(), 400);
}

/// Prefixes are taken away and replaced; the query stays.
#[test]
fn prefixes_are_rewritten() {
    let origin = mirror("app");
    let routes = r#"
        [[route]]
        path = "/strip"
        strip-prefix = true
        group = "app"
        [[route]]
        path = "/foo"
        replace-prefix = "/xyz/"
        group = "app"
        [[route]]
        exact-path = "/exact"
        replace-prefix = "/other"
        group = "app"
    "#;
    let proxy = Proxy::configured(&file(&[("app", &origin)], routes), &[]);
    let mut client = proxy.client();
    let mut two = Http2::connect(proxy.addr());
    for (path, forwarded) in [
        ("/strip/a?b", "/a?b"),
        ("/strip", "/"),
        ("/strip?q", "/?q"),
        ("/strip//a", "/a"),
        ("/strip/..//strip/%2e%2fa", "/.%2Fa"),
        ("/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/"),
        ("/foo/", "/xyz/"),
        ("/exact?q", "/other?q"),
    ] {
        assert_eq!(client.exchange(ask("h", path)).text(), format!("app GET {forwarded} h"), "{path}");
        let request = Request::get(format!("http://h{path}")).body(()).unwrap();
        let body = two.exchange(request).body;
        assert_eq!(String::from_utf8_lossy(&body), format!("app GET {forwarded} h"), "{path}");
    }
}

/// Fields of requests: removed, set once, added; Host too, and `Connection` cannot name away what was set.
#[test]
fn request_fields_are_edited() {
    let origin = Origin::serve(|_| ok("fine"));
    let routes = r#"
        [[route]]
        group = "app"
        request-headers.remove = ["x-secret"]
        request-headers.set = { x-set = "ours", host = "inner.test" }
        request-headers.add = { x-add = ["1", "2"] }
    "#;
    let proxy = Proxy::configured(&file(&[("app", &origin)], routes), &[]);
    let mut client = proxy.client();
    client.exchange(
        "GET /e HTTP/1.1\r\nHost: outer.test\r\nX-Secret: s\r\nx-set: a\r\nX-SET: b\r\nX-Add: 0\r\n\
         Connection: x-set, x-add\r\n\r\n",
    );
    let mut two = Http2::connect(proxy.addr());
    two.exchange(
        Request::get("http://outer.test/e").header("x-secret", "s").header("x-add", "0").body(()).unwrap(),
    );
    let heads = origin.heads_for("/e");
    assert_eq!(heads.len(), 2);
    for head in &heads {
        assert!(!head.has("x-secret"));
        assert_eq!(head.values("x-set"), ["ours"]);
        assert_eq!(head.values("host"), ["inner.test"]);
        assert_eq!(head.value("x-forwarded-host"), Some("outer.test"));
    }
    assert_eq!(heads[0].values("x-add"), ["1", "2"], "the client's was named in Connection");
    assert_eq!(heads[1].values("x-add"), ["0", "1", "2"]);
}

/// Fields of responses: those of origins, interim ones, and our own failures, whose own fields stay.
#[test]
fn response_fields_are_edited() {
    let origin = Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            if request.head.target() == "/cut" {
                return;
            }
            conn.send("HTTP/1.1 103 Early Hints\r\nServer: o\r\nX-Set: early\r\nLink: </a>\r\n\r\n");
            conn.send("HTTP/1.1 200 OK\r\nServer: o\r\nX-Set: a\r\nX-Set: b\r\nX-Add: 0\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let routes = r#"
        [[route]]
        group = "app"
        retry = { max = 0 }
        response-headers.remove = ["server"]
        response-headers.set = { x-set = "ours", cache-control = "max-age=9", content-type = "x/y" }
        response-headers.add = { x-add = "1" }
    "#;
    let proxy = Proxy::configured(&file(&[("app", &origin)], routes), &[]);
    let mut client = proxy.client();
    client.send(get("/"));
    let early = client.head();
    assert_eq!((early.status(), early.value("link")), (103, Some("</a>")));
    assert!(!early.has("server") && !early.has("x-set") && !early.has("x-add"));
    let fine = client.response().head;
    assert!(!fine.has("server"));
    assert_eq!((fine.values("x-set"), fine.values("x-add")), (vec!["ours"], vec!["0", "1"]));
    assert_eq!(fine.values("cache-control"), ["max-age=9"]);
    let failed = proxy.client().exchange(get("/cut")).head;
    assert_eq!(failed.status(), 502);
    assert_eq!(failed.values("cache-control"), ["no-store"]);
    assert_eq!(failed.values("content-type"), ["text/plain; charset=utf-8"]);
    assert_eq!((failed.values("x-set"), failed.values("x-add")), (vec!["ours"], vec!["1"]));
    let mut two = Http2::connect(proxy.addr());
    let failed = two.exchange(get2("/cut")).head;
    assert_eq!(
        (failed.status().as_u16(), failed.headers()["cache-control"].as_bytes()),
        (502, b"no-store".as_slice())
    );
    assert_eq!(failed.headers()["x-set"], "ours");
}

/// Requests of one connection go to their own routes and groups, pipelined ones too.
#[test]
fn pipelined_requests_part_ways() {
    let (a, b) = (mirror("a"), mirror("b"));
    let routes = "[[route]]\npath = \"/a\"\ngroup = \"a\"\n[[route]]\npath = \"/b\"\ngroup = \"b\"\n";
    let proxy = Proxy::configured(&file(&[("a", &a), ("b", &b)], routes), &[]);
    let mut client = proxy.client();
    client.send(format!("{}{}{}{}", get("/a/1"), get("/b/2"), get("/c/3"), get("/a/4")));
    assert_eq!(client.response().text(), "a GET /a/1 wire.test");
    assert_eq!(client.response().text(), "b GET /b/2 wire.test");
    assert_eq!(client.response().head.status(), 404);
    assert_eq!(client.response().text(), "a GET /a/4 wire.test");
}

/// An origin of HTTP/2 sees what was routed on and edited, too.
#[test]
fn http2_origins_see_the_same() {
    let origin = Http2Origin::start();
    let upstream = origin.upstream();
    let serving = origin.serve(|head, _| {
        let seen = format!("{} {} {:?}", head.method(), head.uri(), head.headers().get("x-set"));
        (http::Response::new(()), seen.into_bytes())
    });
    let routes = format!(
        "[groups.app]\nupstreams = [\"{upstream}\"]\n[[route]]\npath = \"/p\"\nstrip-prefix = true\ngroup = \"app\"\n\
         request-headers.set = {{ x-set = \"ours\", host = \"inner.test\" }}\n"
    );
    let proxy = Proxy::configured(&routes, &[]);
    let text = proxy.client().exchange(ask("outer", "/x/../p//%61?q")).text();
    assert_eq!(text, "GET http://inner.test/a?q Some(\"ours\")");
    drop(serving);
}
