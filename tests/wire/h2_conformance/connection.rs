//! The connection: preface, frame format and size, settings, pings, errors.

use super::case::{Case, case, continuation, data, get, head, post};
use crate::harness::frames::code::{COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};
use crate::harness::frames::flag::{ACK, END_HEADERS, END_STREAM, NONE, WHOLE};
use crate::harness::frames::{frame, kind, literal, ping, request, settings, window};

/// Settings (§6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// All of them.
pub fn cases() -> Vec<Case> {
    [format(), sizes(), settings_frames(), pings(), goaways(), connection_window()]
        .into_iter()
        .flatten()
        .collect()
}

fn format() -> Vec<Case> {
    vec![
        case("§3.4 preface, then a request").send(get(1)).answers(1, 200),
        case("§4.1 a frame of unknown type").send(frame(0x42, NONE, 0, [0; 8])).changes_nothing(),
        case("§4.1 a frame of unknown type on an idle stream")
            .send(frame(0x42, 0xff, 7, [0; 8]))
            .changes_nothing(),
        case("§4.1 undefined flags on PING").send(frame(kind::PING, 0x16, 0, [0; 8])).changes_nothing(),
        case("§4.1 undefined flags on HEADERS")
            .send(head(1, WHOLE | 0x40 | 0x80 | 0x02, request("GET", "/")))
            .answers(1, 200),
        case("§4.1 the reserved bit of a stream's number")
            .send(frame(kind::PING, NONE, 1 << 31, [0; 8]))
            .changes_nothing(),
        case("§4.1 the reserved bit on HEADERS")
            .send(head(1 | 1 << 31, WHOLE, request("GET", "/")))
            .answers(1, 200),
        case("§5.5 an extension frame within a header block")
            .send(head(1, END_STREAM, request("GET", "/")))
            .send(frame(0x42, NONE, 0, [0; 8]))
            .send(continuation(1, END_HEADERS, literal("x-a", "b")))
            .dies(PROTOCOL_ERROR),
        case("§5.4.1 after GOAWAY the connection is closed")
            .send(frame(kind::PING, NONE, 3, [0; 8]))
            .dies(PROTOCOL_ERROR),
        case("§8.4 PUSH_PROMISE by a client")
            .send(post(1))
            .send(frame(
                kind::PUSH_PROMISE,
                END_HEADERS,
                1,
                [&[0, 0, 0, 2], &request("GET", "/")[..]].concat(),
            ))
            .dies(PROTOCOL_ERROR),
    ]
}

fn sizes() -> Vec<Case> {
    let large = |length: usize| literal("x-large", "x".repeat(length));
    vec![
        case("§4.2 DATA of 2^14 bytes").send(post(1)).send(data(1, END_STREAM, [0; 1 << 14])).answers(1, 200),
        case("§4.2 HEADERS of nearly 2^14 bytes")
            .send(head(1, WHOLE, [request("GET", "/"), large(16_000)].concat()))
            .answers(1, 200),
        case("§4.2 DATA beyond SETTINGS_MAX_FRAME_SIZE")
            .send(post(1))
            .send(data(1, END_STREAM, [0; (1 << 14) + 1]))
            .dies(FRAME_SIZE_ERROR),
        case("§4.2 HEADERS beyond SETTINGS_MAX_FRAME_SIZE")
            .send(head(1, WHOLE, [request("GET", "/"), large(1 << 14)].concat()))
            .dies(FRAME_SIZE_ERROR),
        case("§4.2 an unknown frame beyond SETTINGS_MAX_FRAME_SIZE")
            .send(frame(0x42, NONE, 0, [0; (1 << 14) + 1]))
            .dies(FRAME_SIZE_ERROR),
        case("§6.5.2 a header list beyond SETTINGS_MAX_HEADER_LIST_SIZE")
            .send(head(1, END_STREAM, [request("GET", "/"), large(16_000)].concat()))
            .send(continuation(1, NONE, large(16_000)))
            .send(continuation(1, END_HEADERS, large(8_000)))
            .answers(1, 431),
        case("§4.3 a header block that breaks off")
            .send(head(1, WHOLE, [0x40]))
            .dies_vaguely(COMPRESSION_ERROR),
    ]
}

