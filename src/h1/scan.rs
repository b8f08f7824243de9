//! When a growing head is worth a parse.
//!
//! A parse starts at the first byte each time. Doing so after each read would let a peer that drips a head
//! byte by byte cost us the square of its length; doing so only at the end would let garbage (a TLS hello on
//! a plain port) sit until the header timeout. So: parse at the first look, whenever a line ended, and
//! whenever [`STEP_BYTES`] came without one. Lines are bounded by `fields_max`, steps by `head_bytes_max`.

use memchr::memchr;

/// Bytes without a line end after which a parse checks the size limits anyway.
const STEP_BYTES: usize = 1024;

/// What was seen of one head so far. Start a new one (`default()`) for each head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    /// Bytes looked at for line ends.
    seen: usize,
    /// Bytes there were when a parse was last advised.
    tried: usize,
}

impl HeadScan {
    /// Looks at the whole buffer after it grew; true when a parse is worth trying. False for an empty buffer.
    #[must_use]
    pub fn grew(&mut self, buf: &[u8]) -> bool {
        if buf.len() < self.seen {
            *self = HeadScan::default();
        }
        let fresh = buf.get(self.seen..).unwrap_or_default();
        self.seen = buf.len();
        if fresh.is_empty() {
            return false;
        }
        let worth = self.tried == 0 || buf.len() - self.tried >= STEP_BYTES || memchr(b'\n', fresh).is_some();
        if worth {
            self.tried = buf.len();
        }
        worth
    }
}

#[cfg(test)]
mod tests {
    //! Goal: the first look, every line end and every step advise a parse, and nothing else does.

    use super::*;

    #[test]
    fn advises_at_the_first_look_at_line_ends_and_at_steps() {
        let mut scan = HeadScan::default();
        assert!(!scan.grew(b""));
        assert!(scan.grew(b"G"));
        assert!(!scan.grew(b"G"));
        assert!(!scan.grew(b"GET / HTTP/1.1\r"));
        assert!(scan.grew(b"GET / HTTP/1.1\r\n"));
        assert!(!scan.grew(b"GET / HTTP/1.1\r\nHost: a"));
        let mut long = b"GET / HTTP/1.1\r\n".to_vec();
        long.resize(16 + STEP_BYTES - 1, b'x');
        assert!(!scan.grew(&long));
        long.push(b'x');
        assert!(scan.grew(&long));
        long.push(b'x');
        assert!(!scan.grew(&long));
    }

    #[test]
    fn a_shorter_buffer_is_another_head() {
        let mut scan = HeadScan::default();
        assert!(scan.grew(b"GET /a"));
        assert!(scan.grew(b"G"));
    }

    #[test]
    fn a_dripped_head_is_parsed_once_a_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        let mut scan = HeadScan::default();
        let parses = (1..=head.len()).filter(|&end| scan.grew(&head[..end])).count();
        assert_eq!(parses, 1 + 4);
    }
}
