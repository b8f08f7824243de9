//! Goal: a PROXY header names the client, on every listener and to every origin, and nothing but a header from a peer
//! that may send one does. Method: headers written byte by byte here, not by the code under test; the client is read
//! from what the origin and the access log were told.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::tls::Tls;

const ACCEPT: [&str; 2] = ["--accept-proxy", "127.0.0.0/8,::1"];
const LINE4: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 51234 443\r\n";
const LINE6: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::2 51234 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2: command and family as they are on the wire, then addresses and TLVs.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// 192.0.2.7:51234 to 198.51.100.2:443, with these TLVs.
fn binary4(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&[192, 0, 2, 7, 198, 51, 100, 2, 0xC8, 0x22, 1, 0xBB], tlvs].concat())
}

/// [2001:db8::7]:51234 to [2001:db8::2]:443.
fn binary6() -> Vec<u8> {
    let address = |last| [0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    v2(0x21, 0x21, &[&address(7)[..], &address(2), &[0xC8, 0x22, 1, 0xBB]].concat())
}

/// Every header that names nobody: the peer itself counts.
fn nameless() -> Vec<Vec<u8>> {
    vec![
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 2001:db8::7 ::1 1 2\r\n".to_vec(),
        v2(0x20, 0x00, b""),
        v2(0x20, 0x11, &binary4(b"")[16..]),
        v2(0x21, 0x00, b""),
        v2(0x21, 0x31, &[b'/'; 216]),
    ]
}

/// An origin that answers with the client it was told of.
fn telling() -> Origin {
    Origin::serve(|request| ok(request.head.value("X-Forwarded-For").unwrap_or("nobody")))
}

/// The client that a request behind `header` is from, as the origin has it.
fn named(addr: SocketAddr, header: &[u8]) -> String {
    let mut client = Peer::connect(addr);
    client.exchange([header, get("/").as_bytes()].concat()).text()
}

/// Asserts that what is sent gets no answer and the end.
#[track_caller]
fn assert_dropped(addr: SocketAddr, bytes: &[u8]) {
    let mut client = Peer::connect(addr);
    let _ = client.try_send(bytes); // the end may come first
    assert_eq!(client.until_end().0, b"", "{:?}", String::from_utf8_lossy(bytes));
}

/// Both versions, both families, TLVs, a request in the same segment and more requests behind it; the log agrees, and
/// so does the port in it.
#[test]
fn the_header_names_the_client() {
    let origin = telling();
    let mut proxy = Proxy::with(&origin, &ACCEPT);
    let tlvs = binary4(&[0x04, 0, 1, 0, 0xEA, 0, 2, 1, 2]);
    for (number, (header, client)) in [
        (LINE4.to_vec(), "192.0.2.7"),
        (LINE6.to_vec(), "2001:db8::7"),
        (binary4(b""), "192.0.2.7"),
        (tlvs, "192.0.2.7"),
        (binary6(), "2001:db8::7"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut peer = proxy.client();
        let path = format!("/{number}");
        peer.send([header.as_slice(), get(&path).as_bytes(), get("/again").as_bytes()].concat());
        assert_eq!(peer.response().text(), client);
        assert_eq!(peer.response().text(), client, "pipelined");
        assert_eq!(peer.exchange(get("/later")).text(), client, "kept alive");
        let logged = proxy.log_for(&path);
        assert!(logged.get("client").contains(client), "{:?}", logged.get("client"));
    }
    proxy.assert_healthy();
}

/// However the header is cut up, it is read; no byte of the request is lost.
#[test]
fn headers_arrive_byte_by_byte() {
    let origin = telling();
    let proxy = Proxy::with(&origin, &ACCEPT);
    for (header, client) in
        [(LINE4.to_vec(), "192.0.2.7"), (binary6(), "2001:db8::7"), (v2(0x20, 0, b""), "127.0.0.1")]
    {
        let tcp = TcpStream::connect(proxy.addr()).unwrap();
        tcp.set_nodelay(true).unwrap();
        for byte in [header.as_slice(), b"GET / HTTP/1.1\r\nHo"].concat() {
            (&tcp).write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1)); // a segment of its own
        }
        assert_eq!(Peer::from_tcp(tcp).exchange("st: wire.test\r\n\r\n").text(), client);
    }
}

