//! Just enough of HTTP/2 (RFC 9113) for both ends of the bench: frames, and heads that need no HPACK state to be
//! understood. What no proxy of the bench sends (padding, priority, pushes) is refused.

use crate::limits::{CONNECTION_WINDOW, FRAME_BYTES_MAX, STREAM_WINDOW};

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The part of it that an HTTP/1.1 parser takes for no part of the head.
pub const PREFACE_REST: &[u8] = b"SM\r\n\r\n";
/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// RST_STREAM.
pub const RESET: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// END_STREAM of DATA and HEADERS, and ACK of SETTINGS and PING.
pub const END: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED_OR_PRIORITY: u8 = 0x28;
/// SETTINGS_INITIAL_WINDOW_SIZE.
pub const INITIAL_WINDOW: u16 = 4;
const HEADER_BYTES: usize = 9;

/// One frame.
pub struct Frame<'a> {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: &'a [u8],
}

/// The other side sent what it must not, or what the bench does not understand.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

/// Calls `on` with every frame of what was carried over and what came, and carries over what is not whole.
///
/// # Errors
/// When a frame is too large, or `on` says so.
pub fn each(
    carry: &mut Vec<u8>,
    bytes: &[u8],
    mut on: impl FnMut(Frame<'_>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    if carry.is_empty() {
        let taken = all(bytes, &mut on)?;
        carry.extend_from_slice(bytes.get(taken..).unwrap_or_default());
    } else {
        carry.extend_from_slice(bytes);
        let taken = all(carry, &mut on)?;
        carry.drain(..taken);
    }
    Ok(())
}

/// Returns how many bytes whole frames took.
fn all(bytes: &[u8], on: &mut impl FnMut(Frame<'_>) -> Result<(), Broken>) -> Result<usize, Broken> {
    let mut taken = 0;
    while let Some((header, rest)) = bytes.get(taken..).and_then(|left| left.split_at_checked(HEADER_BYTES)) {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = header else { return Err(Broken) };
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if length > FRAME_BYTES_MAX || (kind <= HEADERS && flags & PADDED_OR_PRIORITY != 0) {
            return Err(Broken);
        }
        let Some(payload) = rest.get(..length) else { break };
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1);
        on(Frame { kind, flags, stream, payload })?;
        taken += HEADER_BYTES + length;
    }
    Ok(taken)
}

/// Appends a frame.
pub fn push(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, l0, l1, l2] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends a head that fits one frame.
pub fn push_head(out: &mut Vec<u8>, stream: u32, block: &[u8], end: bool) {
    push(out, HEADERS, END_HEADERS | if end { END } else { 0 }, stream, block);
}

/// Appends the grant of more bytes.
pub fn push_window(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    push(out, WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

/// Appends the first frames of either side: windows like a browser's, everything else as RFC 9113 has it.
pub fn push_greeting(out: &mut Vec<u8>) {
    let mut settings = INITIAL_WINDOW.to_be_bytes().to_vec();
    settings.extend_from_slice(&STREAM_WINDOW.to_be_bytes());
    push(out, SETTINGS, 0, 0, &settings);
    push_window(out, 0, CONNECTION_WINDOW - 65_535);
}

/// The settings of a SETTINGS frame.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).filter_map(|six| {
        let &[n0, n1, v0, v1, v2, v3] = six else { return None };
        Some((u16::from_be_bytes([n0, n1]), u32::from_be_bytes([v0, v1, v2, v3])))
    })
}

/// The number that a WINDOW_UPDATE carries.
#[must_use]
pub fn increment(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

/// Whether a response head says 200: every encoder there is has it at its place in the static table (RFC 7541
/// appendix A), and only changes of the table's size may stand before it.
#[must_use]
pub fn is_ok(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88)
}

