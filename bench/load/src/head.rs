//! Just enough of HTTP/1.1 to find where a message ends. Both ends of the bench are our own.

use std::str;

use crate::limits::HEAD_BYTES_MAX;

/// Collects a head that may come in pieces.
#[derive(Default)]
pub struct HeadBuffer(Vec<u8>);

/// What [`HeadBuffer::push`] made of the bytes.
pub enum Pushed<'a> {
    /// The head has not ended yet.
    More,
    /// The head is too long, or not a head.
    Bad,
    /// What the caller's function made of the head, and the bytes behind it.
    Head(Head, &'a [u8]),
}

/// What matters of a head, of a request or a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Status of a response; 0 in requests.
    pub status: u16,
    /// Target of a request; empty in responses.
    pub target: String,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Connection: close`.
    pub close: bool,
}

impl HeadBuffer {
    /// Takes bytes up to the end of the head.
    pub fn push<'a>(&mut self, bytes: &'a [u8]) -> Pushed<'a> {
        if self.0.is_empty()
            && let Some(at) = end(bytes)
        {
            return finish(parse(bytes.get(..at)), bytes.get(at..));
        }
        let before = self.0.len();
        let room = HEAD_BYTES_MAX.saturating_sub(before);
        self.0.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or(bytes));
        match end(&self.0) {
            Some(at) => {
                let head = parse(self.0.get(..at));
                self.0.clear();
                finish(head, bytes.get(at.saturating_sub(before)..))
            }
            None if self.0.len() >= HEAD_BYTES_MAX => Pushed::Bad,
            None => Pushed::More,
        }
    }
}

fn finish(head: Option<Head>, rest: Option<&[u8]>) -> Pushed<'_> {
    match (head, rest) {
        (Some(head), Some(rest)) => Pushed::Head(head, rest),
        _ => Pushed::Bad,
    }
}

fn end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn parse(head: Option<&[u8]>) -> Option<Head> {
    let mut lines = str::from_utf8(head?).ok()?.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (word, second) = (first.next()?, first.next()?);
    let is_response = word.starts_with("HTTP/");
    let mut head = Head {
        status: if is_response { second.parse().ok()? } else { 0 },
        target: if is_response { String::new() } else { second.to_owned() },
        length: None,
        close: false,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Some(value.trim().parse().ok()?);
        } else if name.eq_ignore_ascii_case("connection") {
            head.close = value.trim().eq_ignore_ascii_case("close");
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\nok";

    fn check(pushed: Pushed<'_>) {
        let Pushed::Head(head, rest) = pushed else { panic!("no head") };
        assert_eq!(head, Head { status: 200, target: String::new(), length: Some(2), close: true });
        assert_eq!(rest, b"ok");
    }

    #[test]
    fn whole_and_in_two_pieces() {
        check(HeadBuffer::default().push(RESPONSE));
        for at in 1..RESPONSE.len() - 2 {
            let mut buffer = HeadBuffer::default();
            assert!(matches!(buffer.push(&RESPONSE[..at]), Pushed::More));
            check(buffer.push(&RESPONSE[at..]));
        }
    }

    #[test]
    fn junk_is_refused() {
        assert!(matches!(HeadBuffer::default().push(b"\r\n\r\n"), Pushed::Bad));
        assert!(matches!(HeadBuffer::default().push(&[b'a'; HEAD_BYTES_MAX]), Pushed::Bad));
    }
}
