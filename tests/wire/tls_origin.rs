//! Goal: origins are spoken to with TLS, checked by name, resumed, and cut responses are seen as cut. Method:
//! rustls origins with good, foreign and wrong certificates.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::*;

/// An origin with TLS for `localhost`, and the flags that reach and trust it.
struct Secure {
    origin: Origin,
    ca: String,
    folder: Folder,
    authority: Authority,
}

fn secure(script: impl Fn(Conn) + Send + Sync + 'static) -> Secure {
    secure_for(&["localhost", "127.0.0.1"], script)
}

fn secure_for(names: &[&str], script: impl Fn(Conn) + Send + Sync + 'static) -> Secure {
    let (authority, folder) = (Authority::new(), Folder::new());
    let origin = Origin::start_tls(authority.serving(&authority.server(names), None), script);
    let ca = folder.write("ca.pem", &authority.pem);
    Secure { origin, ca, folder, authority }
}

impl Secure {
    fn proxy(&self, host: &str, flags: &[&str]) -> Proxy {
        let upstream = format!("https://{host}:{}", self.origin.addr.port());
        Proxy::to(&[&upstream], &[["--upstream-ca", &self.ca].as_slice(), flags].concat())
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(size).collect()
}

/// By name and by address; the connection is pooled, tickets or not.
#[test]
fn origins_are_reached_and_connections_reused() {
    for host in ["localhost", "127.0.0.1"] {
        let secure = secure(answering(|request| ok(request.head.target())));
        let mut proxy = secure.proxy(host, &[]);
        let mut client = proxy.client();
        for n in 0..5 {
            assert_eq!(client.exchange(get(&format!("/{n}"))).text(), format!("/{n}"));
        }
        assert_eq!(secure.origin.accepted(), 1, "{host}");
        assert!(proxy.log_for("/0").get("upstream").starts_with("https://"));
        proxy.assert_healthy();
    }
}

/// Bodies of megabytes in both directions.
#[test]
fn huge_bodies_pass_unharmed() {
    let secure = secure(|mut conn| {
        while let Some(request) = conn.request() {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.bytes.len()));
            conn.send(&request.body.bytes);
        }
    });
    let proxy = secure.proxy("localhost", &[]);
    let mut client = proxy.client();
    for size in [0, 1, 300_000, 5_000_000] {
        client.send(format!("POST / HTTP/1.1\r\nHost: wire.test\r\nContent-Length: {size}\r\n\r\n"));
        client.send(content(size));
        let body = client.response().body;
        assert!(body.complete && body.bytes == content(size), "{size}");
    }
}

/// A certificate for another name, from another authority, or none at all: 502 with the word of RFC 9209.
#[test]
fn origins_that_are_not_who_they_should_be_are_refused() {
    let other = secure_for(&["other.test"], answering(|_| ok("fine")));
    let mut proxy = other.proxy("localhost", &[]);
    let head = proxy.get("/").head;
    assert_eq!(head.status(), 502);
    assert!(head.value("proxy-status").unwrap().contains("error=tls_certificate_error"), "{head:?}");
    assert!(other.origin.heads().is_empty());
    proxy.assert_healthy();

    let stranger = Folder::new();
    let ca = stranger.write("ca.pem", &Authority::new().pem);
    let foreign = secure(answering(|_| ok("fine")));
    let upstream = format!("https://localhost:{}", foreign.origin.addr.port());
    let head = Proxy::to(&[&upstream], &["--upstream-ca", &ca]).get("/").head;
    assert!(head.value("proxy-status").unwrap().contains("error=tls_certificate_error"), "{head:?}");

    let plain = Origin::start(|mut conn| {
        let _ = conn.try_send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        conn.close();
    });
    let upstream = format!("https://localhost:{}", plain.addr.port());
    let head = Proxy::to(&[&upstream], &["--upstream-ca", &ca]).get("/").head;
    assert_eq!(head.status(), 502);
    assert!(head.value("proxy-status").unwrap().contains("error=tls_protocol_error"), "{head:?}");
}

