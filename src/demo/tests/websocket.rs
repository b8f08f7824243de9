//! Goal: the echo speaks RFC 6455 with a client that does.

use super::client::Client;
use crate::demo::start;
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::error::Error;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

const OPENING: &str = "GET /ws HTTP/1.1\r\nHost: demo\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn connect() -> WebSocket<TcpStream> {
    let origin = start().unwrap();
    let stream = TcpStream::connect(origin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    tungstenite::client(format!("ws://{origin}/ws"), stream).unwrap().0
}

#[test]
fn text_and_binary_come_back() {
    let mut socket = connect();
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::text("grüße"),
        Message::binary(vec![0, 255, 1]),
        Message::binary(vec![7; 1_000_000]),
    ] {
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message);
    }
}

#[test]
fn pings_are_answered() {
    let mut socket = connect();
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
}

#[test]
fn the_closing_handshake_is_completed() {
    let mut socket = connect();
    let frame = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    socket.close(Some(frame.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(frame)));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn a_frame_beyond_the_bound_is_refused_by_its_header() {
    let mut client = Client::new();
    client.send(OPENING);
    assert_eq!(client.head().status, 101);
    // A masked binary frame that announces 2^32 bytes.
    client.send([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]);
    let header = client.exactly(4);
    assert_eq!(header[0], 0x88, "a close frame");
    assert_eq!(u16::from_be_bytes([header[2], header[3]]), 1009);
    client.leave();
    client.rest();
}

#[test]
fn the_opening_handshake_is_answered_as_the_rfc_has_it() {
    let mut client = Client::new();
    // The first frame comes with the head: a masked `hi`, mask zero.
    client.send([OPENING.as_bytes(), &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']].concat());
    let head = client.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")); // RFC 6455 §1.3
    assert_eq!(client.exactly(4), [0x81, 2, b'h', b'i']);
}

#[test]
fn other_requests_are_told_what_to_do() {
    let mut client = Client::new();
    let (head, _) = client.get("/ws");
    assert_eq!((head.status, head.field("Upgrade")), (426, Some("websocket")));
    client.send(OPENING.replace("Version: 13", "Version: 8"));
    assert_eq!(client.reply().0.field("Sec-WebSocket-Version"), Some("13"));
    client.send(OPENING.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"));
    assert_eq!(client.reply().0.status, 400);
}
