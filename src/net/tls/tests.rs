//! The record layer and the handshake against a blocking rustls peer on the other end of a socket pair.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion,
};

use super::handshake::{Left, accept, connect};
use super::*;
use crate::net::buffers::{BufferPool, Outbox};
use crate::net::socket::Socket;
use crate::net::thread::runtime;
use crate::net::transport::Transport;

type Peer = StreamOwned<ClientConnection, UnixStream>;

/// A server for `a.test`, and the configuration of clients that trust it.
fn configs(versions: &[&'static SupportedProtocolVersion]) -> (Arc<ServerTls>, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let der = certificate.der().clone();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let certified = CertifiedKey::from_der(vec![der.clone()], private, &provider).unwrap();
    let names = Names { dns: vec!["a.test".into()], ip: vec![] };
    let certificates = Arc::new(Certificates::new(vec![Pair { key: Arc::new(certified), names }]));
    let server =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let server = server.with_no_client_auth().with_cert_resolver(Arc::clone(&certificates) as _);
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    (Arc::new(ServerTls { config: Arc::new(server), certificates }), Arc::new(client))
}

/// Accepts on our side while `script` runs as the client; then `serve` has the secured transport. Scripts that
/// must not begin before the handshake has ended on our side too wait for [`hello`].
fn with_client<S: Future<Output = ()>>(
    script: impl FnOnce(Peer) + Send + 'static,
    serve: impl FnOnce(Socket) -> S,
) {
    let (tls, client) = configs(rustls::ALL_VERSIONS);
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let peer: JoinHandle<()> = thread::spawn(move || {
        let connection = ClientConnection::new(client, ServerName::try_from("a.test").unwrap()).unwrap();
        script(StreamOwned::new(connection, theirs));
    });
    runtime().unwrap().block_on(async {
        let transport = accept(tls, Socket::new(ours).unwrap(), Left::default()).await.unwrap();
        serve(transport).await;
    });
    peer.join().unwrap();
}

/// Waits for the greeting of [`greet`].
fn hello(peer: &mut Peer) {
    peer.read_exact(&mut [0; 5]).unwrap();
}

async fn greet(transport: &mut Socket) {
    write_all(transport, b"hello").await;
}

async fn read(transport: &mut Socket, buf: &mut [u8]) -> std::io::Result<usize> {
    loop {
        poll_fn(|cx| transport.poll_readable(cx)).await;
        if let Some(n) = transport.try_read(buf)? {
            return Ok(n);
        }
    }
}

/// Reads to the end through a buffer of `size`.
async fn read_all(transport: &mut Socket, size: usize) -> std::io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; size]);
    loop {
        match read(transport, &mut buf).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

async fn write_all(transport: &mut Socket, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = transport.try_write(&[IoSlice::new(bytes)]).unwrap();
        bytes = &bytes[n..];
        if !bytes.is_empty() {
            poll_fn(|cx| transport.poll_writable(cx)).await;
        }
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(size).collect()
}

/// Goal: nothing read during the handshake is lost. Method: the client's Finished and 20 KiB of requests leave
/// in one write (the handshake is run by hand for that), for several sizes around the steps of 4096.
#[test]
fn what_comes_right_behind_the_handshake_is_not_lost() {
    for size in [1, 3_900, 4_096, 8_192, 20_480, 70_000] {
        let script = move |mut peer: Peer| {
            while peer.conn.is_handshaking() {
                if peer.conn.wants_write() {
                    peer.conn.write_tls(&mut peer.sock).unwrap();
                }
                if peer.conn.is_handshaking() {
                    peer.conn.read_tls(&mut peer.sock).unwrap();
                    peer.conn.process_new_packets().unwrap();
                }
            }
            peer.conn.set_buffer_limit(None);
            peer.conn.writer().write_all(&content(size)).unwrap();
            let mut flight = Vec::new();
            while peer.conn.wants_write() {
                peer.conn.write_tls(&mut flight).unwrap();
            }
            peer.sock.write_all(&flight).unwrap();
            peer.conn.send_close_notify();
            peer.conn.complete_io(&mut peer.sock).unwrap();
            let _ = peer.sock.read_to_end(&mut Vec::new()); // tickets; stays until the server has read
        };
        with_client(script, |mut transport| async move {
            assert!(read_all(&mut transport, 64 * 1024).await.unwrap() == content(size), "{size} bytes");
        });
    }
}

/// Goal: the same behind a chain of client certificates that nearly fills a record, and with it the buffer of rustls.
/// Method: chains of many lengths, each with requests in the same flight.
#[test]
fn what_comes_behind_a_long_chain_is_not_lost() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = |name: &str| {
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().der().clone()
    };
    let own = certificate("client.test");
    let (server, client) = configs(&[&rustls::version::TLS13]);
    for padding in (13_000..16_300).step_by(150) {
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        );
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let config = config.with_client_cert_verifier(verifier.build().unwrap());
        let config = config.with_cert_resolver(Arc::clone(&server.certificates) as _);
        let tls =
            Arc::new(ServerTls { config: Arc::new(config), certificates: Arc::clone(&server.certificates) });

        let mut chain = vec![own.clone()];
        let mut size = own.len();
        while size + 600 < padding {
            chain.push(certificate("padding.test"));
            size += chain.last().unwrap().len();
        }
        chain.push(vec![0x30; padding.saturating_sub(size)].into()); // to the byte; nobody looks at it
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signer = provider.key_provider.load_private_key(private).unwrap();
        let shown = CertifiedKey::new(chain, signer);
        let mut client = (*client).clone();
        client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let peer = thread::spawn(move || {
            let mut connection = ClientConnection::new(client.into(), "a.test".try_into().unwrap()).unwrap();
            connection.set_buffer_limit(None);
            connection.writer().write_all(&content(10_000)).unwrap();
            while connection.is_handshaking() {
                connection.write_tls(&mut theirs).unwrap();
                connection.read_tls(&mut theirs).unwrap();
                connection.process_new_packets().unwrap();
            }
            connection.send_close_notify();
            let mut flight = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut flight).unwrap();
            }
            let _ = theirs.write_all(&flight);
            let _ = theirs.read_to_end(&mut Vec::new());
        });
        runtime().unwrap().block_on(async {
            let mut transport = accept(tls, Socket::new(ours).unwrap(), Left::default()).await.unwrap();
            let all = read_all(&mut transport, 64 * 1024).await;
            assert!(all.as_ref().is_ok_and(|all| *all == content(10_000)), "{padding}: {:?}", all.err());
        });
        peer.join().unwrap();
    }
}

