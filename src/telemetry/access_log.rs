//! One record per exchange, written on every exit path, and its two shapes: logfmt and JSON.
//!
//! # Invariants
//! - A record is one line of printable ASCII that ends in a line feed, whatever bytes it holds: a client
//!   can neither forge a line or a field (CWE-117) nor send escape sequences to the reader's terminal.
//! - Keys and their order are fixed and the same in both shapes: `fields` is the one list.
//! - A value that is absent (or empty, which is the same) is `-` in logfmt and `null` in JSON.
//!
//! # Escapes
//! A logfmt value with anything but plain printable ASCII is quoted; in the quotes stand `\"`, `\\`, and
//! `\xNN` for each other byte. JSON writes characters outside printable ASCII as `\uNNNN`; a byte that is
//! not UTF-8 becomes the four characters `\xNN`, and a backslash stays one, so such a value reads well
//! but is not told from one that held those characters. Logfmt is exact for every byte.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use super::date;

/// Everything the log says about one exchange. Never a field value that may hold a secret: the query
/// of a target may hold one too, so the worker cuts it off unless `--log-query` asks for it.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// Wall clock at the end of the exchange, microseconds since the Unix epoch.
    pub unix_us: u64,
    /// The client's address, from the socket or from a trusted proxy's word.
    pub client: Option<SocketAddr>,
    /// `X-Request-Id`; empty when the head was never understood.
    pub request_id: &'a [u8],
    /// Method; empty when the head was never understood.
    pub method: &'a [u8],
    /// Host; may be empty.
    pub host: &'a [u8],
    /// Request target; may be empty.
    pub target: &'a [u8],
    /// `HTTP/1.0`, `HTTP/1.1` or empty.
    pub protocol: &'static str,
    /// Status sent to the client; 0 when none was.
    pub status: u16,
    /// RFC 9209 error type; `None` when the exchange ended well.
    pub error: Option<&'static str>,
    /// What narrows the error type down: which rule, which phase.
    pub detail: Option<&'static str>,
    /// Phase whose deadline ended the exchange.
    pub phase: Option<&'static str>,
    /// Endpoint that served it; empty when none was reached.
    pub upstream: &'a str,
    /// The upstream connection had served before.
    pub reused: bool,
    /// Endpoints tried beyond the first, repeats included.
    pub retries: u8,
    /// Became a tunnel.
    pub tunnel: bool,
    /// Bytes of request body (tunnel: client to origin) passed to the origin.
    pub bytes_in: u64,
    /// Bytes of response body (tunnel: origin to client) passed to the client.
    pub bytes_out: u64,
    /// First byte of the request to its end.
    pub duration: Duration,
    /// First byte of the request to its complete head.
    pub header: Duration,
    /// Time spent connecting; `None` when a pooled connection served.
    pub connect: Option<Duration>,
    /// First byte of the request to the response head; `None` when there was none.
    pub first_byte: Option<Duration>,
}

/// Appends `record` as one line of `key=value` pairs.
pub fn write_logfmt(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    let mut separator: &[u8] = b"";
    for (key, value) in fields(record) {
        out.extend_from_slice(separator);
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        match value {
            Value::Absent => out.push(b'-'),
            Value::Text(text) => write_logfmt_text(text, out),
            Value::Plain(plain) | Value::Quoted(plain) => plain.write(out),
        }
        separator = b" ";
    }
    out.push(b'\n');
}

/// Appends `record` as one line that is a JSON object.
pub fn write_json(record: &AccessRecord<'_>, out: &mut Vec<u8>) {
    let mut separator: &[u8] = b"{\"";
    for (key, value) in fields(record) {
        out.extend_from_slice(separator);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Value::Absent => out.extend_from_slice(b"null"),
            Value::Text(text) => in_quotes(out, |out| write_json_text(text, out)),
            Value::Plain(plain) => plain.write(out),
            Value::Quoted(plain) => in_quotes(out, |out| plain.write(out)),
        }
        separator = b",\"";
    }
    out.extend_from_slice(b"}\n");
}

/// Number of fields of a record.
const FIELDS: usize = 21;

/// A value of a record.
enum Value<'a> {
    Absent,
    /// Bytes of which nothing is known.
    Text(&'a [u8]),
    /// Number or truth value.
    Plain(Plain),
    /// Never needs an escape; a string in JSON.
    Quoted(Plain),
}

/// A value that needs no escape in either shape.
enum Plain {
    Number(u64),
    Flag(bool),
    /// In milliseconds with three decimals.
    Time(Duration),
    /// Microseconds since the Unix epoch.
    Date(u64),
    Address(SocketAddr),
}

