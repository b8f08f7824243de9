//! Streams: states, numbers, concurrency, and the frames that belong to one.

use super::BODY;
use super::case::{Case, case, continuation, data, get, head, post};
use crate::harness::frames::code::{
    CANCEL, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED,
};
use crate::harness::frames::flag::{END_HEADERS, END_STREAM, NONE, PADDED, PRIORITY, WHOLE};
use crate::harness::frames::{frame, kind, literal, request, reset, settings, window};

const INITIAL_WINDOW_SIZE: u16 = 4;
const ALL: usize = BODY.len();

/// All of them.
pub fn cases() -> Vec<Case> {
    let groups = [
        idle(),
        half_closed(),
        closed(),
        numbers(),
        bodies(),
        heads(),
        priorities(),
        resets(),
        blocks(),
        windows(),
    ];
    groups.into_iter().flatten().collect()
}

/// A `GET` whose response cannot end, because it has no window.
fn stalled(name: &'static str) -> Case {
    case(name).send(settings(&[(INITIAL_WINDOW_SIZE, 0)])).send(get(1)).until(kind::HEADERS)
}

/// A `GET` that is over.
fn over(name: &'static str) -> Case {
    case(name).send(get(1)).until_end(1)
}

/// A `POST` that its client has reset.
fn dropped(name: &'static str) -> Case {
    case(name).send(post(1)).send(reset(1, CANCEL))
}

/// A dependency on `stream` (RFC 7540 §5.3), which §5.3.2 still has a receiver read.
fn dependency(stream: u32, weight: u8) -> Vec<u8> {
    [&stream.to_be_bytes()[..], &[weight]].concat()
}

fn priority(stream: u32, on: u32, weight: u8) -> Vec<u8> {
    frame(kind::PRIORITY, NONE, stream, dependency(on, weight))
}

fn idle() -> Vec<Case> {
    vec![
        case("§5.1 idle: DATA").send(data(1, END_STREAM, "test")).dies(PROTOCOL_ERROR),
        case("§5.1 idle: RST_STREAM").send(reset(1, CANCEL)).dies(PROTOCOL_ERROR),
        case("§5.1 idle: WINDOW_UPDATE").send(window(1, 100)).dies(PROTOCOL_ERROR),
        case("§5.1 idle: CONTINUATION")
            .send(continuation(1, END_HEADERS, request("GET", "/")))
            .dies(PROTOCOL_ERROR),
        case("§5.1 idle: PRIORITY").send(priority(1, 0, 255)).changes_nothing(),
        case("§5.1 idle, of the server's: WINDOW_UPDATE").send(window(2, 100)).dies(PROTOCOL_ERROR),
        case("§5.1 idle, of the server's: DATA").send(data(2, NONE, "test")).dies(PROTOCOL_ERROR),
    ]
}

fn half_closed() -> Vec<Case> {
    vec![
        stalled("§5.1 half-closed: DATA").send(data(1, END_STREAM, "test")).ends_or_resets(1, STREAM_CLOSED),
        stalled("§5.1 half-closed: HEADERS")
            .send(head(1, WHOLE, literal("x-late", "1")))
            .ends_or_resets(1, STREAM_CLOSED),
        stalled("§5.1 half-closed: CONTINUATION")
            .send(continuation(1, END_HEADERS, literal("x-late", "1")))
            .dies(PROTOCOL_ERROR),
        stalled("§5.1 half-closed: WINDOW_UPDATE").send(window(1, 1)).yields(1, 1),
        stalled("§5.1 half-closed: PRIORITY").send(priority(1, 0, 255)).send(window(1, 1)).yields(1, 1),
        stalled("§5.1 half-closed: RST_STREAM").send(reset(1, CANCEL)).changes_nothing(),
    ]
}

fn closed() -> Vec<Case> {
    vec![
        over("§5.1 closed: DATA").send(data(1, END_STREAM, "test")).ends_or_resets(1, STREAM_CLOSED),
        over("§5.1 closed: HEADERS").send(get(1)).ends_or_resets(1, STREAM_CLOSED),
        over("§5.1 closed: CONTINUATION")
            .send(continuation(1, END_HEADERS, literal("x-late", "1")))
            .dies(PROTOCOL_ERROR),
        over("§5.1 closed: PRIORITY").send(priority(1, 0, 255)).changes_nothing(),
        over("§5.1 closed: WINDOW_UPDATE").send(window(1, 100)).changes_nothing(),
        over("§5.1 closed: RST_STREAM").send(reset(1, CANCEL)).changes_nothing(),
        dropped("§5.1 after RST_STREAM: DATA")
            .send(data(1, END_STREAM, "test"))
            .ends_or_resets(1, STREAM_CLOSED),
        dropped("§5.1 after RST_STREAM: HEADERS")
            .send(head(1, WHOLE, literal("x-late", "1")))
            .ends_or_resets(1, STREAM_CLOSED),
        dropped("§5.1 after RST_STREAM: CONTINUATION")
            .send(continuation(1, END_HEADERS, literal("x-late", "1")))
            .dies(PROTOCOL_ERROR),
        dropped("§5.1 after RST_STREAM: PRIORITY").send(priority(1, 0, 255)).changes_nothing(),
        dropped("§5.1 after RST_STREAM: WINDOW_UPDATE").send(window(1, 100)).changes_nothing(),
        dropped("§5.1 after RST_STREAM: the next stream").send(get(3)).answers(3, 200),
    ]
}

