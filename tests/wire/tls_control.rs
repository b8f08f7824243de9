//! Goal: the right certificate for each name, clients known by theirs, files reloaded under running streams,
//! redirects. Method: several certificates and authorities, files rewritten while a stream is open.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::*;
use crate::tls::Tls;

fn request(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A name's own certificate, a wildcard's, and the first for everything else.
#[test]
fn certificates_are_chosen_by_name() {
    let origin = Origin::serve(|_| ok("fine"));
    let (authority, folder) = (Authority::new(), Folder::new());
    let all = [
        authority.server(&["first.test"]),
        authority.server(&["*.wild.test"]),
        authority.server(&["a.wild.test"]),
    ];
    let mut flags = vec!["--tls-listen".to_owned(), "127.0.0.1:0".to_owned()];
    for (number, identity) in all.iter().enumerate() {
        let (cert, key) = identity.write(&folder, &number.to_string());
        flags.extend(["--cert".to_owned(), cert, "--key".to_owned(), key]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let proxy = Proxy::with(&origin, &flags);
    let trusting = authority.trusting();
    for (name, index) in [("first.test", 0), ("b.wild.test", 1), ("a.wild.test", 2), ("A.Wild.Test", 2)] {
        let mut client = Peer::connect_tls(proxy.addrs[1], &trusting, name);
        assert_eq!(client.handshake().certificate, all[index].der(), "{name}");
        assert_eq!(client.exchange(request(name)).text(), "fine");
    }
    // Unknown names, and none, get the first: which is not for them, as clients will say.
    let error = Peer::try_connect_tls(proxy.addrs[1], &trusting, "other.test").err().unwrap();
    assert!(error.to_string().contains("first.test"), "{error}");
    let error = Peer::try_connect_tls(proxy.addrs[1], &trusting, "127.0.0.1").err().unwrap();
    assert!(error.to_string().contains("first.test"), "{error}");
}

/// A request for a name that the connection's certificate is not for gets 421; one that it covers does not.
#[test]
fn requests_for_other_names_are_misdirected() {
    let origin = Origin::serve(|_| ok("fine"));
    let (authority, folder) = (Authority::new(), Folder::new());
    let (cert, key) = authority.server(&["a.test", "b.test", "127.0.0.1"]).write(&folder, "a");
    let (cert2, key2) = authority.server(&["c.test"]).write(&folder, "c");
    let flags =
        ["--tls-listen", "127.0.0.1:0", "--cert", &cert, "--key", &key, "--cert", &cert2, "--key", &key2];
    let proxy = Proxy::with(&origin, &flags);
    let ask = |name: &str, host: &str| {
        Peer::connect_tls(proxy.addrs[1], &authority.trusting(), name).exchange(request(host)).head
    };
    for host in ["a.test", "b.test", "a.test:8443", "B.TEST"] {
        assert_eq!(ask("a.test", host).status(), 200, "{host}");
    }
    for host in ["c.test", "other.test", "sub.a.test"] {
        let head = ask("a.test", host);
        assert_eq!(head.status(), 421, "{host}");
        assert!(head.value("proxy-status").unwrap().contains("http_request_error"));
    }
    assert_eq!(ask("127.0.0.1", "other.test").status(), 200, "no name was asked for");
    assert_eq!(proxy.client().exchange(request("other.test")).head.status(), 200, "no TLS, no names");
}

/// Required and optional client certificates; the origin learns the subject, and never from the client.
#[test]
fn clients_are_known_by_their_certificates() {
    let origin = Origin::serve(|request| {
        let told: Vec<String> = request
            .head
            .fields
            .iter()
            .filter(|(name, _)| name.to_ascii_lowercase().replace('_', "-").starts_with("x-client-cert"))
            .map(|(_, value)| value.clone())
            .collect();
        ok(&told.join("|"))
    });
    let (clients, strangers, folder) = (Authority::new(), Authority::new(), Folder::new());
    let ca = folder.write("clients.pem", &clients.pem);
    let alice = clients.client("alice");
    let forged = "GET / HTTP/1.1\r\nHost: wire.test\r\nX-Client-Cert-Subject: CN=root\r\n\
                  X_Client_Cert_Subject: CN=root\r\nX-Client-Cert-Verified: true\r\n\r\n";
    for auth in ["required", "optional"] {
        let flags = ["--client-ca", &ca, "--client-auth", auth, "--allow-underscores"];
        let tls = Tls::with(&origin, &flags);
        let known = tls.authority.trusting_with(rustls::ALL_VERSIONS, Some(&alice));
        for _ in 0..2 {
            // The second time resumed: the ticket knows who it is.
            let mut client = Peer::connect_tls(tls.proxy.addrs[1], &known, "wire.test");
            assert_eq!(client.exchange(forged).text(), "CN=alice");
        }
        let stranger = tls.authority.trusting_with(rustls::ALL_VERSIONS, Some(&strangers.client("alice")));
        assert!(refused(&tls, &stranger), "a stranger's certificate was accepted ({auth})");
        let nobody = tls.authority.trusting();
        match auth {
            "required" => assert!(refused(&tls, &nobody), "nobody was let in"),
            _ => {
                let mut client = Peer::connect_tls(tls.proxy.addrs[1], &nobody, "wire.test");
                assert_eq!(client.exchange(forged).text(), "");
            }
        }
        assert_eq!(tls.proxy.client().exchange(forged).text(), "", "forged in the clear");
    }
}

/// With TLS 1.3 a client learns of its refusal with its first read.
fn refused(tls: &Tls, config: &std::sync::Arc<rustls::ClientConfig>) -> bool {
    let Ok(mut client) = Peer::try_connect_tls(tls.proxy.addrs[1], config, "wire.test") else { return true };
    let _ = client.try_send(get("/"));
    client.try_head().is_none()
}

/// A client that is refused reads why, also when its request was on its way: a close would reset the connection and
/// destroy the alert.
#[test]
fn a_refusal_is_read() {
    let origin = Origin::serve(|_| ok("fine"));
    let (clients, folder) = (Authority::new(), Folder::new());
    let ca = folder.write("clients.pem", &clients.pem);
    let tls = Tls::with(&origin, &["--client-ca", &ca]);
    for round in 0..20 {
        let name = "wire.test".try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(tls.authority.trusting(), name).unwrap();
        let mut tcp = TcpStream::connect(tls.proxy.addrs[1]).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
        let _ = stream.write_all(&vec![b'x'; 300_000]);
        let error = stream.read(&mut [0; 1]).unwrap_err().to_string();
        assert!(error.contains("CertificateRequired"), "round {round}: {error}");
    }
}

/// New files are used for new connections, by SIGHUP at once and by themselves soon; a stream that runs keeps
/// running; a file that is of no use is reported, and what was in use stays in use.
#[test]
fn certificates_are_reloaded_under_running_streams() {
    let gate = Gate::new();
    let opener = gate.clone();
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            if head.target() == "/stream" {
                conn.send(CHUNKED);
                conn.send(chunk("before"));
                gate.pass();
                conn.send(chunk("after") + "0\r\n\r\n");
            } else {
                conn.send(ok("fine"));
            }
        }
    });
    let tls = Tls::of(&origin);
    let trusting = tls.authority.trusting();
    let shown = || Peer::connect_tls(tls.proxy.addrs[1], &trusting, "wire.test").handshake().certificate;
    let mut stream = tls.client();
    stream.send(get("/stream"));
    assert_eq!(stream.head().status(), 200);
    assert_eq!(stream.chunk(), Chunk::Data(b"before".to_vec()));

    let first = shown();
    let second = tls.authority.server(&["wire.test"]);
    second.write(&tls.folder, "wire");
    tls.proxy.signal(Signal::HUP);
    eventually("the new certificate is shown", || (shown() == second.der()).then_some(()));
    assert_ne!(first, second.der());

    tls.folder.write("wire.pem", "garbage");
    tls.proxy.signal(Signal::HUP);
    eventually("it says so", || tls.proxy.stderr().contains("those in use stay in use").then_some(()));
    assert!(tls.proxy.stderr().contains("wire.pem"));
    assert_eq!(shown(), second.der());

    let third = tls.authority.server(&["wire.test"]);
    third.write(&tls.folder, "wire");
    eventually("a changed file is noticed", || (shown() == third.der()).then_some(()));

    opener.open();
    assert_eq!(stream.chunk(), Chunk::Data(b"after".to_vec()));
    assert_eq!(stream.chunk(), Chunk::Last(Vec::new()));
    assert_eq!(stream.exchange(get("/")).text(), "fine", "the old connection lives on");
}