/// The fields of a record in their order.
fn fields<'a>(record: &AccessRecord<'a>) -> [(&'static str, Value<'a>); FIELDS] {
    [
        ("ts", Value::Quoted(Plain::Date(record.unix_us))),
        ("client", record.client.map_or(Value::Absent, |client| Value::Quoted(Plain::Address(client)))),
        ("id", text(record.request_id)),
        ("method", text(record.method)),
        ("host", text(record.host)),
        ("path", text(record.target)),
        ("proto", text(record.protocol.as_bytes())),
        ("status", if record.status == 0 { Value::Absent } else { number(record.status.into()) }),
        ("error", text(record.error.unwrap_or_default().as_bytes())),
        ("detail", text(record.detail.unwrap_or_default().as_bytes())),
        ("phase", text(record.phase.unwrap_or_default().as_bytes())),
        ("upstream", text(record.upstream.as_bytes())),
        ("reused", Value::Plain(Plain::Flag(record.reused))),
        ("retries", number(record.retries.into())),
        ("tunnel", Value::Plain(Plain::Flag(record.tunnel))),
        ("bytes_in", number(record.bytes_in)),
        ("bytes_out", number(record.bytes_out)),
        ("duration_ms", time(Some(record.duration))),
        ("header_ms", time(Some(record.header))),
        ("connect_ms", time(record.connect)),
        ("ttfb_ms", time(record.first_byte)),
    ]
}

fn text(bytes: &[u8]) -> Value<'_> {
    if bytes.is_empty() { Value::Absent } else { Value::Text(bytes) }
}

fn number(number: u64) -> Value<'static> {
    Value::Plain(Plain::Number(number))
}

fn time(time: Option<Duration>) -> Value<'static> {
    time.map_or(Value::Absent, |time| Value::Plain(Plain::Time(time)))
}

impl Plain {
    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Plain::Number(number) => write_number(number, out),
            Plain::Flag(flag) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
            Plain::Time(time) => write_ms(time, out),
            Plain::Date(unix_us) => date::write_rfc3339(unix_us, out),
            Plain::Address(address) => write_address(address, out),
        }
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `time` in milliseconds, rounded down to a microsecond.
fn write_ms(time: Duration, out: &mut Vec<u8>) {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    write_number(us / 1_000, out);
    out.push(b'.');
    date::write_digits(us % 1_000, 3, out);
}

/// Appends an address; an IPv4-mapped IPv6 address is written as IPv4, and port 0 (not known, such as in the
/// word of a trusted proxy) is left out.
fn write_address(address: SocketAddr, out: &mut Vec<u8>) {
    let ip = address.ip().to_canonical();
    let mut out = Line(out);
    // Writing to memory cannot fail.
    let _ = match address.port() {
        0 => write!(out, "{ip}"),
        port => write!(out, "{}", SocketAddr::new(ip, port)),
    };
}

/// Lets `fmt` write into bytes.
struct Line<'a>(&'a mut Vec<u8>);

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn in_quotes(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// Appends `text` bare when it is plain, in quotes otherwise. A lone `-` is quoted: bare it means absent.
fn write_logfmt_text(text: &[u8], out: &mut Vec<u8>) {
    if text != b"-" && text.iter().all(|&byte| is_bare(byte)) {
        out.extend_from_slice(text);
    } else {
        in_quotes(out, |out| text.iter().for_each(|&byte| write_logfmt_byte(byte, out)));
    }
}

/// Whether a logfmt value with this byte needs no quotes. `=` may stand bare: a key ends at the first one.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')
}

fn write_logfmt_byte(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b' '..=b'~' => out.push(byte),
        _ => {
            out.extend_from_slice(b"\\x");
            write_hex(byte.into(), 2, out);
        }
    }
}

fn write_json_text(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        chunk.valid().chars().for_each(|character| write_json_char(character, out));
        for &byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            write_hex(byte.into(), 2, out);
        }
    }
}

fn write_json_char(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        ' '..='~' => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        _ => {
            for &mut unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                write_hex(unit, 4, out);
            }
        }
    }
}

/// Appends the last `width` hexadecimal digits of `number`.
fn write_hex(number: u16, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        let digit = u32::from(number >> (4 * place)) % 16;
        out.extend(char::from_digit(digit, 16).map(|digit| digit as u8));
    }
}

