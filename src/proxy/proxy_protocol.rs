//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who a connection that was passed on is from.
//!
//! ```text
//!   v1  PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\n
//!   v2  signature (12) | version, command | family, transport | length (2) | addresses | TLVs
//! ```
//! A header names the client for everything that follows on its connection, so what is not exactly a header is an
//! error and never a guess. The parser takes all bytes so far and says [`Parsed::Partial`] only while every one of them
//! belongs to the header. TLVs are skipped, but have to fill the header exactly; a CRC32C among them is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::config::ProxyVersion;
use crate::limits;

/// How every v1 header begins.
const V1_PREFIX: &[u8] = b"PROXY ";
/// How every v2 header begins.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a v2 header before its addresses.
const V2_FIXED_BYTES: usize = 16;
/// Type of the TLV with a CRC32C of the header.
const TLV_CRC32C: u8 = 0x03;

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The start of a header.
    Partial,
    /// A header, and perhaps more behind it.
    Complete {
        /// The ends it names. `None` where it names none (LOCAL, UNKNOWN, AF_UNSPEC) or none with an IP address (AF_UNIX):
        /// those of the connection itself count.
        ends: Option<Ends>,
        /// Length of the header in bytes.
        consumed: usize,
    },
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// They begin like neither version.
    #[error("no PROXY header")]
    Missing,
    /// More than 107 bytes of v1, or more than [`limits::PROXY_HEADER_BYTES_MAX`] of v2.
    #[error("PROXY header too long")]
    TooLong,
    /// Words, addresses, ports or line end of v1 are not as they must be.
    #[error("malformed PROXY header of version 1")]
    Line,
    /// Not version 2, or neither LOCAL nor PROXY.
    #[error("unknown version or command in a PROXY header")]
    Command,
    /// A family that does not exist, or a transport other than a stream.
    #[error("unknown address family or transport in a PROXY header")]
    Family,
    /// The length has no room for the addresses.
    #[error("PROXY header too short for its addresses")]
    Short,
    /// A TLV that does not fit.
    #[error("malformed TLV in a PROXY header")]
    Tlv,
    /// The CRC32C is another one.
    #[error("wrong checksum in a PROXY header")]
    Checksum,
}

/// Reads the header at the start of `bytes`, all that has arrived so far.
///
/// # Errors
/// They are not the start of a header, whatever follows.
pub fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if begins(bytes, V1_PREFIX) {
        parse_v1(bytes)
    } else if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

/// Whether `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes.get(..common) == start.get(..common)
}

// ----- version 1

fn parse_v1(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let window = bytes.get(..limits::PROXY_V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\r' || *byte == b'\n') else {
        let full = window.len() == limits::PROXY_V1_BYTES_MAX;
        return if full { Err(HeaderError::TooLong) } else { Ok(Parsed::Partial) };
    };
    match window.get(end..end + 2) {
        Some(b"\r\n") => {}
        None if window.get(end) == Some(&b'\r') && end + 1 < limits::PROXY_V1_BYTES_MAX => {
            return Ok(Parsed::Partial);
        }
        None if window.get(end) == Some(&b'\r') => return Err(HeaderError::TooLong),
        Some(_) | None => return Err(HeaderError::Line),
    }
    let words = window.get(V1_PREFIX.len()..end).and_then(|line| std::str::from_utf8(line).ok());
    let ends = parse_line(words.ok_or(HeaderError::Line)?)?;
    Ok(Parsed::Complete { ends, consumed: end + 2 })
}

/// Reads what stands between `PROXY ` and the line end.
fn parse_line(line: &str) -> Result<Option<Ends>, HeaderError> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    match family {
        "TCP4" => parse_ends::<Ipv4Addr>(rest).map(Some),
        "TCP6" => parse_ends::<Ipv6Addr>(rest).map(Some),
        // "the receiver must ignore anything presented before the CRLF is found".
        "UNKNOWN" => Ok(None),
        _ => Err(HeaderError::Line),
    }
}

fn parse_ends<A: FromStr + Into<IpAddr>>(rest: &str) -> Result<Ends, HeaderError> {
    let address = |word: Option<&str>| word?.parse::<A>().ok().map(A::into);
    let mut words = rest.split(' ');
    let mut read = || {
        let (source, destination) = (address(words.next())?, address(words.next())?);
        let (from, to) = (parse_port(words.next()?)?, parse_port(words.next()?)?);
        words.next().is_none().then_some(Ends {
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        })
    };
    read().ok_or(HeaderError::Line)
}

