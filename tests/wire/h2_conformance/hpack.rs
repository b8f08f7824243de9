//! Header compression: all representations are understood, and what cannot be decoded ends the connection with
//! COMPRESSION_ERROR (RFC 9113 §4.3).

use super::case::{Case, case, continuation, get, head};
use crate::harness::frames::code::COMPRESSION_ERROR;
use crate::harness::frames::flag::{END_HEADERS, END_STREAM, WHOLE};
use crate::harness::frames::{integer, request, string};

/// Indices of the static table (RFC 7541, appendix A).
const USER_AGENT: usize = 58;
const FIRST_DYNAMIC: usize = 62;

/// `x-test` and `h2`, Huffman-coded.
const X_TEST: &[u8] = b"\x85\xf2\xb2\x4a\x84\xff";

/// All of them.
pub fn cases() -> Vec<Case> {
    [understood(), refused()].into_iter().flatten().collect()
}

/// `GET` with something behind its pseudo-fields.
fn with(tail: impl AsRef<[u8]>) -> Vec<u8> {
    head(1, WHOLE, [&request("GET", "/"), tail.as_ref()].concat())
}

/// `GET` with something before.
fn behind(front: impl AsRef<[u8]>) -> Vec<u8> {
    head(1, WHOLE, [front.as_ref(), &request("GET", "/")].concat())
}

fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

fn size_update(size: usize) -> Vec<u8> {
    integer(0x20, 5, size)
}

fn understood() -> Vec<Case> {
    let named = |pattern: u8, bits: u32| [integer(pattern, bits, USER_AGENT), string("test")].concat();
    let new = |pattern: u8| [vec![pattern], string("x-test"), string("test")].concat();
    let huffman = |pattern: u8| [&[pattern][..], X_TEST, &string("test")].concat();
    vec![
        case("RFC 7541 §6.1 indexed, static table").send(with(indexed(USER_AGENT))).answers(1, 200),
        case("RFC 7541 §6.1 a request out of the static table alone")
            .send(head(1, WHOLE, b"\x82\x86\x84\x41\x09wire.test"))
            .answers(1, 200),
        case("RFC 7541 §6.2.1 with indexing, indexed name").send(with(named(0x40, 6))).answers(1, 200),
        case("RFC 7541 §6.2.1 with indexing, new name").send(with(new(0x40))).answers(1, 200),
        case("RFC 7541 §6.2.1 with indexing, Huffman").send(with(huffman(0x40))).answers(1, 200),
        case("RFC 7541 §6.2.2 without indexing, indexed name").send(with(named(0, 4))).answers(1, 200),
        case("RFC 7541 §6.2.2 without indexing, new name").send(with(new(0))).answers(1, 200),
        case("RFC 7541 §6.2.2 without indexing, Huffman").send(with(huffman(0))).answers(1, 200),
        case("RFC 7541 §6.2.3 never indexed, indexed name").send(with(named(0x10, 4))).answers(1, 200),
        case("RFC 7541 §6.2.3 never indexed, new name").send(with(new(0x10))).answers(1, 200),
        case("RFC 7541 §6.2.3 never indexed, Huffman").send(with(huffman(0x10))).answers(1, 200),
        case("RFC 7541 §2.3.2 an entry of the dynamic table, in its own block")
            .send(with([new(0x40), indexed(FIRST_DYNAMIC)].concat()))
            .answers(1, 200),
        case("RFC 7541 §2.3.2 an entry of the dynamic table, in the next block")
            .send(with(new(0x40)))
            .until_end(1)
            .send(head(3, WHOLE, [request("GET", "/"), indexed(FIRST_DYNAMIC)].concat()))
            .until_end(3)
            .changes_nothing(),
        case("RFC 7541 §2.2 a refused request's entries are in the table")
            .send(head(
                1,
                WHOLE,
                [request("GET", "/"), b"\x40\x0aconnection\x01x".to_vec(), new(0x40)].concat(),
            ))
            .until(crate::harness::frames::kind::RST_STREAM)
            .send(head(3, WHOLE, [request("GET", "/"), indexed(FIRST_DYNAMIC)].concat()))
            .answers(3, 200),
        case("RFC 7541 §4.4 an entry too large empties the table")
            .send(with([new(0x40), vec![0x40], string("x-large"), string("x".repeat(5000))].concat()))
            .answers(1, 200),
        case("RFC 7541 §6.3 a table of 0").send(behind(size_update(0))).answers(1, 200),
        case("RFC 7541 §4.2 a table of 0, then of 4096")
            .send(behind([size_update(0), size_update(4096)].concat()))
            .answers(1, 200),
        case("RFC 7541 §5.2 an empty value").send(with(b"\x00\x06x-test\x00")).answers(1, 200),
        case("RFC 7541 §5.1 an integer with needless zeros")
            .send(with(
                [0x00, 0x7f, 0x80, 0x00].iter().copied().chain([b'x'; 127]).chain([0]).collect::<Vec<u8>>(),
            ))
            .answers(1, 200),
        case("§4.3 a block in frames of one byte each, within bounds")
            .send(head(1, END_STREAM, &request("GET", "/")[..1]))
            .send(continuation(1, 0, &request("GET", "/")[1..2]))
            .send(continuation(1, 0, &request("GET", "/")[2..3]))
            .send(continuation(1, END_HEADERS, &request("GET", "/")[3..]))
            .answers(1, 200),
    ]
}