/// Goal: whatever the reader's buffer, every byte arrives, and what waits inside is announced. Method: half a
/// megabyte through buffers smaller and larger than a record.
#[test]
fn readers_with_any_buffer_get_every_byte() {
    for size in [1_000, 4_096, 16_500, 20_000, 32 * 1024 + 1, 64 * 1024] {
        let script = |mut peer: Peer| {
            let all = content(500_000);
            let (mut rest, mut sizes) =
                (all.as_slice(), [16_384, 1_500, 100, 16_384, 700].into_iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                peer.write_all(piece).unwrap(); // a record of its own
                rest = tail;
            }
            peer.conn.send_close_notify();
            peer.flush().unwrap();
        };
        with_client(script, |mut transport| async move {
            assert!(read_all(&mut transport, size).await.unwrap() == content(500_000), "{size}");
            assert!(transport.is_readable(), "the end stays readable");
            assert_eq!(transport.try_read(&mut [0]).unwrap(), Some(0));
        });
    }
}

/// Goal: bytes count as taken when the kernel has them, and a slow receiver gets all of them in order. Method: more
/// than a socket holds through an outbox, to a peer that starts to read late.
#[test]
fn a_slow_receiver_loses_nothing() {
    let body = content(3_000_000);
    let expected = [b"head ".as_slice(), &body, b" tail"].concat();
    let (start, started) = std::sync::mpsc::channel();
    let script = move |mut peer: Peer| {
        peer.flush().unwrap();
        started.recv().unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap(); // fails without close_notify
        assert!(all == expected, "bytes were lost or out of order: {} of {}", all.len(), expected.len());
    };
    with_client(script, |socket| async move {
        let mut transport = Transport::from(socket);
        let pool = BufferPool::new(0);
        let mut outbox = Outbox::default();
        outbox.stage(&pool).extend_from_slice(b"head ");
        let taken = outbox.send(&mut transport, &pool, &[&body, b" tail"]).unwrap();
        assert!(taken < body.len() && !outbox.is_empty(), "the socket took it all");
        assert_eq!(outbox.unsent() + taken, body.len() + 10);
        start.send(()).unwrap();
        while !outbox.is_empty() {
            poll_fn(|cx| transport.poll_writable(cx)).await;
            outbox.send(&mut transport, &pool, &[]).unwrap();
        }
        transport.shutdown_write();
    });
}