/// A certificate may come after the file that names it: that was refused, and is loaded when the certificate is there.
#[test]
fn certificates_may_come_late() {
    let origin = Origin::serve(|_| ok("fine"));
    let (authority, folder) = (Authority::new(), Folder::new());
    let file = |name: &str| {
        let (cert, key) = (folder.path(&format!("{name}.pem")), folder.path(&format!("{name}.key")));
        format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n[[tls.certificate]]\ncert = {cert:?}\nkey = {key:?}\n\
             [groups.app]\nupstreams = [\"{}\"]\n[[route]]\ngroup = \"app\"\n",
            origin.addr
        )
    };
    authority.server(&["wire.test"]).write(&folder, "first");
    let proxy = Proxy::configured(&file("first"), &[]);
    proxy.rewrite(&file("second"));
    proxy.signal(Signal::HUP);
    eventually("it is refused", || {
        proxy.stderr().contains("cannot load the certificates again").then_some(())
    });
    let second = authority.server(&["wire.test"]);
    second.write(&folder, "second");
    let trusting = authority.trusting();
    eventually("the second certificate is shown", || {
        let shown = Peer::connect_tls(proxy.addr(), &trusting, "wire.test").handshake().certificate;
        (shown == second.der()).then_some(())
    });
}

/// Sessions outlive a reload.
#[test]
fn a_reload_loses_no_session() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = Tls::of(&origin);
    let config = tls.authority.trusting();
    assert_eq!(Peer::connect_tls(tls.proxy.addrs[1], &config, "wire.test").exchange(get("/")).text(), "fine");
    tls.proxy.signal(Signal::HUP);
    eventually("reloaded", || tls.proxy.stderr().contains("certificates loaded again").then_some(()));
    assert!(Peer::connect_tls(tls.proxy.addrs[1], &config, "wire.test").handshake().resumed);
}