/// `https+insecure://` takes any certificate, and says at the start what that means.
#[test]
fn insecure_is_said_and_done() {
    let other = secure_for(&["other.test"], answering(|_| ok("fine")));
    let port = other.origin.addr.port();
    let proxy = Proxy::to(&[&format!("https+insecure://localhost:{port}")], &[]);
    eventually("the warning", || proxy.stderr().contains("not checked").then_some(()));
    assert_eq!(proxy.get("/").text(), "fine");
    let (insecure, checked) =
        (format!("https+insecure://localhost:{port}"), format!("https://127.0.0.1:{port}"));
    let both = Proxy::to(&[&insecure, &checked], &["--upstream-ca", &other.ca]);
    eventually("the failure", || {
        assert_eq!(both.get("/").text(), "fine", "whose turn it is not refuses it, and hands over");
        both.stderr().contains("cannot connect").then_some(())
    });
}

/// HTTP/2 is spoken where ALPN has agreed on it, and nowhere else (RFC 9113 §3.2).
#[test]
fn an_origin_that_does_not_agree_on_http2_is_not_spoken_to() {
    let origin = secure(|mut conn| {
        assert_eq!(conn.until_end().0, b"", "something was said");
    });
    let upstream = format!("h2://localhost:{}", origin.origin.addr.port());
    let head = Proxy::to(&[&upstream], &["--upstream-ca", &origin.ca]).get("/").head;
    assert_eq!(head.status(), 502);
    assert!(head.value("proxy-status").unwrap().contains("not-http2"), "{head:?}");
}

/// `--connect-timeout` covers the handshake.
#[test]
fn an_origin_that_never_shakes_hands_is_given_up() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let ca = folder.write("ca.pem", &authority.pem);
    let origin = Origin::start(|mut conn| {
        conn.stirs_within(PATIENCE);
        let _ = conn.until_end();
    });
    let upstream = format!("https://localhost:{}", origin.addr.port());
    let flags = ["--upstream-ca", &ca, "--connect-timeout", "500ms"];
    let proxy = Proxy::to(&[&upstream], &flags);
    let began = Instant::now();
    let head = proxy.get("/").head;
    assert_took(began, Duration::from_millis(500));
    assert_eq!(head.status(), 504);
    assert!(head.value("proxy-status").unwrap().contains("error=connection_timeout"), "{head:?}");
}

/// New connections resume the session of earlier ones.
#[test]
fn sessions_are_resumed() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let ca = folder.write("ca.pem", &authority.pem);
    let mut config = (*authority.serving(&authority.server(&["localhost"]), None)).clone();
    let resumed = Arc::new(Counting::default());
    config.session_storage = resumed.clone();
    let origin = Origin::start_tls(Arc::new(config), |mut conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine");
        conn.close();
    });
    let upstream = format!("https://localhost:{}", origin.addr.port());
    let proxy = Proxy::to(&[&upstream], &["--upstream-ca", &ca]);
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    assert_eq!(resumed.taken.load(Ordering::SeqCst), 3);
}

/// Counts sessions taken up again.
#[derive(Debug, Default)]
struct Counting {
    sessions: Mutex<std::collections::HashMap<Vec<u8>, Vec<u8>>>,
    taken: AtomicUsize,
}