fn refused() -> Vec<Case> {
    let refused: [(&'static str, Vec<u8>); 14] = [
        ("RFC 7541 §6.1 index 0", vec![0x80]),
        ("RFC 7541 §2.3.3 an index beyond both tables", indexed(126)),
        (
            "RFC 7541 §2.3.3 an index beyond both tables, of 32 bits",
            indexed(usize::try_from(u32::MAX).unwrap()),
        ),
        (
            "RFC 7541 §2.3.3 a name's index beyond both tables",
            [integer(0x40, 6, 126), string("test")].concat(),
        ),
        ("RFC 7541 §4.2 a table's size at the end of a block", size_update(1)),
        ("RFC 7541 §5.1 an integer without an end", vec![0xff; 12]),
        ("RFC 7541 §5.1 an integer that breaks off", vec![0xff]),
        ("RFC 7541 §5.2 padding of more than 7 bits", [&[0], X_TEST, b"\x84\x49\x50\x9f\xff"].concat()),
        ("RFC 7541 §5.2 padding of zeros", [&[0], X_TEST, b"\x83\x49\x50\x90"].concat()),
        ("RFC 7541 §5.2 the symbol EOS", [&[0], X_TEST, b"\x87\xff\xff\xff\xfd\x25\x42\x7f"].concat()),
        ("RFC 7541 §5.2 a string longer than its block", b"\x00\x06x-test\x7ftest".to_vec()),
        ("RFC 7541 §5.2 a name longer than its block", b"\x00\x7fx-test".to_vec()),
        ("RFC 7541 §5.2 a field without a value", b"\x00\x06x-test".to_vec()),
        ("RFC 7541 §5.2 a string of 2^32 bytes", [&b"\x00\x06x-test"[..], &integer(0, 7, 1 << 32)].concat()),
    ];
    let refused =
        refused.into_iter().map(|(name, tail)| case(name).send(with(tail)).dies_vaguely(COMPRESSION_ERROR));
    let sizes = [
        case("RFC 7541 §6.3 a table larger than SETTINGS_HEADER_TABLE_SIZE")
            .send(behind(size_update(4097)))
            .dies_vaguely(COMPRESSION_ERROR),
        case("RFC 7541 §4.2 an entry that the table's size has evicted")
            .send(with([vec![0x40], string("x-test"), string("test")].concat()))
            .until_end(1)
            .send(head(3, WHOLE, [size_update(0), request("GET", "/"), indexed(FIRST_DYNAMIC)].concat()))
            .dies_vaguely(COMPRESSION_ERROR),
        case("RFC 7541 §2.2 tables are of one connection")
            .send(get(1))
            .until_end(1)
            .send(head(3, WHOLE, [request("GET", "/"), indexed(FIRST_DYNAMIC)].concat()))
            .dies_vaguely(COMPRESSION_ERROR),
    ];
    refused.chain(sizes).collect()
}
