//! Goal: TLS towards clients changes nothing about HTTP. Method: rustls clients, honest and not, against
//! `--tls-listen`; bodies compared byte for byte, ends told apart.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

use crate::harness::*;

/// A proxy with TLS for `wire.test` in front of an origin.
pub struct Tls {
    /// The proxy; its second address has TLS.
    pub proxy: Proxy,
    /// Whoever signed its certificate.
    pub authority: Authority,
    /// Its files.
    pub folder: Folder,
}

impl Tls {
    /// In front of `origin`.
    #[track_caller]
    pub fn of(origin: &Origin) -> Tls {
        Tls::with(origin, &[])
    }

    /// With more flags.
    #[track_caller]
    pub fn with(origin: &Origin, flags: &[&str]) -> Tls {
        let (authority, folder) = (Authority::new(), Folder::new());
        let (cert, key) = authority.server(&["wire.test", "127.0.0.1"]).write(&folder, "wire");
        let tls = ["--tls-listen", "127.0.0.1:0", "--cert", &cert, "--key", &key];
        let proxy = Proxy::with(origin, &[tls.as_slice(), flags].concat());
        Tls { proxy, authority, folder }
    }

    /// A client that trusts it.
    #[track_caller]
    pub fn client(&self) -> Peer {
        Peer::connect_tls(self.proxy.addrs[1], &self.authority.trusting(), "wire.test")
    }

    /// A client that has not said anything yet.
    pub fn raw(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.proxy.addrs[1]).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp
    }

    /// What ALPN agrees on with a client that speaks `protocols`.
    fn agreed(&self, protocols: &[&str]) -> String {
        let mut config = (*self.authority.trusting()).clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let client = Peer::connect_tls(self.proxy.addrs[1], &config.into(), "wire.test");
        String::from_utf8(client.handshake().alpn.unwrap()).unwrap()
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(size).collect()
}

/// Requests are served, the origin learns that they came with TLS, and ALPN agrees on HTTP/1.1.
#[test]
fn requests_are_served() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = Tls::of(&origin);
    let mut client = tls.client();
    for _ in 0..3 {
        assert_eq!(client.exchange(get("/")).text(), "fine");
    }
    for head in origin.heads() {
        assert_eq!(head.value("x-forwarded-proto"), Some("https"));
    }
    assert_eq!(tls.proxy.get("/").text(), "fine");
    assert_eq!(origin.heads().last().unwrap().value("x-forwarded-proto"), Some("http"));
    assert_eq!(tls.agreed(&["http/1.1"]), "http/1.1");
}

/// The client's choice of what is offered, HTTP/2 first; with `--http2 off` there is none.
#[test]
fn the_protocol_is_agreed_on() {
    let origin = Origin::serve(|_| ok("fine"));
    let on = Tls::of(&origin);
    assert_eq!(on.agreed(&["http/1.1", "h2"]), "h2");
    let off = Tls::with(&origin, &["--http2", "off"]);
    assert_eq!(off.agreed(&["h2", "http/1.1"]), "http/1.1");
}

/// Both versions, and sessions resumed on other workers than they were made on.
#[test]
fn sessions_are_resumed_in_both_versions() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = Tls::with(&origin, &["--workers", "2"]);
    for (version, is_13) in [(&TLS12, false), (&TLS13, true)] {
        let config = tls.authority.trusting_with(&[version], None);
        for connection in 0..12 {
            let mut client = Peer::connect_tls(tls.proxy.addrs[1], &config, "wire.test");
            assert_eq!(client.exchange(get("/")).text(), "fine"); // the tickets of 1.3 have come by now
            let handshake = client.handshake();
            assert_eq!((handshake.tls13, handshake.resumed), (is_13, connection > 0), "{connection}");
        }
    }
}

/// 20 KiB of requests in the flight of the client's Finished: none is lost.
#[test]
fn requests_right_behind_the_handshake_are_served() {
    let origin = Origin::serve(|request| ok(request.head.target()));
    let tls = Tls::of(&origin);
    for version in [&TLS12, &TLS13] {
        let config = tls.authority.trusting_with(&[version], None);
        let name = "wire.test".try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(config, name).unwrap();
        let mut tcp = tls.raw();
        let requests: String = (0..40).map(|n| get(&format!("/{n}/{}", "x".repeat(480)))).collect();
        assert!(requests.len() > 20_000);
        connection.set_buffer_limit(None);
        connection.writer().write_all(requests.as_bytes()).unwrap(); // leaves as soon as keys are there
        let mut text = String::new();
        while text.matches("\r\n\r\n/").count() < 40 {
            let mut flight = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut flight).unwrap();
            }
            tcp.write_all(&flight).unwrap();
            connection.read_tls(&mut tcp).unwrap();
            connection.process_new_packets().unwrap();
            let mut buf = Vec::new();
            let _ = connection.reader().read_to_end(&mut buf);
            text.push_str(&String::from_utf8_lossy(&buf));
        }
        for n in 0..40 {
            assert!(text.contains(&format!("\r\n\r\n/{n}/x")), "{n} was lost");
        }
    }
}