/// A port as v1 writes it: digits alone, no leading zero.
fn parse_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

// ----- version 2

fn parse_v2(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let local = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(HeaderError::Command),
    };
    // The length comes last, but a family that cannot be is refused before it.
    let addresses = match bytes.get(13) {
        None => return Ok(Parsed::Partial),
        // "discard the protocol block including the family which is ignored"
        Some(_) if local => None,
        Some(0x00) => None,
        Some(0x11) => Some(12),
        Some(0x21) => Some(36),
        Some(0x31) => Some(216),
        Some(_) => return Err(HeaderError::Family),
    };
    let Some(&[high, low]) = bytes.get(14..V2_FIXED_BYTES) else { return Ok(Parsed::Partial) };
    let consumed = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if consumed > limits::PROXY_HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    if addresses.is_some_and(|length| consumed < V2_FIXED_BYTES + length) {
        return Err(HeaderError::Short);
    }
    let Some(header) = bytes.get(..consumed) else { return Ok(Parsed::Partial) };
    let Some(length) = addresses else { return Ok(Parsed::Complete { ends: None, consumed }) };
    check_tlvs(header, V2_FIXED_BYTES + length)?;
    Ok(Parsed::Complete { ends: binary_ends(header, length), consumed })
}

/// The ends in a v2 header whose addresses take `length` bytes.
fn binary_ends(header: &[u8], length: usize) -> Option<Ends> {
    let block = header.get(V2_FIXED_BYTES..V2_FIXED_BYTES + length)?;
    let port = |at: usize| Some(u16::from_be_bytes(block.get(at..at + 2)?.try_into().ok()?));
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(block.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(block.get(at..at + 16)?).ok()?));
    let (source, destination, ports) = match length {
        12 => (v4(0)?, v4(4)?, 8),
        36 => (v6(0)?, v6(16)?, 32),
        _ => return None, // paths of AF_UNIX
    };
    Some(Ends {
        source: SocketAddr::new(source, port(ports)?),
        destination: SocketAddr::new(destination, port(ports + 2)?),
    })
}