#[cfg(test)]
mod tests {
    //! Goal: any record is one line, and reads back as what it was. Method: lines by heart; random and
    //! hostile records read back with `serde_json` and with a naive logfmt reader that knows no record.

    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn logfmt(record: &AccessRecord<'_>) -> String {
        let mut out = b"kept ".to_vec();
        write_logfmt(record, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("kept ").unwrap().to_owned()
    }

    fn json(record: &AccessRecord<'_>) -> String {
        let mut out = Vec::new();
        write_json(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            unix_us: 784_111_777_042_999,
            client: Some("192.0.2.7:4711".parse().unwrap()),
            request_id: b"018f3c",
            method: b"GET",
            host: b"example.com:8080",
            target: b"/a?b=c",
            protocol: "HTTP/1.1",
            status: 200,
            error: None,
            detail: None,
            phase: None,
            upstream: "127.0.0.1:3000",
            reused: true,
            retries: 1,
            tunnel: false,
            bytes_in: 0,
            bytes_out: u64::MAX,
            duration: Duration::from_nanos(1_234_567_899),
            header: Duration::from_micros(7),
            connect: None,
            first_byte: Some(Duration::from_millis(12)),
        }
    }

    fn nothing() -> AccessRecord<'static> {
        AccessRecord {
            unix_us: 0,
            client: None,
            request_id: b"",
            method: b"",
            host: b"",
            target: b"",
            protocol: "",
            status: 0,
            error: None,
            detail: None,
            phase: None,
            upstream: "",
            reused: false,
            retries: 0,
            tunnel: false,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            header: Duration::ZERO,
            connect: None,
            first_byte: None,
        }
    }

    #[test]
    fn logfmt_by_heart() {
        assert_eq!(
            logfmt(&record()),
            "ts=1994-11-06T08:49:37.042Z client=192.0.2.7:4711 id=018f3c method=GET host=example.com:8080 \
             path=/a?b=c proto=HTTP/1.1 status=200 error=- detail=- phase=- upstream=127.0.0.1:3000 reused=true \
             retries=1 tunnel=false bytes_in=0 bytes_out=18446744073709551615 duration_ms=1234.567 \
             header_ms=0.007 connect_ms=- ttfb_ms=12.000\n"
        );
        assert_eq!(
            logfmt(&nothing()),
            "ts=1970-01-01T00:00:00.000Z client=- id=- method=- host=- path=- proto=- status=- error=- \
             detail=- phase=- upstream=- reused=false retries=0 tunnel=false bytes_in=0 bytes_out=0 \
             duration_ms=0.000 header_ms=0.000 connect_ms=- ttfb_ms=-\n"
        );
    }

    #[test]
    fn json_by_heart() {
        assert_eq!(
            json(&record()),
            "{\"ts\":\"1994-11-06T08:49:37.042Z\",\"client\":\"192.0.2.7:4711\",\"id\":\"018f3c\",\
             \"method\":\"GET\",\"host\":\"example.com:8080\",\"path\":\"/a?b=c\",\"proto\":\"HTTP/1.1\",\
             \"status\":200,\"error\":null,\"detail\":null,\"phase\":null,\"upstream\":\"127.0.0.1:3000\",\"reused\":true,\
             \"retries\":1,\"tunnel\":false,\"bytes_in\":0,\"bytes_out\":18446744073709551615,\
             \"duration_ms\":1234.567,\"header_ms\":0.007,\"connect_ms\":null,\"ttfb_ms\":12.000}\n"
        );
        assert!(json(&nothing()).contains("\"client\":null,\"id\":null,\"method\":null,\"host\":null,"));
    }