/// The head blocks of the requests of a connection: of the first one, and of all others, which find the authority in
/// the dynamic table, as browsers have it.
#[must_use]
pub fn request(method: Method, target: &str) -> [Vec<u8>; 2] {
    let authority = "bench.test";
    [vec![0x41, authority.len() as u8], vec![0xbe]].map(|place| {
        // :scheme http, and :path as a literal that nobody keeps.
        let mut block = vec![method as u8, 0x86];
        literal(&mut block, 0x04, target);
        block.extend_from_slice(&place);
        if place.len() > 1 {
            block.extend_from_slice(authority.as_bytes());
        }
        if method == Method::Post {
            field(&mut block, "content-type", "application/grpc");
            field(&mut block, "te", "trailers");
        }
        block
    })
}

/// A method, as its place in the static table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get = 0x82,
    /// POST, of a gRPC call.
    Post = 0x83,
}

/// The head of a gRPC response.
#[must_use]
pub fn call_head() -> Vec<u8> {
    let mut block = vec![0x88];
    field(&mut block, "content-type", "application/grpc");
    block
}

/// The trailers of a gRPC response that went well.
#[must_use]
pub fn call_trailers() -> Vec<u8> {
    let mut block = Vec::new();
    field(&mut block, "grpc-status", "0");
    block
}

/// A literal field that nobody keeps (RFC 7541 §6.2.2).
fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    literal(block, 0x00, name);
    block.push(value.len() as u8);
    block.extend_from_slice(value.as_bytes());
}

/// A byte and a string below 127 bytes, without Huffman.
fn literal(block: &mut Vec<u8>, first: u8, text: &str) {
    block.extend_from_slice(&[first, text.len() as u8]);
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut bytes = Vec::new();
        push_greeting(&mut bytes);
        push_head(&mut bytes, 1, &[0x88], false);
        push(&mut bytes, DATA, END, 1, b"hello");
        for at in 0..=bytes.len() {
            let (mut carry, mut kinds) = (Vec::new(), Vec::new());
            for part in [&bytes[..at], &bytes[at..]] {
                let seen = each(&mut carry, part, |frame| {
                    kinds.push((frame.kind, frame.flags, frame.stream, frame.payload.len()));
                    Ok(())
                });
                assert_eq!(seen, Ok(()));
            }
            let greeting = [(SETTINGS, 0, 0, 6), (WINDOW_UPDATE, 0, 0, 4)];
            assert_eq!(
                kinds,
                [&greeting[..], &[(HEADERS, 4, 1, 1), (DATA, 1, 1, 5)]].concat(),
                "cut at {at}"
            );
            assert!(carry.is_empty());
        }
    }

    #[test]
    fn what_the_bench_does_not_understand_is_refused() {
        let mut padded = Vec::new();
        push(&mut padded, DATA, 0x8, 1, &[0]);
        assert_eq!(each(&mut Vec::new(), &padded, |_| Ok(())), Err(Broken));
        assert_eq!(each(&mut Vec::new(), &[0xff; HEADER_BYTES], |_| Ok(())), Err(Broken));
    }

    #[test]
    fn the_status_is_behind_changes_of_the_table() {
        assert!(is_ok(&[0x88]) && is_ok(&[0x20, 0x3f, 0x88, 0x54]));
        assert!(!is_ok(&[0x8d]) && !is_ok(&[]));
    }

    #[test]
    fn later_requests_are_shorter() {
        let [first, later] = request(Method::Get, "/bytes/100");
        assert_eq!(first, b"\x82\x86\x04\x0a/bytes/100\x41\x0abench.test");
        assert_eq!(later, b"\x82\x86\x04\x0a/bytes/100\xbe");
    }

    #[test]
    fn settings_and_increments() {
        let found: Vec<_> = settings(&[0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0]).collect();
        assert_eq!(found, [(3, 100), (INITIAL_WINDOW, 65_536)]);
        assert_eq!((increment(&[0, 0, 1, 0]), increment(&[1])), (Some(256), None));
    }
}
