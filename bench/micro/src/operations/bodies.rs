//! Bodies: chunks decoded and made.
//!
//! A decoder compacts the payload in the buffer that it was read into, so every turn starts with a copy of the
//! coded body, as a read would. `body-copy-64k` is that copy alone.

use std::hint::black_box;

use ringress::h1::{BodyEncoder, Framing};
use ringress::proxy::flow::{Flow, Outgoing};

use super::{Heap, Operation};

/// Payload of every body here.
const BODY_BYTES: usize = 64 * 1024;
/// An event, or a line of a log.
const SMALL_CHUNK_BYTES: usize = 64;
/// As much as a server writes at once.
const LARGE_CHUNK_BYTES: usize = 16 * 1024;

/// The operations on bodies.
///
/// # Errors
/// A decoder does not give back what was encoded.
pub fn operations() -> Result<Vec<Operation>, String> {
    Ok(vec![
        copies(),
        decodes(
            "chunks-decode-small",
            "64 KiB in 1 024 chunks decoded, and copied before",
            Heap::Never,
            encoded(SMALL_CHUNK_BYTES, b""),
        )?,
        decodes(
            "chunks-decode-large",
            "64 KiB in 4 chunks decoded, and copied before",
            Heap::Never,
            encoded(LARGE_CHUNK_BYTES, b""),
        )?,
        decodes(
            "chunks-decode-trailers",
            "the same with a trailer",
            Heap::Allowed,
            encoded(LARGE_CHUNK_BYTES, b"Digest: sha-256=abc\r\n"),
        )?,
        encodes(),
    ])
}

/// A body of [`BODY_BYTES`] in chunks, made by the encoder itself.
fn encoded(chunk_bytes: usize, trailers: &[u8]) -> Vec<u8> {
    let payload = vec![b'x'; BODY_BYTES];
    let (mut encoder, mut out) = (BodyEncoder::Chunked, Vec::new());
    for chunk in payload.chunks(chunk_bytes) {
        out.extend_from_slice(encoder.prefix(chunk.len()).as_slice());
        out.extend_from_slice(chunk);
        out.extend_from_slice(encoder.suffix());
    }
    encoder.finish(trailers, &mut out);
    out
}

fn copies() -> Operation {
    let (coded, mut buf) = (vec![b'x'; BODY_BYTES], vec![0; BODY_BYTES]);
    Operation::hot("body-copy-64k", "64 KiB copied, for comparison", move || {
        buf.copy_from_slice(black_box(&coded));
        black_box(&mut buf);
    })
}

fn decodes(name: &'static str, what: &'static str, heap: Heap, coded: Vec<u8>) -> Result<Operation, String> {
    let mut buf = coded.clone();
    if decode(&mut buf) != Some(BODY_BYTES) {
        return Err(format!("{name}: not the payload that was encoded"));
    }
    Ok(Operation::new(name, what, heap, move || {
        buf.copy_from_slice(black_box(&coded));
        black_box(decode(black_box(&mut buf)));
    }))
}

/// The payload bytes of a whole chunked body.
fn decode(buf: &mut [u8]) -> Option<usize> {
    let mut flow = Flow::new(Framing::Chunked, Outgoing::Same);
    let piece = flow.accept(buf).ok()?;
    piece.done.then_some(piece.payload)
}

fn encodes() -> Operation {
    let mut out = Vec::with_capacity(64);
    let mut encoder = BodyEncoder::Chunked;
    Operation::hot("chunk-encode", "what goes around a chunk of 1 460 B made", move || {
        out.clear();
        out.extend_from_slice(encoder.prefix(black_box(1460)).as_slice());
        out.extend_from_slice(encoder.suffix());
        black_box(&mut out);
    })
}