/// Walks the TLVs from `at` on: type, two bytes of length, value.
fn check_tlvs(header: &[u8], mut at: usize) -> Result<(), HeaderError> {
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Err(HeaderError::Tlv) };
        let end = at + 3 + usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(at + 3..end).ok_or(HeaderError::Tlv)?;
        if kind == TLV_CRC32C {
            let told = value.try_into().map(u32::from_be_bytes).map_err(|_| HeaderError::Tlv)?;
            if told != crc32c(header, at + 3..end) {
                return Err(HeaderError::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// CRC32C (RFC 3720, appendix B.4) of `bytes`, those in `zeroed` taken for zeros.
fn crc32c(bytes: &[u8], zeroed: std::ops::Range<usize>) -> u32 {
    let mut crc = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        crc ^= if zeroed.contains(&at) { 0 } else { u32::from(*byte) };
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    !crc
}

// ----- out

/// Writes the header that names `ends` to `out`. Where one of them has an IPv4 address and the other has not, both are
/// written as IPv6.
pub fn write(version: ProxyVersion, ends: Ends, out: &mut Vec<u8>) {
    let (from, to) = (ends.source.port(), ends.destination.port());
    match (ends.source.ip(), ends.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => match version {
            ProxyVersion::V1 => write_v1("TCP4", source.into(), destination.into(), from, to, out),
            ProxyVersion::V2 => write_v2(0x11, &source.octets(), &destination.octets(), from, to, out),
        },
        (source, destination) => {
            let (source, destination) = (mapped(source), mapped(destination));
            match version {
                ProxyVersion::V1 => write_v1("TCP6", source.into(), destination.into(), from, to, out),
                ProxyVersion::V2 => write_v2(0x21, &source.octets(), &destination.octets(), from, to, out),
            }
        }
    }
}

/// Writes the header of a connection that is the proxy's own, such as a health check: it names nobody.
pub fn write_own(version: ProxyVersion, out: &mut Vec<u8>) {
    match version {
        ProxyVersion::V1 => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        ProxyVersion::V2 => {
            out.extend_from_slice(V2_SIGNATURE);
            out.extend_from_slice(&[0x20, 0, 0, 0]); // LOCAL, and no addresses
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn write_v1(family: &str, source: IpAddr, destination: IpAddr, from: u16, to: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("PROXY {family} {source} {destination} {from} {to}\r\n").as_bytes());
}

fn write_v2(family: u8, source: &[u8], destination: &[u8], from: u16, to: u16, out: &mut Vec<u8>) {
    let length = u16::try_from(source.len() + destination.len() + 4).unwrap_or_default(); // 12 or 36
    out.extend_from_slice(V2_SIGNATURE);
    out.extend_from_slice(&[0x21, family]);
    for part in [&length.to_be_bytes(), source, destination, &from.to_be_bytes(), &to.to_be_bytes()] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn complete(ends: Option<Ends>, consumed: usize) -> Result<Parsed, HeaderError> {
        Ok(Parsed::Complete { ends, consumed })
    }

    /// A v2 header with this command, family and block.
    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE.as_slice(), &[command, family], &length, block].concat()
    }

    const BLOCK4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xC8, 0x22, 1, 0xBB];

    #[test]
    fn a_connection_of_our_own_names_nobody() {
        for (version, length) in [(ProxyVersion::V1, 15), (ProxyVersion::V2, 16)] {
            let mut out = Vec::new();
            write_own(version, &mut out);
            assert_eq!(parse(&out), complete(None, length));
        }
    }

    #[test]
    fn lines_of_version_1_are_read() {
        let four = Some(ends("192.0.2.1:51234", "198.51.100.2:443"));
        let six = Some(ends("[2001:db8::1]:0", "[::1]:65535"));
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(longest.len(), limits::PROXY_V1_BYTES_MAX);
        for (line, ends) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\n", four),
            ("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", six),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 what ever 1 2\r\n", None),
            (&longest, None),
        ] {
            assert_eq!(parse(line.as_bytes()), complete(ends, line.len()), "{line:?}");
            let followed = format!("{line}GET / HTTP/1.1\r\n\r\n");
            assert_eq!(parse(followed.as_bytes()), complete(ends, line.len()), "{followed:?}");
        }
    }

    #[test]
    fn lines_of_version_1_that_stray_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51234\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443 1\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 51234 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 00 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY \r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP4\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(HeaderError::Line), "{line:?}");
        }
        assert_eq!(parse(b"PROXY TCP4 \xFF\r\n"), Err(HeaderError::Line));
        for start in ["GET / HTTP/1.1", "proxy TCP4", "PROXYTCP4", "\r\nPROXY", "\x16\x03\x01"] {
            assert_eq!(parse(start.as_bytes()), Err(HeaderError::Missing), "{start:?}");
        }
        for tail in ["f", "f\r\n", "f\r"] {
            let long = format!("PROXY UNKNOWN {}{tail}", "f".repeat(92));
            assert_eq!(parse(long.as_bytes()), Err(HeaderError::TooLong), "{tail:?}");
        }
    }

    #[test]
    fn headers_of_version_2_are_read() {
        let four = Some(ends("192.0.2.1:51234", "198.51.100.2:443"));
        let mut block6 = [0; 36];
        block6[15] = 1;
        block6[31] = 2;
        block6[35] = 80;
        let tlvs = [&BLOCK4[..], &[0x04, 0, 0], &[0xEA, 0, 2, 1, 2]].concat();
        for (header, ends) in [
            (v2(0x21, 0x11, &BLOCK4), four),
            (v2(0x21, 0x11, &tlvs), four),
            (v2(0x21, 0x21, &block6), Some(ends("[::1]:0", "[::2]:80"))),
            (v2(0x21, 0x31, &[b'/'; 216]), None),
            (v2(0x21, 0x00, b""), None),
            (v2(0x21, 0x00, b"anything"), None),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x11, &BLOCK4), None),
            (v2(0x20, 0x77, b"ignored"), None),
            (v2(0x20, 0x00, &[0; 520]), None),
        ] {
            assert_eq!(parse(&header), complete(ends, header.len()), "{header:?}");
            let followed = [&header[..], b"\x16\x03\x01"].concat();
            assert_eq!(parse(&followed), complete(ends, header.len()));
        }
    }

    #[test]
    fn headers_of_version_2_that_stray_are_refused() {
        let short = [&BLOCK4[..], &[0x04, 0]].concat();
        let beyond = [&BLOCK4[..], &[0x04, 0, 3, 1, 2]].concat();
        let checksum = [&BLOCK4[..], &[0x03, 0, 3, 1, 2, 3]].concat();
        for (header, error) in [
            (v2(0x11, 0x11, &BLOCK4), HeaderError::Command),
            (v2(0x22, 0x11, &BLOCK4), HeaderError::Command),
            (v2(0x21, 0x12, &BLOCK4), HeaderError::Family),
            (v2(0x21, 0x10, &BLOCK4), HeaderError::Family),
            (v2(0x21, 0x41, &BLOCK4), HeaderError::Family),
            (v2(0x21, 0x11, &BLOCK4[..11]), HeaderError::Short),
            (v2(0x21, 0x21, &BLOCK4), HeaderError::Short),
            (v2(0x21, 0x31, &[0; 215]), HeaderError::Short),
            (v2(0x21, 0x11, &[0; 521]), HeaderError::TooLong),
            (v2(0x20, 0x00, &[0; 65535]), HeaderError::TooLong),
            (v2(0x21, 0x11, &short), HeaderError::Tlv),
            (v2(0x21, 0x11, &beyond), HeaderError::Tlv),
            (v2(0x21, 0x11, &checksum), HeaderError::Tlv),
        ] {
            assert_eq!(parse(&header), Err(error), "{header:?}");
        }
        assert_eq!(parse(b"\r\n\r\n\0\r\nQUIX"), Err(HeaderError::Missing));
    }

    #[test]
    fn a_checksum_is_checked() {
        assert_eq!(crc32c(b"123456789", 0..0), 0xE306_9283, "the check value of CRC-32C");
        let mut header = v2(0x21, 0x11, &[&BLOCK4[..], &[TLV_CRC32C, 0, 4, 0, 0, 0, 0]].concat());
        let at = header.len() - 4;
        assert_eq!(parse(&header), Err(HeaderError::Checksum));
        let crc = crc32c(&header, 0..0);
        header[at..].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(parse(&header), Ok(Parsed::Complete { ends: Some(_), .. })));
        header[20] ^= 1;
        assert_eq!(parse(&header), Err(HeaderError::Checksum));
    }

    #[test]
    fn headers_are_written() {
        let four = ends("192.0.2.1:51234", "198.51.100.2:443");
        let mixed = ends("192.0.2.1:1", "[2001:db8::2]:2");
        let written = |version, ends| {
            let mut out = Vec::new();
            write(version, ends, &mut out);
            out
        };
        assert_eq!(written(ProxyVersion::V1, four), b"PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\n");
        assert_eq!(written(ProxyVersion::V2, four), v2(0x21, 0x11, &BLOCK4));
        assert_eq!(written(ProxyVersion::V1, mixed), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
        assert_eq!(written(ProxyVersion::V2, mixed).len(), 16 + 36);
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        /// What is written reads back, whatever follows; and every part of it is the start of a header.
        #[test]
        fn what_is_written_reads_back(
            (source, destination, behind) in (address(), address(), proptest::collection::vec(any::<u8>(), 0..40)),
        ) {
            for version in ProxyVersion::ALL {
                let mut bytes = Vec::new();
                write(version, Ends { source, destination }, &mut bytes);
                let length = bytes.len();
                prop_assert!(version == ProxyVersion::V2 || length <= limits::PROXY_V1_BYTES_MAX);
                for split in 0..length {
                    prop_assert_eq!(parse(&bytes[..split]), Ok(Parsed::Partial), "{}", split);
                }
                bytes.extend(&behind);
                let Ok(Parsed::Complete { ends: Some(read), consumed }) = parse(&bytes) else {
                    panic!("{:?}", parse(&bytes));
                };
                prop_assert_eq!(consumed, length);
                let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
                prop_assert_eq!(canonical(read.source), canonical(source));
                prop_assert_eq!(canonical(read.destination), canonical(destination));
            }
        }

        /// Any bytes get a verdict, and more of them never turn a verdict round.
        #[test]
        fn a_verdict_stands(
            start in prop_oneof![Just(&b""[..]), Just(V1_PREFIX), Just(&b"PROXY TCP4 "[..]), Just(&V2_SIGNATURE[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..700),
        ) {
            let bytes = [start, &rest].concat();
            let whole = parse(&bytes);
            for split in 0..bytes.len() {
                match parse(&bytes[..split]) {
                    Ok(Parsed::Partial) => {}
                    decided => prop_assert_eq!(decided, whole, "{}", split),
                }
            }
        }
    }
}