/// Bodies of many megabytes both ways at once, through an origin that echoes.
#[test]
fn huge_bodies_pass_both_ways_unharmed() {
    let size = 8_000_000;
    let origin = Origin::start(move |mut conn| {
        let Some(_) = conn.request_head() else { return };
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
        let mut left = size;
        while left > 0 {
            let piece = conn.exactly(left.min(50_000));
            left -= piece.len();
            conn.send(piece);
        }
    });
    let mut tls = Tls::of(&origin);
    let mut client = tls.client();
    let mut writer = client.writer();
    let upload = thread::spawn(move || {
        writer.send(format!("POST / HTTP/1.1\r\nHost: wire.test\r\nContent-Length: {size}\r\n\r\n"));
        writer.send_pieces(&content(size), 70_001);
    });
    let response = client.response();
    upload.join().unwrap();
    assert!(response.body.complete && response.body.bytes == content(size));
    tls.proxy.assert_healthy();
}

/// A request of one-byte records, and of one-byte segments of a record.
#[test]
fn requests_may_come_byte_by_byte() {
    let origin = Origin::serve(|request| ok(&String::from_utf8_lossy(&request.body.bytes)));
    let tls = Tls::of(&origin);
    let mut client = tls.client();
    client.send_pieces(post("/", "drip").as_bytes(), 1);
    assert_eq!(client.response().text(), "drip");
    let name = "wire.test".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(tls.authority.trusting(), name).unwrap();
    let mut tcp = tls.raw();
    tcp.set_nodelay(true).unwrap();
    connection.writer().write_all(get("/drop").as_bytes()).unwrap();
    let mut text = Vec::new();
    while !text.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let mut flight = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut flight).unwrap();
        }
        for byte in flight {
            tcp.write_all(&[byte]).unwrap();
        }
        connection.read_tls(&mut tcp).unwrap();
        connection.process_new_packets().unwrap();
        let _ = connection.reader().read_to_end(&mut text);
    }
}

/// Each event arrives before the next is sent.
#[test]
fn events_arrive_at_once() {
    let gate = Gate::new();
    let opener = gate.clone();
    let origin = Origin::start(move |mut conn| {
        let Some(_) = conn.request_head() else { return };
        conn.send(CHUNKED);
        for n in 0..5 {
            conn.send(chunk(&format!("data: {n}\n\n")));
            gate.pass(); // the client has it
        }
        conn.send("0\r\n\r\n");
    });
    let tls = Tls::of(&origin);
    let mut client = tls.client();
    client.send(get("/events"));
    assert_eq!(client.head().status(), 200);
    for n in 0..5 {
        assert_eq!(client.chunk(), Chunk::Data(format!("data: {n}\n\n").into_bytes()));
        opener.open();
    }
    assert_eq!(client.chunk(), Chunk::Last(Vec::new()));
}

/// A reader that pauses holds the origin back, and gets every byte in the end.
#[test]
fn a_slow_reader_pushes_back_and_loses_nothing() {
    let size = 24_000_000;
    let (report, reports) = inbox();
    let origin = Origin::start(move |mut conn| {
        let Some(_) = conn.request_head() else { return };
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
        conn.send(content(size));
        report.send(()).unwrap();
    });
    let tls = Tls::of(&origin);
    let mut client = tls.client();
    client.send(get("/"));
    assert_eq!(client.head().status(), 200);
    thread::sleep(Duration::from_millis(700)); // the pause of the slow reader
    assert!(reports.is_empty(), "24 MB were taken in for a client that does not read");
    assert!(client.exactly(size) == content(size));
    reports.take();
}

