//! `/bytes/N` and `/chunked/N`: as many bytes as asked for, the same ones every time.

use super::bounds::{BLOCK_BYTES, CONTENT_BYTES_MAX};
use super::exchange::Exchange;
use super::fault::Fault;
use super::query;
use super::reply::{OCTETS, Reply};

/// One line of the content; its length divides a block, so every block is the same.
const LINE: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
static BLOCK: [u8; BLOCK_BYTES] = block();

const _: () = assert!(BLOCK_BYTES.is_multiple_of(LINE.len()));

/// Serves `/bytes/N`, framed by Content-Length.
pub(super) fn serve_length(exchange: &mut Exchange<'_>, argument: &str) -> Result<(), Fault> {
    let length = content_length(argument)?;
    let reply = Reply::new(200, OCTETS);
    if length <= BLOCK_BYTES as u64 {
        return exchange.answer(&reply, content(length));
    }
    exchange.open_length(&reply, length)?;
    if exchange.request().is_head() { Ok(()) } else { in_blocks(length, |block| exchange.send_raw(block)) }
}

/// Serves `/chunked/N`.
pub(super) fn serve_chunked(exchange: &mut Exchange<'_>, argument: &str) -> Result<(), Fault> {
    let length = content_length(argument)?;
    exchange.open_stream(&Reply::new(200, OCTETS))?;
    if !exchange.request().is_head() {
        in_blocks(length, |block| exchange.send(block))?;
    }
    exchange.finish()
}

/// The first bytes of the content, at most a block of them.
pub(super) fn content(bytes: u64) -> &'static [u8] {
    let bytes = usize::try_from(bytes).unwrap_or(BLOCK_BYTES);
    BLOCK.get(..bytes).unwrap_or(&BLOCK)
}

fn content_length(argument: &str) -> Result<u64, Fault> {
    query::number("N", argument, 0..=CONTENT_BYTES_MAX)
}

fn in_blocks(length: u64, mut send: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut left = length;
    while left > 0 {
        let block = content(left);
        send(block)?;
        left -= block.len() as u64;
    }
    Ok(())
}

/// Computed by the compiler.
const fn block() -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut at = 0;
    while at < BLOCK_BYTES {
        block[at] = LINE[at % LINE.len()];
        at += 1;
    }
    block
}