fn numbers() -> Vec<Case> {
    let hundred: Vec<u8> = (0..=100).flat_map(|i| get(2 * i + 1)).collect();
    vec![
        case("§5.1.1 a stream of an even number").send(get(2)).dies(PROTOCOL_ERROR),
        case("§5.1.1 a stream of a lower number than one before")
            .send(get(5))
            .send(get(3))
            .ends_or_resets(3, PROTOCOL_ERROR),
        case("§5.1.1 numbers may be left out")
            .send(get(5))
            .until_end(5)
            .send(get(99))
            .until_end(99)
            .changes_nothing(),
        case("§5.1.2 one stream too many")
            .send(settings(&[(INITIAL_WINDOW_SIZE, 0)]))
            .send(hundred)
            .resets(201, REFUSED_STREAM),
        case("§5.1.1 a request on stream 0").send(get(0)).dies(PROTOCOL_ERROR),
    ]
}

fn bodies() -> Vec<Case> {
    vec![
        case("§6.1 DATA").send(post(1)).send(data(1, END_STREAM, "test")).answers(1, 200),
        case("§6.1 DATA in pieces")
            .send(post(1))
            .send(data(1, NONE, "te"))
            .send(data(1, NONE, ""))
            .send(data(1, END_STREAM, "st"))
            .answers(1, 200),
        case("§6.1 padded DATA")
            .send(post(1))
            .send(data(1, END_STREAM | PADDED, b"\x06test\0\0\0\0\0\0"))
            .answers(1, 200),
        case("§6.1 DATA of nothing but padding")
            .send(post(1))
            .send(data(1, END_STREAM | PADDED, b"\x03\0\0\0"))
            .answers(1, 200),
        case("§6.1 DATA on stream 0").send(data(0, NONE, "test")).dies(PROTOCOL_ERROR),
        case("§6.1 padding as long as the payload")
            .send(post(1))
            .send(data(1, END_STREAM | PADDED, b"\x05test"))
            .dies(PROTOCOL_ERROR),
        case("§6.1 padded DATA without a length of padding")
            .send(post(1))
            .send(data(1, END_STREAM | PADDED, b""))
            .dies_vaguely(FRAME_SIZE_ERROR),
    ]
}

fn heads() -> Vec<Case> {
    let get = request("GET", "/");
    vec![
        case("§6.2 padded HEADERS")
            .send(head(1, WHOLE | PADDED, [&[6][..], &get, &[0; 6]].concat()))
            .answers(1, 200),
        case("§6.2 HEADERS with a priority")
            .send(head(1, WHOLE | PRIORITY, [dependency(0, 255), get.clone()].concat()))
            .answers(1, 200),
        case("§6.2 padded HEADERS with a priority")
            .send(head(1, WHOLE | PRIORITY | PADDED, [&[1][..], &dependency(0, 9), &get, &[0]].concat()))
            .answers(1, 200),
        case("§6.2 HEADERS on stream 0").send(head(0, WHOLE, &get)).dies(PROTOCOL_ERROR),
        case("§6.2 padding longer than the payload")
            .send(head(1, WHOLE | PADDED, [&[0xff][..], &get].concat()))
            .dies(PROTOCOL_ERROR),
        case("§6.2 HEADERS too short for their priority")
            .send(head(1, WHOLE | PRIORITY, [0, 0, 0]))
            .dies_vaguely(FRAME_SIZE_ERROR),
        case("RFC 7540 §5.3.1 HEADERS that depend on themselves")
            .send(head(1, WHOLE | PRIORITY, [dependency(1, 255), get].concat()))
            .resets(1, PROTOCOL_ERROR),
    ]
}

fn priorities() -> Vec<Case> {
    vec![
        case("§6.3 PRIORITY with the least weight").send(priority(1, 0, 0)).send(get(1)).answers(1, 200),
        case("§6.3 PRIORITY with the greatest weight").send(priority(1, 0, 255)).send(get(1)).answers(1, 200),
        case("§6.3 PRIORITY with a dependency").send(priority(3, 1, 0)).send(get(1)).answers(1, 200),
        case("§6.3 PRIORITY that is exclusive").send(priority(1, 1 << 31, 0)).send(get(1)).answers(1, 200),
        case("§6.3 PRIORITY opens no stream").send(priority(9, 0, 255)).send(get(1)).answers(1, 200),
        case("§6.3 PRIORITY on stream 0").send(priority(0, 0, 255)).dies(PROTOCOL_ERROR),
        case("§6.3 PRIORITY of 4 bytes")
            .send(frame(kind::PRIORITY, NONE, 1, [0; 4]))
            .ends_or_resets(1, FRAME_SIZE_ERROR),
        case("RFC 7540 §5.3.1 PRIORITY on itself")
            .send(get(1))
            .send(priority(1, 1, 255))
            .ends_or_resets(1, PROTOCOL_ERROR),
    ]
}

