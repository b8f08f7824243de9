//! Goal: every strictness rule refuses what it names, and no verdict depends on how the bytes were cut.
//! Method: the vectors run whole, cut in two at every byte, and byte by byte; the fuzz bodies replay them; then
//! generated heads and bodies, valid and mutated, are compared with the slow reference.

use super::error::{BodyError, HeadError};
use super::field::Fields;
use super::framing::Framing;
use super::fuzz::{Done, Outcome, decode, drip, fuzz_chunked, fuzz_request, fuzz_response};
use super::head::{Method, Parsed, RequestHead, ResponseHead, Version, parse_request, parse_response};
use super::reference;
use super::vectors::{BODIES, REQUESTS, RESPONSES};
use crate::limits::{CHUNK_LINE_BYTES_MAX, FIELDS_CEILING, FIELDS_MAX, MessageLimits, TRAILER_BYTES_MAX};
use proptest::prelude::*;

const LIMITS: MessageLimits = MessageLimits {
    head_bytes_max: 32 * 1024,
    fields_max: 100,
    target_bytes_max: 8 * 1024,
    body_bytes_max: None,
    allow_underscores: false,
};

/// The one verdict on `data`, however it is cut.
fn verdict<T: PartialEq + std::fmt::Debug>(
    name: &str,
    data: &[u8],
    parse: impl Fn(&[u8]) -> Result<Parsed<T>, HeadError>,
) -> Result<T, HeadError> {
    let whole = drip(data, std::iter::empty(), &parse).unwrap_or_else(|| panic!("{name}: no verdict"));
    for cut in 1..data.len() {
        assert_eq!(drip(data, [cut].into_iter(), &parse).as_ref(), Some(&whole), "{name}: cut at {cut}");
    }
    assert_eq!(drip(data, 1..data.len(), &parse).as_ref(), Some(&whole), "{name}: byte by byte");
    whole
}

fn request(data: &[u8]) -> RequestHead {
    match parse_request(data, &LIMITS, &mut Fields::new()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?}"),
    }
}

fn response(data: &[u8]) -> ResponseHead {
    match parse_response(data, &LIMITS, Method::Get, &mut Fields::new()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?}"),
    }
}

#[test]
fn request_vectors() {
    for &(name, data, expected) in REQUESTS {
        let parse = |buf: &[u8]| parse_request(buf, &LIMITS, &mut Fields::new());
        assert_eq!(verdict(name, data, parse).map(|head| head.framing), expected, "{name}");
        fuzz_request(data);
    }
}

#[test]
fn response_vectors() {
    for &(name, method, data, expected) in RESPONSES {
        let parse = |buf: &[u8]| parse_response(buf, &LIMITS, method, &mut Fields::new());
        assert_eq!(verdict(name, data, parse).map(|head| head.framing), expected, "{name}");
        fuzz_response(data);
    }
}

#[test]
fn body_vectors() {
    for &(name, data, expected) in BODIES {
        let expected = match expected {
            Err(error) => Outcome::Refused(error),
            Ok((payload, trailers)) => Outcome::Done(Done {
                payload: payload.as_bytes().to_vec(),
                consumed: data.len() - "NEXT".len(),
                trailers: trailers.as_bytes().to_vec(),
            }),
        };
        for piece in 1..=data.len() {
            assert_eq!(decode(data, piece, false), expected, "{name}: pieces of {piece}");
            assert_eq!(decode(data, piece, true), expected, "{name}: pieces of {piece}, skipping");
        }
        fuzz_chunked(&[&[2], data].concat());
    }
}

#[test]
fn a_body_that_ends_anywhere_is_unfinished() {
    for &(name, data, _) in BODIES.iter().filter(|(_, _, expected)| expected.is_ok()) {
        let body = data.strip_suffix(b"NEXT").unwrap();
        for end in 0..body.len() {
            assert_eq!(decode(&body[..end], usize::MAX, false), Outcome::Unfinished, "{name}: {end} bytes");
        }
    }
}