fn settings_frames() -> Vec<Case> {
    vec![
        case("§6.5 SETTINGS").send(settings(&[])).gets_acknowledged(),
        case("§6.5 SETTINGS of every known parameter")
            .send(settings(&[
                (HEADER_TABLE_SIZE, 100),
                (ENABLE_PUSH, 0),
                (MAX_CONCURRENT_STREAMS, 10),
                (INITIAL_WINDOW_SIZE, 1000),
                (MAX_FRAME_SIZE, 1 << 20),
                (MAX_HEADER_LIST_SIZE, 5000),
            ]))
            .gets_acknowledged(),
        case("§6.5 an acknowledgement with a payload")
            .send(frame(kind::SETTINGS, ACK, 0, [0, 4, 0, 0, 0, 1]))
            .dies_vaguely(FRAME_SIZE_ERROR),
        case("§6.5 SETTINGS on a stream").send(frame(kind::SETTINGS, NONE, 1, [])).dies(PROTOCOL_ERROR),
        case("§6.5 SETTINGS of a length that is no multiple of 6")
            .send(frame(kind::SETTINGS, NONE, 0, [0, 3, 0]))
            .dies_vaguely(FRAME_SIZE_ERROR),
        case("§6.5.2 ENABLE_PUSH of 2").send(settings(&[(ENABLE_PUSH, 2)])).dies(PROTOCOL_ERROR),
        case("§6.5.2 INITIAL_WINDOW_SIZE of 2^31")
            .send(settings(&[(INITIAL_WINDOW_SIZE, 1 << 31)]))
            .dies_vaguely(FLOW_CONTROL_ERROR),
        case("§6.5.2 MAX_FRAME_SIZE below 2^14")
            .send(settings(&[(MAX_FRAME_SIZE, (1 << 14) - 1)]))
            .dies(PROTOCOL_ERROR),
        case("§6.5.2 MAX_FRAME_SIZE above 2^24-1")
            .send(settings(&[(MAX_FRAME_SIZE, 1 << 24)]))
            .dies(PROTOCOL_ERROR),
        case("RFC 8441 §3 ENABLE_CONNECT_PROTOCOL of 2")
            .send(settings(&[(ENABLE_CONNECT_PROTOCOL, 2)]))
            .dies(PROTOCOL_ERROR),
        case("§6.5.2 an unknown parameter").send(settings(&[(0xfe, 1)])).gets_acknowledged(),
        case("§6.5.3 two values for one parameter: the last holds")
            .send(settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]))
            .send(get(1))
            .yields(1, 1),
        case("§6.5.2 responses obey a HEADER_TABLE_SIZE of 0")
            .send(settings(&[(HEADER_TABLE_SIZE, 0)]))
            .until(kind::SETTINGS)
            .send(get(1))
            .until_end(1)
            .changes_nothing(),
    ]
}

fn pings() -> Vec<Case> {
    vec![
        case("§6.7 PING is answered").send(ping(b"12345678")).until(kind::PING).changes_nothing(),
        case("§6.7 an acknowledgement is not answered")
            .send(frame(kind::PING, ACK, 0, b"12345678"))
            .changes_nothing(),
        case("§6.7 PING on a stream").send(frame(kind::PING, NONE, 1, [0; 8])).dies(PROTOCOL_ERROR),
        case("§6.7 PING of 6 bytes").send(frame(kind::PING, NONE, 0, [0; 6])).dies_vaguely(FRAME_SIZE_ERROR),
        case("§6.7 PING of 9 bytes").send(frame(kind::PING, NONE, 0, [0; 9])).dies_vaguely(FRAME_SIZE_ERROR),
    ]
}

fn goaways() -> Vec<Case> {
    let goaway = |stream: u32, code: u32| {
        frame(kind::GOAWAY, NONE, stream, [0u32.to_be_bytes(), code.to_be_bytes()].concat())
    };
    vec![
        case("§6.8 GOAWAY with NO_ERROR").send(goaway(0, 0)).closes(),
        case("§6.8 a response is finished after the client's GOAWAY")
            .send(get(1))
            .send(goaway(0, 0))
            .finishes(1),
        case("§6.8 GOAWAY on a stream").send(goaway(1, 0)).dies(PROTOCOL_ERROR),
        case("§6.8 GOAWAY of 4 bytes")
            .send(frame(kind::GOAWAY, NONE, 0, [0; 4]))
            .dies_vaguely(FRAME_SIZE_ERROR),
        case("§7 GOAWAY with an unknown code").send(goaway(0, 0xff)).closes(),
    ]
}

fn connection_window() -> Vec<Case> {
    vec![
        case("§6.9 WINDOW_UPDATE of the connection").send(window(0, 1)).changes_nothing(),
        case("§6.9 WINDOW_UPDATE of the connection by 0").send(window(0, 0)).dies(PROTOCOL_ERROR),
        case("§6.9 WINDOW_UPDATE of 3 bytes")
            .send(frame(kind::WINDOW_UPDATE, NONE, 0, [0; 3]))
            .dies_vaguely(FRAME_SIZE_ERROR),
        case("§6.9.1 the connection's window beyond 2^31-1")
            .send(window(0, u32::MAX >> 1))
            .send(window(0, u32::MAX >> 1))
            .dies(FLOW_CONTROL_ERROR),
        case("§6.9.1 the connection's window, exactly full")
            .send(window(0, (u32::MAX >> 1) - 65_535))
            .changes_nothing(),
    ]
}