impl rustls::server::StoresServerSessions for Counting {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.sessions.lock().unwrap().insert(key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.lock().unwrap().get(key).cloned()
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let taken = self.sessions.lock().unwrap().remove(key);
        self.taken.fetch_add(usize::from(taken.is_some()), Ordering::SeqCst);
        taken
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// We show a certificate to an origin that asks for one.
#[test]
fn our_certificate_is_shown() {
    let (authority, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
    let ca = folder.write("ca.pem", &authority.pem);
    let (cert, key) = clients.client("ringress").write(&folder, "us");
    let config = authority.serving(&authority.server(&["localhost"]), Some(&clients));
    let origin = Origin::start_tls(config, answering(|_| ok("fine")));
    let upstream = format!("https://localhost:{}", origin.addr.port());
    let flags = ["--upstream-ca", &ca, "--upstream-cert", &cert, "--upstream-key", &key];
    assert_eq!(Proxy::to(&[&upstream], &flags).get("/").text(), "fine");
    let head = Proxy::to(&[&upstream], &["--upstream-ca", &ca]).get("/").head;
    assert_eq!(head.status(), 502, "without one");
}

/// A body that runs to the end of the connection is complete only with close_notify.
#[test]
fn an_end_without_a_word_is_a_cut() {
    let secure = secure(|mut conn| {
        let Some(head) = conn.request_head() else { return };
        conn.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        match head.target() {
            "/cut" => conn.cut_now(),
            _ => conn.close(),
        }
    });
    let proxy = secure.proxy("localhost", &[]);
    let whole = proxy.get("/whole").body;
    assert_eq!((whole.bytes.as_slice(), whole.complete), (b"half".as_slice(), true));
    let cut = proxy.get("/cut").body;
    assert!(!cut.complete, "a truncation passed for the end");
    assert_eq!(proxy.log_for("/cut").get("error"), "http_response_incomplete");
}

/// Events come through one by one, TLS on both sides, and a tunnel passes.
#[test]
fn streams_pass_with_tls_on_both_sides() {
    let gate = Gate::new();
    let opener = gate.clone();
    let secure = secure(move |mut conn| {
        let Some(head) = conn.request_head() else { return };
        if head.target() == "/tunnel" {
            conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            let (all, end) = conn.until_end();
            assert_eq!(end, End::Fin);
            conn.send(all);
            return conn.close();
        }
        conn.send(CHUNKED);
        for n in 0..5 {
            conn.send(chunk(&n.to_string()));
            gate.pass();
        }
        conn.send("0\r\n\r\n");
    });
    let (cert, key) = secure.authority.server(&["wire.test"]).write(&secure.folder, "wire");
    let proxy = secure.proxy("localhost", &["--tls-listen", "127.0.0.1:0", "--cert", &cert, "--key", &key]);
    let trusting = secure.authority.trusting();
    let mut client = Peer::connect_tls(proxy.addrs[1], &trusting, "wire.test");
    client.send(get("/events"));
    assert_eq!(client.head().status(), 200);
    for n in 0..5 {
        assert_eq!(client.chunk(), Chunk::Data(n.to_string().into_bytes()));
        opener.open();
    }
    assert_eq!(client.chunk(), Chunk::Last(Vec::new()));
    let mut client = Peer::connect_tls(proxy.addrs[1], &trusting, "wire.test");
    client.send("GET /tunnel HTTP/1.1\r\nHost: wire.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    client.send(content(200_000));
    client.half_close();
    assert_eq!(client.until_end(), (content(200_000), End::Fin));
}

/// Connections that were made under another `[upstream-tls]` serve nobody once it has changed; else they are kept.
#[test]
fn a_changed_authority_asks_for_new_connections() {
    let secure = secure(answering(|_| ok("fine")));
    let file = |ca: &str| {
        format!(
            "[upstream-tls]\nca = {ca:?}\n[groups.app]\nupstreams = [\"https://localhost:{}\"]\n[[route]]\ngroup = \"app\"\n",
            secure.origin.addr.port()
        )
    };
    let proxy = Proxy::configured(&file(&secure.ca), &[]);
    let mut client = proxy.client();
    assert_eq!(client.exchange(get("/")).text(), "fine");
    proxy.reload(&(file(&secure.ca) + "name = \"another\"\n"));
    assert_eq!(client.exchange(get("/")).text(), "fine");
    assert_eq!(secure.origin.accepted(), 1);
    proxy.reload(&file(&secure.folder.write("again.pem", &secure.authority.pem)));
    assert_eq!(client.exchange(get("/")).text(), "fine");
    assert_eq!(secure.origin.accepted(), 2);
    proxy.reload(&file(&secure.folder.write("stranger.pem", &Authority::new().pem)));
    assert_eq!(client.exchange(get("/")).head.status(), 502);
}