#[test]
fn garbage_is_refused_at_the_first_look() {
    let cases: &[&[u8]] = &[b"\x16\x03\x01", b"\0", b" ", b"\x80", b"{", b"<", b"\n"];
    for data in cases {
        assert!(parse_request(data, &LIMITS, &mut Fields::new()).is_err(), "{data:?}");
        assert!(parse_response(data, &LIMITS, Method::Get, &mut Fields::new()).is_err(), "{data:?}");
    }
}

#[test]
fn spans_of_a_request() {
    let data = b"\r\nPOST /a?b=c HTTP/1.1\r\nHost:  x.y:1 \r\nX-A:b\r\n\r\nrest";
    let mut fields = Fields::new();
    let Ok(Parsed::Complete(head)) = parse_request(data, &LIMITS, &mut fields) else { panic!("valid") };
    assert_eq!(head.method_span.of(data), b"POST");
    assert_eq!(head.target.of(data), b"/a?b=c");
    assert_eq!(head.path.of(data), b"/a?b=c");
    assert_eq!(head.path_prefix(data), b"");
    assert_eq!(head.authority.of(data), b"x.y:1");
    assert_eq!(head.bytes, data.len() - "rest".len());
    let named: Vec<_> = fields.iter().map(|field| (field.name.of(data), field.value.of(data))).collect();
    assert_eq!(named, [(b"Host" as &[u8], b"x.y:1" as &[u8]), (b"X-A", b"b")]);
}

#[test]
fn fields_are_refilled_not_reallocated() {
    let mut fields = Fields::with_capacity(4);
    let before = fields.as_ptr();
    for _ in 0..3 {
        let parsed = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n", &LIMITS, &mut fields);
        assert!(matches!(parsed, Ok(Parsed::Complete(_))));
        assert_eq!((fields.len(), fields.as_ptr()), (2, before));
    }
    assert_eq!(parse_request(b"GET", &LIMITS, &mut fields), Ok(Parsed::Partial));
    assert!(fields.is_empty());
}

#[test]
fn targets_to_forward() {
    let rows: &[(&str, &str, &str)] = &[
        ("GET /", "/", "a"),
        ("GET //b/c", "//b/c", "a"),
        ("GET /?http://b/", "/?http://b/", "a"),
        ("OPTIONS *", "*", "a"),
        ("GET http://a", "/", "a"),
        ("GET http://a/", "/", "a"),
        ("GET http://A:80/b?c", "/b?c", "A:80"),
        ("GET http://a?b/c", "/?b/c", "a"),
        ("OPTIONS http://a", "*", "a"),
        ("OPTIONS http://a/", "/", "a"),
        ("OPTIONS http://a?b", "/?b", "a"),
    ];
    for &(line, forwarded, authority) in rows {
        let data = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let head = request(&data);
        let path = [head.path_prefix(&data), head.path.of(&data)].concat();
        assert_eq!(String::from_utf8_lossy(&path), forwarded, "{line}");
        assert_eq!(String::from_utf8_lossy(head.authority.of(&data)), authority, "{line}");
    }
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").authority.of(b"GET / HTTP/1.0\r\n\r\n"), b"");
}