/// Goal: one-byte writes and empty slices are fine, and the first records are small. Method: records counted on the
/// wire by their headers.
#[test]
fn first_records_are_small_and_later_ones_full() {
    let script = |mut peer: Peer| {
        peer.flush().unwrap();
        let mut wire = Vec::new();
        peer.sock.read_to_end(&mut wire).unwrap();
        let (mut at, mut sizes) = (0, Vec::new());
        while at < wire.len() {
            let size = usize::from(u16::from_be_bytes([wire[at + 3], wire[at + 4]]));
            sizes.push(size);
            at += 5 + size;
        }
        let data: Vec<usize> = sizes.into_iter().skip_while(|size| *size < 4_000).collect();
        let small = data.iter().take_while(|size| **size <= 4_096 + 17).count();
        assert_eq!(small, 8, "{data:?}");
        assert!(data.iter().skip(8).take(5).all(|size| *size == 16 * 1024 + 17), "{data:?}");
    };
    with_client(script, |mut transport| async move {
        for byte in 0..10 {
            write_all(&mut transport, &[byte]).await;
        }
        std::thread::sleep(std::time::Duration::from_millis(limits::TLS_RAMP_IDLE_MS + 50)); // idle
        write_all(&mut transport, &content(200_000)).await;
    });
}

/// Goal: an announced end and a cut are told apart. Method: both.
#[test]
fn an_end_without_close_notify_is_an_error() {
    let cut = |mut peer: Peer| {
        hello(&mut peer);
        peer.write_all(b"half").unwrap();
    };
    with_client(cut, |mut transport| async move {
        greet(&mut transport).await;
        let error = read_all(&mut transport, 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(transport.try_read(&mut [0]).is_err(), "and stays one");
    });
}

/// Goal: bytes that are not TLS end the connection, and the peer is told why. Method: a forged record; the peer
/// reads an alert.
#[test]
fn a_forged_record_is_answered_with_an_alert() {
    let script = |mut peer: Peer| {
        hello(&mut peer);
        peer.write_all(b"fine").unwrap();
        peer.sock.write_all(b"\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
        let error = peer.read(&mut [0; 10]).unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    };
    with_client(script, |mut transport| async move {
        greet(&mut transport).await;
        assert!(read_all(&mut transport, 100).await.is_err());
    });
}

/// Goal: towards an origin, session tickets disturb nobody, words and the end do. Method: a server that sends
/// tickets, then a word.
#[test]
fn tickets_do_not_disturb() {
    let (tls, client) = configs(&[&rustls::version::TLS13]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (speak, spoken) = std::sync::mpsc::channel::<()>();
    let origin = thread::spawn(move || {
        let mut connection = rustls::ServerConnection::new(Arc::clone(&tls.config)).unwrap();
        let mut theirs = theirs;
        connection.complete_io(&mut theirs).unwrap(); // tickets go with it
        connection.refresh_traffic_keys().unwrap();
        connection.complete_io(&mut theirs).ok();
        spoken.recv().unwrap();
        connection.writer().write_all(b"word").unwrap();
        connection.complete_io(&mut theirs).unwrap();
    });
    runtime().unwrap().block_on(async {
        let mut transport = connect(client, "a.test", Socket::new(ours).unwrap()).await.unwrap();
        let mut speak = Some(speak);
        let mut looks = 0;
        poll_fn(|cx| {
            looks += 1;
            let disturbed = transport.poll_disturbed(cx);
            if let Some(speak) = speak.take_if(|_| disturbed.is_pending()) {
                speak.send(()).unwrap();
            }
            disturbed
        })
        .await;
        assert!(speak.is_none(), "disturbed by {:?}", transport.try_read(&mut [0; 10]));
        assert_eq!(read(&mut transport, &mut [0; 10]).await.unwrap(), 4);
    });
    origin.join().unwrap();
}