/// In front of TLS, of HTTP/2 by both ways, and of a redirect.
#[test]
fn every_listener_reads_it() {
    let origin = telling();
    let flags = [&ACCEPT[..], &["--http-redirect", "127.0.0.1:0"]].concat();
    let tls = Tls::with(&origin, &flags);
    let [plain, secure, redirect] = tls.proxy.addrs[..] else { panic!("three listeners") };
    for header in [LINE4.to_vec(), binary4(b"")] {
        let mut tcp = TcpStream::connect(secure).unwrap();
        tcp.write_all(&header).unwrap();
        let session = TlsStream::client(tcp, &tls.authority.trusting(), "wire.test").unwrap();
        assert_eq!(Peer::from_tls(session).exchange(get("/tls")).text(), "192.0.2.7");

        let mut known = Http2::introduced(plain, &header, &h2::client::Builder::new());
        assert_eq!(known.exchange(get2("/h2c")).body, b"192.0.2.7");
        assert_eq!(known.exchange(get2("/h2c")).body, b"192.0.2.7", "another stream");

        let mut config = (*tls.authority.trusting()).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut agreed = Http2::introduced_tls(secure, &header, &config.into(), "wire.test");
        assert_eq!(agreed.exchange(get2("/h2")).body, b"192.0.2.7");

        let mut client = Peer::connect(redirect);
        assert_eq!(client.exchange([&header, get("/away").as_bytes()].concat()).head.status(), 308);
        assert!(tls.proxy.log_for("/away").get("client").contains("192.0.2.7"));
    }
}

/// LOCAL, UNKNOWN and addresses that are not of the internet leave the peer what it is.
#[test]
fn a_header_without_a_name_keeps_the_peer() {
    let origin = telling();
    let proxy = Proxy::with(&origin, &ACCEPT);
    for header in nameless() {
        assert_eq!(named(proxy.addr(), &header), "127.0.0.1", "{header:?}");
    }
}

/// Whether a client is a trusted proxy is asked of the client that the header names, not of the balancer.
#[test]
fn trust_goes_by_the_client_that_is_named() {
    let origin = telling();
    let request = "GET / HTTP/1.1\r\nHost: wire.test\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
    for (trusted, expected) in [("192.0.2.7", "203.0.113.9, 192.0.2.7"), ("127.0.0.1", "192.0.2.7")] {
        let flags = [&ACCEPT[..], &["--trusted-proxies", trusted]].concat();
        let proxy = Proxy::with(&origin, &flags);
        let response = proxy.client().exchange([LINE4, request.as_bytes()].concat());
        assert_eq!(response.text(), expected, "{trusted} is trusted");
    }
}