#[test]
fn persistence_expectation_and_upgrade_of_requests() {
    let rows: &[(&str, &str, [bool; 3])] = &[
        ("1.1", "", [true, false, false]),
        ("1.1", "Connection: close\r\n", [false, false, false]),
        ("1.1", "Connection: x\r\nConnection: Close\r\n", [false, false, false]),
        ("1.0", "", [false, false, false]),
        ("1.0", "Connection: keep-alive\r\n", [true, false, false]),
        ("1.0", "Connection: keep-alive, close\r\n", [false, false, false]),
        ("1.0", "Proxy-Connection: keep-alive\r\n", [false, false, false]),
        ("1.1", "Expect: 100-Continue\r\n", [true, true, false]),
        ("1.1", "Expect: a, 100-continue\r\n", [true, true, false]),
        ("1.1", "Expect: 100\r\n", [true, false, false]),
        ("1.0", "Expect: 100-continue\r\n", [false, false, false]),
        ("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", [true, false, true]),
        ("1.1", "Connection: keep-alive, upgrade\r\nUpgrade: h2c, foo/2\r\n", [true, false, true]),
        ("1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n", [true, false, false]),
        ("1.1", "Connection: Upgrade\r\nUpgrade: H2C\r\n", [true, false, false]),
        ("1.1", "Connection: Upgrade\r\nUpgrade:\r\n", [true, false, false]),
        ("1.1", "Connection: Upgrade\r\n", [true, false, false]),
        ("1.1", "Upgrade: websocket\r\n", [true, false, false]),
        ("1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n", [false, false, false]),
        ("1.1", "Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 2\r\n", [true, false, true]),
    ];
    for &(version, fields, expected) in rows {
        let head = request(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n").as_bytes());
        assert_eq!([head.persistent, head.expects_continue, head.upgrade], expected, "{version} {fields}");
    }
}

#[test]
fn what_a_response_says_beside_its_framing() {
    let head =
        response(b"HTTP/1.1 200 Very Well\r\ndate: x\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n");
    assert!(head.persistent && head.has_date && !head.upgrade);
    assert_eq!((head.status, head.version, head.keep_alive_timeout_s), (200, Version::Http11, Some(5)));
    let data = b"HTTP/1.1 200 Very Well\r\n\r\n";
    let head = response(data);
    assert_eq!(head.reason.of(data), b"Very Well");
    assert!(!head.persistent && !head.has_date && head.keep_alive_timeout_s.is_none());
    for (data, reason) in [
        (b"HTTP/1.1 200 \r\n\r\n" as &[u8], b"" as &[u8]),
        (b"HTTP/1.1 200\r\n\r\n", b""),
        (b"HTTP/1.1 200 \xe9 x\r\nA: b\r\n\r\n", b"\xe9 x"),
    ] {
        assert_eq!(response(data).reason.of(data), reason);
    }
}

#[test]
fn persistence_and_upgrade_of_responses() {
    let rows: &[(&str, [bool; 2])] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", [true, false]),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n", [false, false]),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", [false, false]),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", [true, false]),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", [false, false]),
        ("HTTP/1.1 204 X\r\n", [true, false]),
        ("HTTP/1.1 204 X\r\nContent-Length: 0\r\n", [true, false]),
        ("HTTP/1.1 204 X\r\nContent-Length: 5\r\n", [false, false]),
        ("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n", [false, false]),
        ("HTTP/1.1 304 X\r\nContent-Length: 5\r\n", [true, false]),
        ("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", [true, true]),
        ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n", [true, false]),
        ("HTTP/1.1 101 X\r\n", [true, false]),
        ("HTTP/1.0 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", [false, false]),
        ("HTTP/1.1 426 X\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n", [true, false]),
    ];
    for &(lines, expected) in rows {
        let head = response(format!("{lines}\r\n").as_bytes());
        assert_eq!([head.persistent, head.upgrade], expected, "{lines}");
    }
}

#[test]
fn methods() {
    let rows: &[(&str, Method, bool, bool)] = &[
        ("GET", Method::Get, true, true),
        ("HEAD", Method::Head, true, true),
        ("OPTIONS", Method::Options, true, true),
        ("TRACE", Method::Trace, true, true),
        ("PUT", Method::Put, false, true),
        ("DELETE", Method::Delete, false, true),
        ("POST", Method::Post, false, false),
        ("PATCH", Method::Patch, false, false),
        ("CONNECT", Method::Connect, false, false),
        ("get", Method::Other, false, false),
        ("GETS", Method::Other, false, false),
    ];
    for &(name, method, safe, idempotent) in rows {
        assert_eq!(Method::of(name.as_bytes()), method, "{name}");
        assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{name}");
    }
}