/// The end of a response that runs to the end of the connection is announced, so that it cannot be mistaken for a
/// cut; a response that breaks is not.
#[test]
fn the_end_is_announced_and_a_cut_is_not() {
    let origin = Origin::start(|mut conn| {
        let Some(head) = conn.request_head() else { return };
        conn.send("HTTP/1.1 200 OK\r\n\r\nwhole"); // to the end of the connection
        match head.target() {
            "/reset" => {
                conn.stirs_within(Duration::from_millis(200));
                conn.reset();
            }
            _ => conn.close(),
        }
    });
    let tls = Tls::of(&origin);
    let mut client = tls.client();
    client.send("GET /fine HTTP/1.0\r\nHost: wire.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.until_end(), (b"whole".to_vec(), End::Fin));
    let mut client = tls.client();
    client.send("GET /reset HTTP/1.0\r\nHost: wire.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    let (_, end) = client.until_end();
    assert_ne!(end, End::Fin, "a cut looked complete");
}

/// Clients that leave without close_notify, idle or in mid-response, are clients that left.
#[test]
fn clients_may_leave_without_a_word() {
    let (report, reports) = inbox();
    let origin = Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            if head.target() == "/endless" {
                conn.send(CHUNKED);
                conn.send(chunk("hello"));
                conn.assert_closed();
                report.send(()).unwrap();
                return;
            }
            conn.send(ok("fine"));
        }
    });
    let mut tls = Tls::of(&origin);
    let mut idle = tls.client();
    assert_eq!(idle.exchange(get("/")).text(), "fine");
    idle.cut();
    let mut client = tls.client();
    client.send(get("/endless"));
    assert_eq!(client.head().status(), 200);
    client.cut();
    reports.take(); // the upstream request was aborted
    assert_eq!(tls.proxy.log_for("/endless").get("status"), "200");
    tls.proxy.assert_healthy();
}

/// A WebSocket-like tunnel, both directions, half-closed by close_notify.
#[test]
fn tunnels_pass_and_half_close() {
    let origin = Origin::start(|mut conn| {
        let Some(_) = conn.request_head() else { return };
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhi");
        let (all, end) = conn.until_end();
        assert_eq!(end, End::Fin);
        conn.send(all);
        conn.close();
    });
    let tls = Tls::of(&origin);
    let mut client = tls.client();
    client.send("GET / HTTP/1.1\r\nHost: wire.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.exactly(2), b"hi");
    client.send_pieces(&content(300_000), 30_000);
    client.half_close();
    assert_eq!(client.until_end(), (content(300_000), End::Fin));
}

/// A handshake that stalls, at any byte, is cut by `--handshake-timeout`; an idle connection behind one is not.
#[test]
fn a_handshake_that_stalls_is_cut() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = Tls::with(&origin, &["--handshake-timeout", "600ms"]);
    let name = "wire.test".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(tls.authority.trusting(), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    for sent in [0, 3, hello.len() / 2, hello.len()] {
        let mut idle = tls.client();
        let began = Instant::now();
        let mut tcp = tls.raw();
        tcp.write_all(&hello[..sent]).unwrap();
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
        assert_took(began, Duration::from_millis(600));
        assert_eq!(idle.exchange(get("/")).text(), "fine", "an idle client was cut");
    }
    // A drip feed does not extend it.
    let began = Instant::now();
    let mut tcp = tls.raw();
    for byte in hello {
        if tcp.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// What is no ClientHello gets an alert or nothing, and hurts nobody.
#[test]
fn garbage_is_refused() {
    let origin = Origin::serve(|_| ok("fine"));
    let mut tls = Tls::of(&origin);
    let mut beside = tls.client();
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: wire.test\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        &[0xff; 70_000],
        b"\x17\x03\x03\x00\x01x",
        b"\x16\x03\x01\xff\xff",
    ];
    for bytes in garbage {
        let mut tcp = tls.raw();
        let _ = tcp.write_all(bytes);
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
        assert_eq!(beside.exchange(get("/")).text(), "fine");
    }
    tls.proxy.assert_healthy();
}

/// `openssl s_client` agrees with all of it: both versions, a session resumed, renegotiation refused.
#[test]
fn openssl_agrees() {
    let origin = Origin::serve(|_| ok("fine"));
    let tls = Tls::of(&origin);
    let ca = tls.folder.write("ca.pem", &tls.authority.pem);
    let session = tls.folder.path("session");
    let run = |version: &str, more: [&str; 2], input: &str| {
        let addr = tls.proxy.addrs[1].to_string();
        let mut child = std::process::Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &addr,
                "-servername",
                "wire.test",
                "-CAfile",
                &ca,
                "-ign_eof",
                version,
            ])
            .args(more)
            .args(["-verify_return_error"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("openssl");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let request = "GET / HTTP/1.1\r\nHost: wire.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let first = run(version, ["-sess_out", &session], request);
        assert!(first.contains("fine") && first.contains("New, TLSv1"), "{first}");
        let second = run(version, ["-sess_in", &session], request);
        assert!(second.contains("fine") && second.contains("Reused, TLSv1"), "{second}");
    }
    let old = run("-tls1_1", ["-cipher", "ALL:@SECLEVEL=0"], request);
    assert!(!old.contains("fine"), "{old}");
}