    #[test]
    fn hostile_targets() {
        for (target, logfmt_value, json_value) in [
            (&b"-"[..], r#""-""#, r#""-""#),
            (b"--", "--", r#""--""#),
            (b"a b", r#""a b""#, r#""a b""#),
            (b"a=b", "a=b", r#""a=b""#),
            (b"\"", r#""\"""#, r#""\"""#),
            (b"\\", r#""\\""#, r#""\\""#),
            (b"/ status=200\nts=", r#""/ status=200\x0ats=""#, r#""/ status=200\u000ats=""#),
            (b"\x1b[2J\0\x7f", r#""\x1b[2J\x00\x7f""#, r#""\u001b[2J\u0000\u007f""#),
            (
                "é\u{202e}😀".as_bytes(),
                r#""\xc3\xa9\xe2\x80\xae\xf0\x9f\x98\x80""#,
                r#""\u00e9\u202e\ud83d\ude00""#,
            ),
            (b"\xff\xc3", r#""\xff\xc3""#, r#""\\xff\\xc3""#),
        ] {
            let record = AccessRecord { target, ..record() };
            let (logfmt, json) = (logfmt(&record), json(&record));
            assert!(logfmt.contains(&format!(" path={logfmt_value} proto=")), "{logfmt}");
            assert!(json.contains(&format!(",\"path\":{json_value},\"proto\":")), "{json}");
        }
    }

    #[test]
    fn addresses() {
        for (address, shown) in [
            ("[::ffff:192.0.2.7]:80", "192.0.2.7:80"),
            ("[::ffff:192.0.2.7]:0", "192.0.2.7"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[2001:db8::1]:0", "2001:db8::1"),
            ("192.0.2.7:0", "192.0.2.7"),
        ] {
            let record = AccessRecord { client: Some(address.parse().unwrap()), ..nothing() };
            assert!(logfmt(&record).contains(&format!(" client={shown} id=")));
            assert!(json(&record).contains(&format!("\"client\":\"{shown}\",")));
        }
    }

    /// A record that owns its bytes.
    #[derive(Clone, Debug)]
    struct Owned {
        texts: [Vec<u8>; 4],
        upstream: String,
        record: AccessRecord<'static>,
    }

    impl Owned {
        fn record(&self) -> AccessRecord<'_> {
            let [request_id, method, host, target] = &self.texts;
            let upstream = &self.upstream;
            AccessRecord { request_id, method, host, target, upstream, ..self.record.clone() }
        }
    }

    fn hostile_text() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\"\\= \n\r-{}x".to_vec())];
        prop_oneof![
            prop::collection::vec(byte, 0..24),
            any::<String>().prop_map(String::into_bytes),
            Just(b"-".to_vec())
        ]
    }

    fn owned() -> impl Strategy<Value = Owned> {
        let word = prop::sample::select(vec![None, Some("connection_timeout"), Some("http_protocol_error")]);
        let client = prop::option::of(any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from));
        let time = || (0..u64::MAX / 1_000).prop_map(Duration::from_micros);
        let texts = [(); 4].map(|()| hostile_text());
        let numbers = (0..253_402_300_799_999_999u64, any::<u16>(), any::<u8>(), any::<u64>(), any::<u64>());
        let times = (time(), time(), prop::option::of(time()), prop::option::of(time()));
        (texts, any::<String>(), client, word, numbers, times, any::<bool>()).prop_map(
            |(texts, upstream, client, error, numbers, times, flag)| {
                let (unix_us, status, retries, bytes_in, bytes_out) = numbers;
                let (duration, header, connect, first_byte) = times;
                let (reused, tunnel) = (flag, !flag);
                let numbers = AccessRecord { unix_us, status, retries, bytes_in, bytes_out, ..nothing() };
                let times = AccessRecord { duration, header, connect, first_byte, ..numbers };
                let record =
                    AccessRecord { client, error, detail: error, phase: error, reused, tunnel, ..times };
                Owned { texts, upstream, record }
            },
        )
    }

    /// Splits a line into keys and values; a value that was quoted is `Ok`, a bare one `Err`.
    fn read_logfmt(line: &str) -> Vec<(String, Result<Vec<u8>, String>)> {
        let mut rest = line.strip_suffix('\n').unwrap();
        assert!(rest.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            let (key, value) = rest.split_once('=').unwrap();
            let (value, tail) = match value.strip_prefix('"') {
                Some(quoted) => read_quoted(quoted),
                None => {
                    let end = value.find(' ').unwrap_or(value.len());
                    (Err(value[..end].to_owned()), &value[end..])
                }
            };
            pairs.push((key.to_owned(), value));
            rest = tail.strip_prefix(' ').unwrap_or(tail);
            assert!(rest.len() < tail.len() || tail.is_empty(), "a value ends at a space");
        }
        pairs
    }

    /// Reads up to the closing quote.
    fn read_quoted(quoted: &str) -> (Result<Vec<u8>, String>, &str) {
        let mut value = Vec::new();
        let mut at = 0;
        loop {
            match &quoted.as_bytes()[at..] {
                [b'"', ..] => return (Ok(value), &quoted[at + 1..]),
                [b'\\', b'x', ..] => {
                    value.push(u8::from_str_radix(&quoted[at + 2..at + 4], 16).unwrap());
                    at += 4;
                }
                [b'\\', byte, ..] => {
                    value.push(*byte);
                    at += 2;
                }
                [byte, ..] => {
                    value.push(*byte);
                    at += 1;
                }
                [] => panic!("no closing quote in {quoted}"),
            }
        }
    }

    /// What a reader of either shape sees of a value that is not text; `None` is absent.
    fn plain(key: &str, record: &AccessRecord<'_>) -> Option<String> {
        let ms = |time: Duration| format!("{}.{:03}", time.as_millis(), time.as_micros() % 1_000);
        match key {
            "ts" => {
                let mut out = Vec::new();
                date::write_rfc3339(record.unix_us, &mut out);
                Some(String::from_utf8(out).unwrap())
            }
            "client" => record.client.map(|client| match (client.ip().to_canonical(), client.port()) {
                (ip, 0) => ip.to_string(),
                (ip, port) => SocketAddr::new(ip, port).to_string(),
            }),
            "status" => (record.status != 0).then(|| record.status.to_string()),
            "reused" => Some(record.reused.to_string()),
            "retries" => Some(record.retries.to_string()),
            "tunnel" => Some(record.tunnel.to_string()),
            "bytes_in" => Some(record.bytes_in.to_string()),
            "bytes_out" => Some(record.bytes_out.to_string()),
            "duration_ms" => Some(ms(record.duration)),
            "header_ms" => Some(ms(record.header)),
            "connect_ms" => record.connect.map(ms),
            "ttfb_ms" => record.first_byte.map(ms),
            _ => panic!("unknown key {key}"),
        }
    }

    /// The bytes of a value that is text.
    fn text_of<'a>(key: &str, record: &AccessRecord<'a>) -> Option<&'a [u8]> {
        match key {
            "id" => Some(record.request_id),
            "method" => Some(record.method),
            "host" => Some(record.host),
            "path" => Some(record.target),
            "proto" => Some(record.protocol.as_bytes()),
            "error" => Some(record.error.unwrap_or_default().as_bytes()),
            "detail" => Some(record.detail.unwrap_or_default().as_bytes()),
            "phase" => Some(record.phase.unwrap_or_default().as_bytes()),
            "upstream" => Some(record.upstream.as_bytes()),
            _ => None,
        }
    }

    /// The characters that JSON carries for these bytes.
    fn json_text(text: &[u8]) -> String {
        let mut shown = String::new();
        for chunk in text.utf8_chunks() {
            shown += chunk.valid();
            shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        }
        shown
    }

    const KEYS: [&str; FIELDS] = [
        "ts",
        "client",
        "id",
        "method",
        "host",
        "path",
        "proto",
        "status",
        "error",
        "detail",
        "phase",
        "upstream",
        "reused",
        "retries",
        "tunnel",
        "bytes_in",
        "bytes_out",
        "duration_ms",
        "header_ms",
        "connect_ms",
        "ttfb_ms",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn logfmt_reads_back(owned in owned()) {
            let record = owned.record();
            let pairs = read_logfmt(&logfmt(&record));
            prop_assert!(pairs.iter().map(|(key, _)| key.as_str()).eq(KEYS));
            for (key, value) in pairs {
                match (text_of(&key, &record), value) {
                    (Some(text), Ok(value)) => prop_assert_eq!(text, value),
                    (Some(b""), Err(value)) => prop_assert_eq!(value, "-"),
                    (Some(text), Err(value)) => {
                        prop_assert_ne!(&value, "-");
                        prop_assert_eq!(text, value.as_bytes());
                    }
                    (None, value) => prop_assert_eq!(value, Err(plain(&key, &record).unwrap_or("-".into()))),
                }
            }
        }

        #[test]
        fn json_reads_back(owned in owned()) {
            let record = owned.record();
            let line = json(&record);
            prop_assert!(line.ends_with('\n') && line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let object: serde_json::Map<String, Json> = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(object.len(), FIELDS);
            for (key, value) in object {
                let expected = match text_of(&key, &record) {
                    Some(b"") => Json::Null,
                    Some(text) => json!(json_text(text)),
                    None => match plain(&key, &record) {
                        None => Json::Null,
                        Some(shown) if matches!(&*key, "ts" | "client") => json!(shown),
                        Some(shown) => serde_json::from_str(&shown).unwrap(),
                    },
                };
                prop_assert_eq!(value, expected, "{}", key);
            }
        }
    }

    #[test]
    fn a_line_into_a_buffer_with_room_does_not_allocate() {
        let mut out = Vec::with_capacity(4096);
        let before = out.as_ptr();
        write_logfmt(&record(), &mut out);
        write_json(&record(), &mut out);
        assert_eq!(out.as_ptr(), before);
    }
}