#[test]
fn statuses_of_request_faults() {
    let rows = [
        (HeadError::BareLf, 400),
        (HeadError::BadVersion, 400),
        (HeadError::ConnectOrTrace, 405),
        (HeadError::TargetTooLong, 414),
        (HeadError::HeadTooLarge, 431),
        (HeadError::TooManyFields, 431),
        (HeadError::UnknownTransferCoding, 501),
        (HeadError::UnsupportedVersion, 505),
    ];
    for (error, status) in rows {
        assert_eq!(error.status(), status, "{error}");
    }
    assert_eq!(HeadError::BareLf.name(), "bare-lf");
    assert_eq!(
        BodyError::BadTrailer(HeadError::BareCr).to_string(),
        "a trailer field is invalid: a CR is not followed by LF"
    );
}

/// A request of exactly `bytes` bytes.
fn request_of(bytes: usize) -> Vec<u8> {
    let mut data = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    data.resize(bytes - 4, b'x');
    data.extend_from_slice(b"\r\n\r\n");
    data
}

#[test]
fn head_size_is_bounded_to_the_byte() {
    let limits = MessageLimits { head_bytes_max: 200, ..LIMITS };
    let parse = |buf: &[u8]| parse_request(buf, &limits, &mut Fields::new());
    assert_eq!(verdict("largest", &request_of(200), parse).map(|head| head.bytes), Ok(200));
    assert_eq!(verdict("larger", &request_of(201), parse), Err(HeadError::HeadTooLarge));
    assert_eq!(verdict("empty line beyond", &request_of(202), parse), Err(HeadError::HeadTooLarge));
    let followed = [request_of(200), vec![b'b'; 5000]].concat();
    assert!(matches!(parse(&followed), Ok(Parsed::Complete(_))), "what follows does not count");
    let response = [b"HTTP/1.1 200 OK\r\nX: " as &[u8], &[b'x'; 180], b"\r\n\r\n"].concat();
    let parse = |buf: &[u8]| parse_response(buf, &limits, Method::Get, &mut Fields::new());
    assert_eq!(verdict("response", &response, parse), Err(HeadError::HeadTooLarge));
}

#[test]
fn an_endless_line_is_refused_while_it_comes() {
    let limits = MessageLimits { head_bytes_max: 4096, target_bytes_max: 2048, ..LIMITS };
    let rows: &[(&[u8], HeadError)] = &[
        (b"GET / HTTP/1.1\r\nX: ", HeadError::HeadTooLarge),
        (b"GET /", HeadError::TargetTooLong),
        (b"G", HeadError::HeadTooLarge),
    ];
    for &(start, error) in rows {
        let mut data = start.to_vec();
        data.resize(10_000, b'X');
        let parse = |buf: &[u8]| parse_request(buf, &limits, &mut Fields::new());
        assert_eq!(drip(&data[..9_999], 1..9_999, parse), Some(Err(error)));
        let stop = (1..10_000).find(|&end| parse(&data[..end]).is_err()).unwrap();
        assert!(stop <= 4096, "{stop}");
    }
}

#[test]
fn target_length_is_bounded_to_the_byte() {
    let limits = MessageLimits { target_bytes_max: 64, ..LIMITS };
    let parse = |buf: &[u8]| parse_request(buf, &limits, &mut Fields::new());
    let of =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - 1)).into_bytes();
    assert!(verdict("longest", &of(64), parse).is_ok());
    assert_eq!(verdict("longer", &of(65), parse), Err(HeadError::TargetTooLong));
    let faulty = [of(65).strip_suffix(b"\r\n").unwrap(), b"X : y\r\n\r\n"].concat();
    assert_eq!(verdict("with a later fault", &faulty, parse), Err(HeadError::TargetTooLong));
}

