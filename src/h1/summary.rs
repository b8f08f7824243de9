//! One pass over the fields of a head: what they say about framing, persistence and upgrades.

use super::error::HeadError;
use super::field::{Field, Fields, Known, Span, list, trim};
use super::persistence::ConnectionTokens;

/// What the known fields of one head say. Values are spans, so the caller decides what they mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub content_length: Option<Span>,
    pub transfer_encoding: Option<Span>,
    pub host: Option<Span>,
    pub connection: ConnectionTokens,
    /// An Upgrade field names a protocol other than `h2c`.
    pub names_protocol: bool,
    pub expects_continue: bool,
    pub keep_alive_timeout_s: Option<u32>,
    pub has_date: bool,
}

impl Summary {
    /// Takes the fields httparse found into `fields` and notes what they say.
    ///
    /// # Errors
    /// A bare LF at the end of the line before a field, or a second field of a name that may occur once.
    pub fn collect(
        head: &[u8],
        parsed: &[httparse::Header<'_>],
        fields: &mut Fields,
    ) -> Result<Summary, HeadError> {
        let mut summary = Summary::default();
        for header in parsed {
            let name = span_of(head, header.name.as_bytes());
            if !line_ends_at(head, name.start) {
                return Err(HeadError::BareLf);
            }
            let known = Known::of(header.name.as_bytes());
            let value = span_of(head, header.value);
            summary.note(known, value, header.value)?;
            fields.push(Field { name, value, known });
        }
        Ok(summary)
    }

    /// Notes one field.
    fn note(&mut self, known: Known, span: Span, value: &[u8]) -> Result<(), HeadError> {
        match known {
            Known::ContentLength => once(&mut self.content_length, span, HeadError::RepeatedContentLength)?,
            Known::TransferEncoding => {
                once(&mut self.transfer_encoding, span, HeadError::RepeatedTransferEncoding)?;
            }
            Known::Host => once(&mut self.host, span, HeadError::RepeatedHost)?,
            Known::Connection => self.connection.add(value),
            Known::Upgrade => {
                self.names_protocol |= list(value).any(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"));
            }
            Known::Expect => {
                self.expects_continue |= list(value).any(|it| it.eq_ignore_ascii_case(b"100-continue"));
            }
            Known::KeepAlive => {
                self.keep_alive_timeout_s = self.keep_alive_timeout_s.or(keep_alive_timeout_s(value))
            }
            Known::Date => self.has_date = true,
            Known::Other
            | Known::ProxyConnection
            | Known::Te
            | Known::Trailer
            | Known::Via
            | Known::Accept
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedProto
            | Known::XForwardedHost
            | Known::XRequestId
            | Known::MaxForwards
            | Known::ProxyStatus => {}
        }
        Ok(())
    }

    /// The value of the only Content-Length.
    pub fn content_length_in<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        self.content_length.map(|span| span.of(head))
    }

    /// The value of the only Transfer-Encoding.
    pub fn transfer_encoding_in<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        self.transfer_encoding.map(|span| span.of(head))
    }

    /// Whether the sender takes part in an upgrade: both fields, since Upgrade alone is for nobody
    /// (RFC 9110 §7.8 makes the sender name it in Connection).
    pub fn upgrades(&self) -> bool {
        self.connection.upgrade && self.names_protocol
    }
}

fn once(slot: &mut Option<Span>, span: Span, repeated: HeadError) -> Result<(), HeadError> {
    match slot.replace(span) {
        None => Ok(()),
        Some(_) => Err(repeated),
    }
}

/// The `timeout` parameter of a Keep-Alive value such as `timeout=5, max=100`.
fn keep_alive_timeout_s(value: &[u8]) -> Option<u32> {
    list(value).find_map(|parameter| {
        let (name, digits) = parameter.split_at_checked(b"timeout=".len())?;
        if !name.eq_ignore_ascii_case(b"timeout=") {
            return None;
        }
        let digits = trim(digits);
        let valid = !digits.is_empty() && digits.len() <= 10 && digits.iter().all(u8::is_ascii_digit);
        let seconds = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
        valid.then(|| digits.iter().fold(0, seconds))
    })
}

/// Whether the line before the byte at `start` ends in CRLF. Field names start right behind a line end, so
/// this, asked of every field and of the end, finds every LF that httparse took without a CR.
fn line_ends_at(head: &[u8], start: u32) -> bool {
    let start = start as usize;
    start.checked_sub(2).and_then(|before| head.get(before..start)) == Some(b"\r\n")
}

/// Where `part` is in `head`, which it was sliced from.
pub fn span_of(head: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    debug_assert!(start <= head.len() && start + part.len() <= head.len());
    Span { start: offset(start), end: offset(start.saturating_add(part.len())) }
}

/// `at` as an offset of a [`Span`]. Heads are cut to 32 bits of length before they are parsed.
pub fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    //! Goal: Keep-Alive parameters are read as origins write them, and nothing else is taken for a timeout.

    use super::*;

    #[test]
    fn keep_alive_timeouts() {
        let rows: &[(&str, Option<u32>)] = &[
            ("timeout=5", Some(5)),
            ("max=100, Timeout=72", Some(72)),
            ("timeout=5, max=1000", Some(5)),
            ("timeout=0", Some(0)),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout=9999999999", Some(u32::MAX)),
            ("timeout=99999999999", None),
            ("timeouts=5", None),
            ("5", None),
            ("", None),
        ];
        for &(value, seconds) in rows {
            assert_eq!(keep_alive_timeout_s(value.as_bytes()), seconds, "{value:?}");
        }
    }
}
