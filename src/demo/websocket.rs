//! `/ws`: a WebSocket echo (RFC 6455). The handshake is ours, since we have read the head already; the frames are
//! tungstenite's, which answers pings and closes by itself.

use super::bounds::{WEBSOCKET_IDLE, WEBSOCKET_MESSAGE_BYTES_MAX};
use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::{Reply, TEXT};
use super::request::Request;
use super::wire::{Wire, read_patiently, write_patiently};
use crate::h1::field::list;
use crate::h1::framing::Framing;
use crate::h1::head::Method;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use tungstenite::error::{CapacityError, Error};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

/// Length of a `Sec-WebSocket-Key`: 16 bytes in Base64.
const KEY_BYTES: usize = 24;

/// Serves `/ws`.
pub(super) fn serve(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    match handshake(exchange.request()) {
        Handshake::Accept(key) => {
            let wire = exchange.take_over();
            wire.write(switching_protocols(&key).as_bytes())?;
            Ok(echo(wire)?)
        }
        Handshake::NotAsked => {
            exchange.answer(&upgrade_required(), b"this is a WebSocket endpoint, version 13\n")
        }
        Handshake::Bad(text) => Err(Fault::Parameter(text.to_owned())),
    }
}

/// What a request makes of RFC 6455 §4.2.1.
enum Handshake {
    /// A proper opening handshake, and the value that answers its key.
    Accept(String),
    /// Some other request, or another version of the protocol.
    NotAsked,
    /// An opening handshake that breaks a rule.
    Bad(&'static str),
}

fn handshake(request: &Request) -> Handshake {
    let head = request.head();
    let names_websocket = list(request.field("Upgrade").unwrap_or_default())
        .any(|token| token.eq_ignore_ascii_case(b"websocket"));
    if !head.upgrade || !names_websocket || request.field("Sec-WebSocket-Version") != Some(b"13") {
        return Handshake::NotAsked;
    }
    if head.method != Method::Get || !matches!(head.framing, Framing::None | Framing::Length(0)) {
        return Handshake::Bad("a WebSocket opens with GET and no body");
    }
    match request.field("Sec-WebSocket-Key") {
        Some(key) if key.len() == KEY_BYTES => Handshake::Accept(derive_accept_key(key)),
        Some(_) | None => Handshake::Bad("Sec-WebSocket-Key is 16 bytes in Base64"),
    }
}

fn switching_protocols(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

fn upgrade_required() -> Reply {
    Reply::new(426, TEXT).field("Upgrade", "websocket").field("Sec-WebSocket-Version", "13")
}

/// Sends every message back until the closing handshake is done.
fn echo(wire: &mut Wire) -> io::Result<()> {
    let early = wire.take_unread();
    let socket = Patient(wire.socket(WEBSOCKET_IDLE)?);
    let mut websocket = WebSocket::from_partially_read(socket, early, Role::Server, Some(config()));
    match echo_messages(&mut websocket) {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        Error::Io(error) => Err(error),
        error => {
            // Tells the client why, if it still listens; the connection ends in any case.
            let _ = websocket.close(Some(close_frame(&error))).and_then(|()| websocket.flush());
            Ok(())
        }
    }
}

/// Returns what ended it; there is always something.
fn echo_messages(websocket: &mut WebSocket<Patient<'_>>) -> Error {
    loop {
        let echoed = websocket.read().and_then(|message| match message {
            Message::Text(_) | Message::Binary(_) => websocket.send(message),
            // Pings and closes were answered into the write buffer.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => websocket.flush(),
        });
        if let Err(error) = echoed {
            return error;
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
}

fn close_frame(error: &Error) -> CloseFrame {
    let code = match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => CloseCode::Protocol, // their enum: what else there is, a client's frames brought about
    };
    CloseFrame { code, reason: error.to_string().chars().take(100).collect::<String>().into() }
}

/// A socket whose reads and writes are not interrupted by signals.
struct Patient<'s>(&'s TcpStream);

impl Read for Patient<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        read_patiently(self.0, buf)
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_patiently(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