#[test]
fn number_of_fields_is_bounded_to_the_field() {
    let of = |count: usize| {
        let fields: String = (1..count).map(|n| format!("X{n}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
    };
    let limits = MessageLimits { fields_max: 5, ..LIMITS };
    let parse = |buf: &[u8]| parse_request(buf, &limits, &mut Fields::new());
    assert!(verdict("most", &of(5), parse).is_ok());
    assert_eq!(verdict("more", &of(6), parse), Err(HeadError::TooManyFields));
    let limits = MessageLimits { fields_max: usize::MAX, ..LIMITS };
    let parse = |buf: &[u8]| parse_request(buf, &limits, &mut Fields::new());
    assert!(matches!(parse(&of(FIELDS_CEILING)), Ok(Parsed::Complete(_))));
    assert_eq!(parse(&of(FIELDS_CEILING + 1)), Err(HeadError::TooManyFields));
}

#[test]
fn chunk_lines_and_trailers_are_bounded_to_the_byte() {
    let line = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 2)).into_bytes();
    let check = |data: &[u8], error: Option<BodyError>| {
        for piece in [usize::MAX, 1, 100] {
            let outcome = decode(data, piece, false);
            match error {
                None => assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}"),
                Some(error) => assert_eq!(outcome, Outcome::Refused(error)),
            }
        }
        fuzz_chunked(&[&[9], data].concat());
    };
    check(&line(CHUNK_LINE_BYTES_MAX), None);
    check(&line(CHUNK_LINE_BYTES_MAX + 1), Some(BodyError::ChunkLineTooLong));
    let many_lines = line(CHUNK_LINE_BYTES_MAX).strip_suffix(b"0\r\n\r\n").unwrap().repeat(3);
    check(&[many_lines.as_slice(), b"0\r\n\r\n"].concat(), None);
    let section = |bytes: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(bytes - 7)).into_bytes();
    check(&section(TRAILER_BYTES_MAX), None);
    check(&section(TRAILER_BYTES_MAX + 1), Some(BodyError::TrailerTooLarge));
    let fields = |count: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(count)).into_bytes();
    check(&fields(FIELDS_MAX), None);
    check(&fields(FIELDS_MAX + 1), Some(BodyError::BadTrailer(HeadError::TooManyFields)));
}

#[test]
fn every_size_of_16_digits_is_held() {
    let mut decoder = super::body::BodyDecoder::new(Framing::Chunked);
    let decoded = decoder.decode(&mut b"FFFFFFFFFFFFFFFF\r\nab".to_vec()).unwrap();
    assert_eq!((decoded.payload, decoder.bulk()), (2, u64::MAX - 2));
    decoder.skip_bulk(u64::MAX - 2);
    assert!(decoder.decode(&mut b"\r\n0\r\n\r\n".to_vec()).unwrap().done);
}

/// Pieces that heads are made of: the words that framing turns on, well and badly spelled.
fn field_lines() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        3 => Just("Content-Length"),
        3 => Just("Transfer-Encoding"),
        1 => Just("content-length"),
        1 => Just("Content_Length"),
        1 => Just("X-Content-Length"),
        1 => Just("TRANSFER-encoding"),
    ];
    let word = prop_oneof![
        3 => Just("5"), 3 => Just("chunked"), 1 => Just("0"), 1 => Just("Chunked"), 1 => Just("gzip"),
        1 => Just("9223372036854775807"), 1 => Just("9223372036854775808"), 1 => Just("+"), 1 => Just(""),
    ];
    let glue = prop_oneof![6 => Just(""), 1 => Just(","), 1 => Just(" "), 1 => Just("\t"), 1 => Just(";")];
    let value = proptest::collection::vec((word, glue), 1..3);
    (name, value).prop_map(|(name, value)| {
        let value: String = value.iter().map(|(word, glue)| format!("{word}{glue}")).collect();
        format!("{name}: {value}\r\n")
    })
}