/// A session that was made before clients had to have certificates lets nobody in without one.
#[test]
fn certificates_asked_for_by_a_reload_are_asked_of_everybody() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (cert, key) = authority.server(&["wire.test"]).write(&folder, "server");
    let ca = folder.write("clients.pem", &authority.pem);
    let flags = ["--tls-listen", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let route = "[[route]]\nrespond = { status = 200, body = \"fine\" }\n";
    let proxy = Proxy::configured(route, &flags);
    let config = authority.trusting();
    let ask = |config| Peer::try_connect_tls(proxy.addrs[1], config, "wire.test");
    let mut first = ask(&config).unwrap();
    assert_eq!(first.exchange(get("/")).text(), "fine");
    assert!(ask(&config).unwrap().handshake().resumed, "there is a session to resume");
    proxy.reload(&format!("{route}[tls]\nclient-ca = {ca:?}\nclient-auth = \"required\"\n"));
    let let_in = ask(&config).is_ok_and(|mut client| {
        let _ = client.try_send(get("/"));
        client.try_head().is_some()
    });
    assert!(!let_in, "somebody was let in without a certificate");
}

/// Every method and target is redirected to the listener with TLS; hosts that no certificate is for are not.
#[test]
fn clients_in_the_clear_are_redirected() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut tls = Tls::with(&origin, &["--http-redirect", "127.0.0.1:0"]);
    let port = tls.proxy.addrs[1].port();
    let mut client = Peer::connect(tls.proxy.addrs[2]);
    for (line, target) in [
        ("GET /a?b=c HTTP/1.1", "/a?b=c"),
        ("HEAD / HTTP/1.1", "/"),
        ("GET //evil.test/ HTTP/1.1", "//evil.test/"),
        ("GET http://wire.test/abs HTTP/1.1", "/abs"),
        ("OPTIONS * HTTP/1.1", "/"),
    ] {
        let response = client.exchange(format!("{line}\r\nHost: wire.test\r\n\r\n"));
        assert_eq!(response.head.status(), 308, "{line}");
        let location = format!("https://wire.test:{port}{target}");
        assert_eq!(response.head.value("location"), Some(location.as_str()), "{line}");
        assert!(response.body.bytes.is_empty() && response.head.content_length() == Some(0));
    }
    // A body is not read, and therefore the connection not used again.
    let mut poster = Peer::connect(tls.proxy.addrs[2]);
    let response = poster.exchange("POST / HTTP/1.1\r\nHost: wire.test:80\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((response.head.status(), response.head.lists("connection", "close")), (308, true));
    for host in ["evil.test", "wire.test.evil.test"] {
        let head = Peer::connect(tls.proxy.addrs[2]).exchange(request(host)).head;
        assert_eq!((head.status(), head.has("location")), (421, false), "{host}");
    }
    assert!(origin.heads().is_empty());
    tls.proxy.assert_healthy();
}

/// What is wrong with the files is said at the start.
#[test]
fn a_start_with_bad_files_says_what_is_wrong() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let (cert, key) = authority.server(&["a.test"]).write(&folder, "a");
    let (_, other) = authority.server(&["a.test"]).write(&folder, "b");
    let start = |more: &[&str]| {
        let base = ["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1"];
        let output = run_to_exit(&[base.as_slice(), more].concat());
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let tls = ["--tls-listen", "127.0.0.1:0"];
    let error = start(&[tls.as_slice(), &["--cert", &cert, "--key", &other]].concat());
    assert!(error.contains("does not belong") && error.contains("b.key"), "{error}");
    let error = start(&[tls.as_slice(), &["--cert", "/nowhere.pem", "--key", &key]].concat());
    assert!(error.contains("/nowhere.pem") && error.contains("must exist"), "{error}");
    let error = start(&["--upstream", "https://a.test", "--upstream-ca", &key]);
    assert!(error.contains("no certificate in") && error.contains("a.key"), "{error}");
}

/// A drain closes idle TLS connections with a word, and lets a stream end.
#[test]
fn a_drain_says_goodbye() {
    let gate = Gate::new();
    let opener = gate.clone();
    let origin = Origin::start(move |mut conn| {
        let Some(_) = conn.request_head() else { return };
        conn.send(CHUNKED);
        conn.send(chunk("one"));
        gate.pass();
        conn.send(chunk("two") + "0\r\n\r\n");
    });
    let mut tls = Tls::of(&origin);
    let mut stream = tls.client();
    stream.send(get("/stream"));
    assert_eq!(stream.head().status(), 200);
    let mut idle = tls.client();
    tls.proxy.terminate();
    assert_eq!(idle.until_end(), (Vec::new(), End::Fin));
    thread::sleep(Duration::from_millis(50));
    opener.open();
    assert!(stream.chunked().complete);
    assert_eq!(stream.until_end(), (Vec::new(), End::Fin));
    assert_eq!(tls.proxy.wait().code(), Some(0));
}