fn resets() -> Vec<Case> {
    vec![
        case("§6.4 RST_STREAM").send(post(1)).send(reset(1, CANCEL)).changes_nothing(),
        case("§6.4 RST_STREAM on stream 0").send(reset(0, CANCEL)).dies(PROTOCOL_ERROR),
        case("§6.4 RST_STREAM of 3 bytes")
            .send(post(1))
            .send(frame(kind::RST_STREAM, NONE, 1, [0; 3]))
            .dies_vaguely(FRAME_SIZE_ERROR),
        case("§7 RST_STREAM with an unknown code").send(post(1)).send(reset(1, 0xff)).changes_nothing(),
    ]
}

fn blocks() -> Vec<Case> {
    let more = || literal("x-more", "1");
    let begun = |name| case(name).send(head(1, END_STREAM, request("GET", "/")));
    vec![
        begun("§6.10 CONTINUATION").send(continuation(1, END_HEADERS, more())).answers(1, 200),
        begun("§6.10 CONTINUATION, thrice")
            .send(continuation(1, NONE, more()))
            .send(continuation(1, NONE, more()))
            .send(continuation(1, END_HEADERS, more()))
            .answers(1, 200),
        begun("§6.10 CONTINUATION without anything").send(continuation(1, END_HEADERS, "")).answers(1, 200),
        case("§4.3 a field that is split between frames")
            .send(head(1, END_STREAM, &request("GET", "/")[..20]))
            .send(continuation(1, END_HEADERS, &request("GET", "/")[20..]))
            .answers(1, 200),
        begun("§4.3 PRIORITY within a header block").send(priority(1, 0, 255)).dies(PROTOCOL_ERROR),
        begun("§4.3 another stream's HEADERS within a header block").send(get(3)).dies(PROTOCOL_ERROR),
        begun("§6.10 CONTINUATION, then DATA")
            .send(continuation(1, NONE, more()))
            .send(data(1, END_STREAM, "test"))
            .dies(PROTOCOL_ERROR),
        begun("§6.10 CONTINUATION on stream 0")
            .send(continuation(0, END_HEADERS, more()))
            .dies(PROTOCOL_ERROR),
        begun("§6.10 CONTINUATION on another stream")
            .send(continuation(3, END_HEADERS, more()))
            .dies(PROTOCOL_ERROR),
        case("§6.10 CONTINUATION after END_HEADERS")
            .send(get(1))
            .send(continuation(1, END_HEADERS, more()))
            .dies(PROTOCOL_ERROR),
        begun("§6.10 CONTINUATION after CONTINUATION with END_HEADERS")
            .send(continuation(1, END_HEADERS, more()))
            .send(continuation(1, END_HEADERS, more()))
            .dies(PROTOCOL_ERROR),
        case("§6.10 CONTINUATION after DATA")
            .send(post(1))
            .send(data(1, END_STREAM, "test"))
            .send(continuation(1, END_HEADERS, more()))
            .dies(PROTOCOL_ERROR),
    ]
}

fn windows() -> Vec<Case> {
    let size = |bytes| settings(&[(INITIAL_WINDOW_SIZE, bytes)]);
    vec![
        case("§6.9 WINDOW_UPDATE of a stream").send(post(1)).send(window(1, 1)).changes_nothing(),
        case("§6.9 WINDOW_UPDATE of a stream by 0")
            .send(post(1))
            .send(window(1, 0))
            .ends_or_resets(1, PROTOCOL_ERROR),
        case("§6.9.1 a stream's window of 1").send(size(1)).send(get(1)).yields(1, 1),
        case("§6.9.1 a stream's window beyond 2^31-1")
            .send(post(1))
            .send(window(1, u32::MAX >> 1))
            .send(window(1, u32::MAX >> 1))
            .resets(1, FLOW_CONTROL_ERROR),
        stalled("§6.9.2 a window that SETTINGS open").send(size(1)).yields(1, 1),
        case("§6.9.2 a window that SETTINGS make negative")
            .send(size(3))
            .send(get(1))
            .until(kind::DATA)
            .send(size(2))
            .until(kind::SETTINGS)
            .send(window(1, 2))
            .yields(1, 4),
        case("§6.9.2 SETTINGS that make a window too large")
            .send(size(1))
            .send(post(1))
            .send(window(1, (u32::MAX >> 1) - 1))
            .send(size(2))
            .dies(FLOW_CONTROL_ERROR),
        stalled("§6.9.1 a stalled stream ends when its window opens").send(window(1, 100)).yields(1, ALL),
        stalled("§6.9 a stalled stream holds up no other")
            .send(window(1, 0x7fff))
            .send(get(3))
            .send(window(3, 100))
            .until_end(3)
            .changes_nothing(),
    ]
}
