//! Frames of HTTP/2 by hand, for what no library would send; and what comes back, frame by frame.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::Peer;

/// Types of frames (RFC 9113 §6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    pub const NONE: u8 = 0;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
    /// A whole message without a body.
    pub const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Error codes (RFC 9113 §7).
pub mod code {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// What a client of HTTP/2 says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame, in bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// SETTINGS.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(kind::SETTINGS, flag::NONE, 0, payload)
}

/// WINDOW_UPDATE.
pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, more.to_be_bytes())
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, code.to_be_bytes())
}

/// PING.
pub fn ping(payload: &[u8; 8]) -> Vec<u8> {
    frame(kind::PING, flag::NONE, 0, payload)
}

/// An integer of HPACK behind `pattern`, in a prefix of so many bits (RFC 7541 §5.1).
pub fn integer(pattern: u8, bits: u32, value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![pattern | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![pattern | u8::try_from(most).unwrap()];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// A string of HPACK, not Huffman-coded.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    [&integer(0, 7, text.as_ref().len())[..], text.as_ref()].concat()
}

/// A field as HPACK's literal without indexing.
pub fn literal(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[0][..], &string(name), &string(value)].concat()
}

/// `:method`, `:scheme`, `:path` and `:authority` of a request to `wire.test`.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    [
        literal(":method", method),
        literal(":scheme", "http"),
        literal(":path", path),
        literal(":authority", "wire.test"),
    ]
    .concat()
}

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Some of [`flag`].
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of GOAWAY or RST_STREAM.
    pub fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Whether it ends its stream.
    pub fn ends(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }

    /// `:status`, where HEADERS begin with it and do not lean on the dynamic table.
    pub fn status(&self) -> u16 {
        match self.payload[..] {
            [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
            [0x08 | 0x18 | 0x48, length, ..] => {
                let value = &self.payload[2..2 + usize::from(length & 0x7f)];
                let digits = if length & 0x80 == 0 { value.to_vec() } else { huffman_digits(value) };
                std::str::from_utf8(&digits).unwrap().parse().unwrap()
            }
            _ => panic!("no status that can be read here: {self:?}"),
        }
    }
}

/// Huffman-coded digits: 0 to 2 have five bits, the others six (RFC 7541, appendix B).
fn huffman_digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut rest, mut digits) = (&bits[..], Vec::new());
    while rest.len() >= 5 {
        let (digit, length) = match number(&rest[..5]) {
            short @ 0..=2 => (short, 5),
            _ if rest.len() < 6 => break,
            _ => (number(&rest[..6]).wrapping_sub(0b01_1001).wrapping_add(3), 6),
        };
        if digit > 9 {
            break; // padding
        }
        digits.push(b'0' + digit);
        rest = &rest[length..];
    }
    digits
}

/// A connection of frames. SETTINGS that come are acknowledged.
pub struct Frames {
    /// The bytes below.
    pub peer: Peer,
}

impl Frames {
    /// In the clear, with preface and SETTINGS exchanged.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Frames {
        Frames::greet(Peer::connect(addr))
    }

    /// As [`Frames::connect`], with a receive buffer that is small and does not grow.
    #[track_caller]
    pub fn connect_narrow(addr: SocketAddr) -> Frames {
        Frames::greet(Peer::connect_narrow(addr))
    }

    /// With TLS and ALPN.
    #[track_caller]
    pub fn connect_tls(addr: SocketAddr, config: &ClientConfig) -> Frames {
        let mut config = config.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Frames::greet(Peer::connect_tls(addr, &Arc::new(config), "wire.test"))
    }

    #[track_caller]
    fn greet(peer: Peer) -> Frames {
        let mut frames = Frames { peer };
        frames.send([PREFACE, &settings(&[])].concat());
        let first = frames.next().expect("a connection preface");
        assert_eq!((first.kind, first.flags), (kind::SETTINGS, flag::NONE), "RFC 9113 §3.4");
        frames
    }

    /// Sends, unless the connection is over.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.peer.try_send(bytes); // what became of it is for the reading to tell
    }

    /// The next frame; `None` when the connection has ended.
    #[track_caller]
    pub fn next(&mut self) -> Option<Frame> {
        let head = self.peer.try_exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = self.peer.try_exactly(usize::try_from(length).unwrap())?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame.kind == kind::SETTINGS && frame.flags & flag::ACK == 0 {
            self.send(self::frame(kind::SETTINGS, flag::ACK, 0, []));
        }
        Some(frame)
    }

    /// The frames up to the first that `wanted` accepts, which is the last of them; all, if the connection ends before.
    #[track_caller]
    pub fn until(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next() {
            let found = wanted(&frame);
            frames.push(frame);
            if found {
                break;
            }
        }
        frames
    }

    /// What came until a PING of ours was answered, and whether it was: everything that was due before it.
    #[track_caller]
    pub fn barrier(&mut self) -> (Vec<Frame>, bool) {
        const BARRIER: &[u8; 8] = b"barrier.";
        self.send(ping(BARRIER));
        let mut frames = self.until(|frame| frame.kind == kind::PING && frame.payload == BARRIER);
        let answered = frames.pop_if(|frame| frame.kind == kind::PING && frame.payload == BARRIER).is_some();
        (frames, answered)
    }
}