/// What is no header, or not a whole one, ends the connection without a word, and nothing of it reaches the origin.
#[test]
fn anything_else_from_a_balancer_is_dropped() {
    let origin = telling();
    let mut proxy = Proxy::with(&origin, &ACCEPT);
    let request = get("/");
    for start in [
        &b""[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xFC",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.2 51234 443\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.2 051234 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.2 51234 443\r\n",
        &[b"PROXY UNKNOWN ", [b'x'; 100].as_slice(), b"\r\n"].concat(),
        &v2(0x11, 0x11, &[0; 12]),
        &v2(0x21, 0x12, &[0; 12]),
        &v2(0x21, 0x11, &[0; 11]),
        &v2(0x21, 0x11, &[0; 521]),
        &binary4(&[0x04, 0, 9, 1]),
        &binary4(&[0x03, 0, 4, 1, 2, 3, 4]),
    ] {
        assert_dropped(proxy.addr(), &[start, request.as_bytes()].concat());
    }
    let mut silent = proxy.client();
    silent.send(&LINE4[..20]);
    silent.half_close();
    silent.assert_closed();
    assert_eq!(origin.accepted(), 0);
    assert_eq!(named(proxy.addr(), LINE4), "192.0.2.7", "and it goes on");
    proxy.assert_healthy();
}

/// The longest header that is allowed.
#[test]
fn headers_up_to_the_bound_are_read() {
    let origin = telling();
    let proxy = Proxy::with(&origin, &ACCEPT);
    let tlvs = [&[0xEA, 1, 249][..], &[b'x'; 505]].concat(); // 536 less 16, 12 and 3
    let longest = binary4(&tlvs);
    assert_eq!(longest.len(), 536);
    assert_eq!(named(proxy.addr(), &longest), "192.0.2.7");
    let line = [b"PROXY UNKNOWN ", [b'x'; 91].as_slice(), b"\r\n"].concat();
    assert_eq!(line.len(), 107);
    assert_eq!(named(proxy.addr(), &line), "127.0.0.1");
}

/// The header has `--handshake-timeout`, from the accept on: neither silence nor a drip gets more.
#[test]
fn a_late_header_is_cut_off() {
    let origin = telling();
    let proxy = Proxy::with(&origin, &[&ACCEPT[..], &["--handshake-timeout", "600ms"]].concat());
    let began = Instant::now();
    let mut silent = proxy.client();
    let mut dripping = proxy.client();
    for byte in LINE4.chunks(1).take(40) {
        if dripping.try_send(byte).is_err() || began.elapsed() > Duration::from_secs(2) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(dripping.until_end().0, b"");
    assert_took(began, Duration::from_millis(600));
    silent.assert_closed();
    assert_took(began, Duration::from_millis(600));
    let mut late = proxy.client();
    late.send(LINE4);
    std::thread::sleep(Duration::from_millis(300)); // the request itself has its own time
    assert_eq!(late.exchange(get("/")).text(), "192.0.2.7");
}

/// A header of anybody else is a bad request; without the flag, of everybody.
#[test]
fn who_may_not_send_one_is_refused() {
    let origin = telling();
    for flags in [&[][..], &["--accept-proxy", "192.0.2.0/24,::1"]] {
        let proxy = Proxy::with(&origin, flags);
        for header in [LINE4.to_vec(), binary4(b"")] {
            let mut client = proxy.client();
            client.send([&header, get("/").as_bytes()].concat());
            assert_eq!(client.response().head.status(), 400, "{flags:?} {header:?}");
        }
        assert_eq!(named(proxy.addr(), b""), "127.0.0.1", "and others are served");
    }
    assert!(origin.heads().iter().all(|head| head.value("X-Forwarded-For") == Some("127.0.0.1")));
}

/// A balancer that is reached over IPv6 may name clients of either family; one that names nobody has an IPv6 address.
#[test]
fn balancers_may_come_over_ipv6() {
    let origin = Origin::start(recording(None));
    let flags = ["--listen", "[::1]:0", "--send-proxy", "v1"];
    let proxy = Proxy::with(&origin, &[&ACCEPT[..], &flags].concat());
    let six = proxy.addrs[1];
    assert_eq!(named(six, LINE4), hex(LINE4));
    assert_eq!(named(six, &binary6()), hex(LINE6));
    let tcp = TcpStream::connect(six).unwrap();
    let (from, to) = (tcp.local_addr().unwrap().port(), six.port());
    let told = Peer::from_tcp(tcp).exchange([&v2(0x20, 0, b""), get("/").as_bytes()].concat()).text();
    assert_eq!(told, hex(format!("PROXY TCP6 ::1 ::1 {from} {to}\r\n").as_bytes()));
}

// ----- to origins

/// An origin that answers with the line or the 28 bytes that its connection began with.
fn recording(length: Option<usize>) -> impl Fn(Conn) {
    move |mut conn| {
        let header = match length {
            Some(length) => conn.exactly(length),
            None => {
                let mut line = Vec::new();
                while !line.ends_with(b"\r\n") {
                    line.extend(conn.exactly(1));
                }
                line
            }
        };
        let hex: String = header.iter().map(|byte| format!("{byte:02x}")).collect();
        while conn.request().is_some() {
            conn.send(ok(&hex));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly the header, then the request: the ends of the client's connection, in both versions.
#[test]
fn origins_are_told_both_ends() {
    for (version, length) in [("v1", None), ("v2", Some(28))] {
        let origin = Origin::start(recording(length));
        let proxy = Proxy::with(&origin, &["--send-proxy", version]);
        let tcp = TcpStream::connect(proxy.addr()).unwrap();
        let (from, to) = (tcp.local_addr().unwrap().port(), proxy.addr().port());
        let expected = match length {
            None => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into_bytes(),
            Some(_) => {
                let block = [127, 0, 0, 1, 127, 0, 0, 1];
                v2(0x21, 0x11, &[&block[..], &from.to_be_bytes(), &to.to_be_bytes()].concat())
            }
        };
        let mut client = Peer::from_tcp(tcp);
        assert_eq!(client.exchange(get("/")).text(), hex(&expected), "{version}");
        assert_eq!(client.exchange(post("/", "body")).text(), hex(&expected), "the next connection too");
        assert_eq!(origin.accepted(), 2, "a connection serves one request");
    }
}

/// What came in goes out: from one version to the other, for streams of HTTP/2 as well.
#[test]
fn the_ends_of_a_header_are_passed_on() {
    let origin = Origin::start(recording(None));
    let proxy = Proxy::with(&origin, &[&ACCEPT[..], &["--send-proxy", "v1"]].concat());
    assert_eq!(named(proxy.addr(), &binary4(b"")), hex(LINE4));
    assert_eq!(named(proxy.addr(), &binary6()), hex(LINE6));
    let mut client = Http2::introduced(proxy.addr(), &binary4(b""), &h2::client::Builder::new());
    assert_eq!(client.exchange(get2("/")).body, hex(LINE4).into_bytes());

    let origin = Origin::start(recording(Some(52)));
    let proxy = Proxy::with(&origin, &[&ACCEPT[..], &["--send-proxy", "v2"]].concat());
    assert_eq!(named(proxy.addr(), LINE6), hex(&binary6()));
}

/// Clients on one worker never share a connection to the origin, so that none is taken for another.
#[test]
fn connections_are_of_one_client() {
    let origin = Origin::start(recording(None));
    let proxy = Proxy::with(&origin, &[&ACCEPT[..], &["--send-proxy", "v1"]].concat());
    for n in 1..=5 {
        let line = format!("PROXY TCP4 192.0.2.{n} 198.51.100.2 {n} 443\r\n");
        assert_eq!(named(proxy.addr(), line.as_bytes()), hex(line.as_bytes()));
    }
}

/// Before the TLS handshake, in the clear.
#[test]
fn origins_with_tls_get_it_before_the_handshake() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let config = authority.serving(&authority.server(&["127.0.0.1"]), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("https://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut header = vec![0; LINE4.len()];
        std::io::Read::read_exact(&mut &tcp, &mut header).unwrap();
        let mut conn = Peer::from_tls(TlsStream::server(tcp, &config));
        assert_eq!(conn.head().target(), "/sealed");
        conn.send(ok("sealed"));
        header
    });
    let ca = folder.write("ca.pem", &authority.pem);
    let flags = [&ACCEPT[..], &["--send-proxy", "v1", "--upstream-ca", &ca]].concat();
    let proxy = Proxy::to(&[&upstream], &flags);
    let response = proxy.client().exchange([LINE4, get("/sealed").as_bytes()].concat());
    assert_eq!(response.text(), "sealed");
    assert_eq!(serving.join().unwrap(), LINE4);
}