/// A valid chunked body.
fn chunked_body() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (proptest::collection::vec(any::<u8>(), 1..40), "(;[a-z=\" ]{0,8})?", 0..4_usize);
    let chunks = proptest::collection::vec(chunk, 0..6);
    let trailers = proptest::collection::vec("[A-Za-z-]{1,8}: ?[a-z ]{0,8}", 0..3);
    (chunks, trailers, any::<[u8; 3]>()).prop_map(|(chunks, trailers, next)| {
        let mut body = Vec::new();
        for (data, extension, zeros) in chunks {
            body.extend_from_slice(
                format!("{}{:x}{extension}\r\n", "0".repeat(zeros), data.len()).as_bytes(),
            );
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n");
        trailers.iter().for_each(|line| body.extend_from_slice(format!("{line}\r\n").as_bytes()));
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&next);
        body
    })
}

/// A few bytes put over others, among them those the grammars turn on.
fn mutations() -> impl Strategy<Value = Vec<(proptest::sample::Index, u8)>> {
    let byte = prop_oneof![
        3 => proptest::sample::select(b"\r\n;:0 1aF\t\0,+".to_vec()),
        1 => any::<u8>(),
    ];
    proptest::collection::vec((any::<proptest::sample::Index>(), byte), 0..3)
}

fn mutate(data: &mut [u8], mutations: &[(proptest::sample::Index, u8)]) {
    for (index, byte) in mutations {
        let at = index.index(data.len());
        data[at] = *byte;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn framing_of_requests_agrees_with_the_reference(
        fields in proptest::collection::vec(field_lines(), 0..3),
        version in prop_oneof![4 => Just("1.1"), 1 => Just("1.0")],
    ) {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{}\r\n", fields.concat());
        let framing = match parse_request(head.as_bytes(), &LIMITS, &mut Fields::new()) {
            Ok(Parsed::Complete(head)) => Some(head.framing),
            Ok(Parsed::Partial) => panic!("the head is whole"),
            Err(_) => None,
        };
        let expected = reference::declared_framing(&head).map(|declared| declared.unwrap_or(Framing::None));
        prop_assert_eq!(framing, expected);
    }

    #[test]
    fn framing_of_responses_agrees_with_the_reference(
        fields in proptest::collection::vec(field_lines(), 0..3),
        version in prop_oneof![4 => Just("1.1"), 1 => Just("1.0")],
    ) {
        let head = format!("HTTP/{version} 200 OK\r\n{}\r\n", fields.concat());
        let framing = match parse_response(head.as_bytes(), &LIMITS, Method::Get, &mut Fields::new()) {
            Ok(Parsed::Complete(head)) => Some(head.framing),
            Ok(Parsed::Partial) => panic!("the head is whole"),
            Err(_) => None,
        };
        let expected = reference::declared_framing(&head).map(|declared| declared.unwrap_or(Framing::UntilClose));
        prop_assert_eq!(framing, expected);
    }

    #[test]
    fn bodies_agree_with_the_reference(mut body in chunked_body(), mutations in mutations(), cut in 1..60_u8) {
        let unharmed = mutations.is_empty();
        mutate(&mut body, &mutations);
        if unharmed {
            let outcome = decode(&body, usize::from(cut), false);
            prop_assert!(matches!(outcome, Outcome::Done(ref done) if done.consumed == body.len() - 3));
        }
        fuzz_chunked(&[&[cut], body.as_slice()].concat());
    }

    #[test]
    fn mutated_vectors_hold_the_invariants(pick in any::<proptest::sample::Index>(), mutations in mutations()) {
        let mut data = pick.get(REQUESTS).1.to_vec();
        mutate(&mut data, &mutations);
        fuzz_request(&data);
        let mut data = pick.get(RESPONSES).2.to_vec();
        mutate(&mut data, &mutations);
        fuzz_response(&data);
        let mut data = pick.get(BODIES).1.to_vec();
        mutate(&mut data, &mutations);
        fuzz_chunked(&data);
    }
}
