//! Bodies: decoding what a sender frames, encoding what a receiver is owed.
//!
//! The two are apart: a body comes in one framing and may leave in another (a close-delimited response leaves
//! chunked for an HTTP/1.1 client). Neither side ever holds payload: the decoder compacts it in the buffer it
//! was read into, the encoder says which bytes go around it.

use super::chunked::ChunkedDecoder;
use super::error::BodyError;
use super::framing::Framing;

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decoded {
    /// Bytes of payload, now at the start of the buffer.
    pub payload: usize,
    /// Bytes taken. Those behind belong to the next message; there are none unless `done`.
    pub consumed: usize,
    /// Whether the body has ended.
    pub done: bool,
}

/// Follows one body to its end, in as many pieces as it comes.
#[derive(Debug)]
pub enum BodyDecoder {
    /// No bytes are left of a counted body, or there never was one.
    Done,
    /// So many bytes are left; never 0.
    Length(u64),
    /// In a chunked body.
    Chunked(ChunkedDecoder),
    /// In a body that ends with its connection.
    UntilClose,
}

const _: () = assert!(size_of::<BodyDecoder>() <= 24);

impl BodyDecoder {
    /// A decoder at the start of a body of this framing.
    #[must_use]
    pub const fn new(framing: Framing) -> BodyDecoder {
        match framing {
            Framing::None => BodyDecoder::Done,
            Framing::Length(bytes) => BodyDecoder::of_length(bytes),
            Framing::Chunked => BodyDecoder::Chunked(ChunkedDecoder::new()),
            Framing::UntilClose => BodyDecoder::UntilClose,
        }
    }

    const fn of_length(left: u64) -> BodyDecoder {
        if left == 0 { BodyDecoder::Done } else { BodyDecoder::Length(left) }
    }

    /// Decodes in place: payload bytes are compacted to `buf[..payload]`; the bytes from `buf[consumed..]` on
    /// belong to the next message and are left as they are. When the body is not done, all of `buf` was taken.
    ///
    /// # Errors
    /// The first fault of the framing. The decoder, the content of `buf` and the connection are of no further
    /// use then.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, BodyError> {
        let (payload, consumed) = match self {
            BodyDecoder::Done => (0, 0),
            BodyDecoder::Length(left) => {
                let bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                *self = BodyDecoder::of_length(*left - bytes as u64);
                (bytes, bytes)
            }
            BodyDecoder::Chunked(chunked) => chunked.decode(buf)?,
            BodyDecoder::UntilClose => (buf.len(), buf.len()),
        };
        Ok(Decoded { payload, consumed, done: self.is_done() })
    }

    /// Whether the body has ended. Bodies of no bytes have from the start.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            BodyDecoder::Done => true,
            BodyDecoder::Chunked(chunked) => chunked.is_done(),
            BodyDecoder::Length(_) | BodyDecoder::UntilClose => false,
        }
    }

    /// Takes note that the sender closed. Ends a close-delimited body.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] when the body has not ended by its own framing.
    pub fn end_of_stream(&mut self) -> Result<(), BodyError> {
        if matches!(self, BodyDecoder::UntilClose) {
            *self = BodyDecoder::Done;
        }
        if self.is_done() { Ok(()) } else { Err(BodyError::Truncated) }
    }

    /// Payload bytes certain to follow before the next framing byte: they may be moved without being seen.
    /// `u64::MAX` in a close-delimited body.
    #[must_use]
    pub fn bulk(&self) -> u64 {
        match self {
            BodyDecoder::Done => 0,
            BodyDecoder::Length(left) => *left,
            BodyDecoder::Chunked(chunked) => chunked.bulk(),
            BodyDecoder::UntilClose => u64::MAX,
        }
    }

    /// Takes note that so many payload bytes, at most [`BodyDecoder::bulk`], were moved without
    /// [`BodyDecoder::decode`].
    pub fn skip_bulk(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.bulk());
        match self {
            BodyDecoder::Length(left) => *self = BodyDecoder::of_length(left.saturating_sub(bytes)),
            BodyDecoder::Chunked(chunked) => chunked.skip_bulk(bytes),
            BodyDecoder::Done | BodyDecoder::UntilClose => {}
        }
    }

    /// The accepted trailer lines `Name: value CRLF`, without the final empty line. Empty until the body is
    /// done, and when there are none.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        match self {
            BodyDecoder::Chunked(chunked) => chunked.trailers(),
            BodyDecoder::Done | BodyDecoder::Length(_) | BodyDecoder::UntilClose => &[],
        }
    }
}

/// Frames one body for its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoder {
    /// There is no body.
    None,
    /// So many bytes of those promised are still owed.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// The connection is closed after the body.
    UntilClose,
}

impl From<Framing> for BodyEncoder {
    fn from(framing: Framing) -> BodyEncoder {
        match framing {
            Framing::None => BodyEncoder::None,
            Framing::Length(bytes) => BodyEncoder::Length(bytes),
            Framing::Chunked => BodyEncoder::Chunked,
            Framing::UntilClose => BodyEncoder::UntilClose,
        }
    }
}

impl BodyEncoder {
    /// The bytes to send before `payload` bytes of payload. Call it once per payload, and not for an empty one:
    /// an empty chunk would end the body, so none is made, but the suffix would still break the coding.
    #[must_use]
    pub fn prefix(&mut self, payload: usize) -> Prefix {
        match self {
            BodyEncoder::Chunked => Prefix::chunk_size(payload),
            BodyEncoder::Length(owed) => {
                *owed = owed.saturating_sub(payload as u64);
                Prefix::EMPTY
            }
            BodyEncoder::None | BodyEncoder::UntilClose => Prefix::EMPTY,
        }
    }

    /// The bytes to send after each payload.
    #[must_use]
    pub const fn suffix(&self) -> &'static [u8] {
        match self {
            BodyEncoder::Chunked => b"\r\n",
            BodyEncoder::None | BodyEncoder::Length(_) | BodyEncoder::UntilClose => b"",
        }
    }

    /// Appends the end of the body to `out`: the last chunk and `trailers` (whole lines, as of
    /// [`BodyDecoder::trailers`]). Never call it for a body that was cut: it would look complete.
    pub fn finish(&self, trailers: &[u8], out: &mut Vec<u8>) {
        match self {
            BodyEncoder::Chunked => {
                out.extend_from_slice(b"0\r\n");
                out.extend_from_slice(trailers);
                out.extend_from_slice(b"\r\n");
            }
            BodyEncoder::None | BodyEncoder::Length(_) | BodyEncoder::UntilClose => {}
        }
    }

    /// Whether all that was promised by number was sent.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        match self {
            BodyEncoder::Length(owed) => *owed == 0,
            BodyEncoder::None | BodyEncoder::Chunked | BodyEncoder::UntilClose => true,
        }
    }
}

/// Bytes of [`Prefix`]: 16 digits and CRLF.
const PREFIX_BYTES: usize = 18;

/// A few bytes that go before a payload, held in place; none by default.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    bytes: [u8; PREFIX_BYTES],
    start: u8,
}

impl Default for Prefix {
    fn default() -> Self {
        Prefix::EMPTY
    }
}

impl Prefix {
    #[expect(clippy::cast_possible_truncation, reason = "18 fits")]
    const EMPTY: Prefix = Prefix { bytes: [0; PREFIX_BYTES], start: PREFIX_BYTES as u8 };

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(usize::from(self.start)..).unwrap_or_default()
    }

    /// `size` in hexadecimal and CRLF, written from the end; empty for 0.
    fn chunk_size(size: usize) -> Prefix {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        debug_assert!(size > 0, "an empty chunk ends the body");
        let mut prefix = Prefix::EMPTY;
        if size == 0 {
            return prefix;
        }
        prefix.prepend(b'\n');
        prefix.prepend(b'\r');
        let mut rest = size;
        while rest > 0 {
            prefix.prepend(DIGITS.get(rest & 15).copied().unwrap_or_default());
            rest >>= 4;
        }
        prefix
    }

    fn prepend(&mut self, byte: u8) {
        self.start = self.start.saturating_sub(1);
        if let Some(slot) = self.bytes.get_mut(usize::from(self.start)) {
            *slot = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Goal: each framing counts, ends and reports what moved past it; what is encoded decodes to itself.

    use super::*;

    fn decode(decoder: &mut BodyDecoder, bytes: &[u8]) -> (Vec<u8>, Vec<u8>, bool) {
        let mut buf = bytes.to_vec();
        let decoded = decoder.decode(&mut buf).unwrap();
        assert_eq!(buf[decoded.consumed..], bytes[decoded.consumed..], "the next message is untouched");
        assert!(decoded.done || decoded.consumed == bytes.len());
        (buf[..decoded.payload].to_vec(), buf[decoded.consumed..].to_vec(), decoded.done)
    }

    #[test]
    fn no_body_is_done_from_the_start_and_takes_nothing() {
        for framing in [Framing::None, Framing::Length(0)] {
            let mut decoder = BodyDecoder::new(framing);
            assert!(decoder.is_done());
            assert_eq!(decoder.bulk(), 0);
            assert_eq!(decode(&mut decoder, b"GET"), (vec![], b"GET".to_vec(), true));
            assert_eq!(decoder.end_of_stream(), Ok(()));
        }
    }

    #[test]
    fn a_length_is_counted_down_and_no_further() {
        let mut decoder = BodyDecoder::new(Framing::Length(5));
        assert_eq!(decode(&mut decoder, b"ab"), (b"ab".to_vec(), vec![], false));
        assert_eq!(decoder.bulk(), 3);
        assert_eq!(decoder.end_of_stream(), Err(BodyError::Truncated));
        decoder.skip_bulk(1);
        assert_eq!(decode(&mut decoder, b"deGET"), (b"de".to_vec(), b"GET".to_vec(), true));
        assert_eq!(decoder.end_of_stream(), Ok(()));
    }

    #[test]
    fn skipping_all_of_a_length_ends_it() {
        let mut decoder = BodyDecoder::new(Framing::Length(u64::MAX));
        decoder.skip_bulk(u64::MAX);
        assert!(decoder.is_done());
    }

    #[test]
    fn a_close_delimited_body_ends_with_its_stream_only() {
        let mut decoder = BodyDecoder::new(Framing::UntilClose);
        assert_eq!(decode(&mut decoder, b"abc"), (b"abc".to_vec(), vec![], false));
        decoder.skip_bulk(1 << 40);
        assert_eq!(decoder.bulk(), u64::MAX);
        assert!(!decoder.is_done());
        assert_eq!(decoder.end_of_stream(), Ok(()));
        assert!(decoder.is_done());
        assert_eq!(decoder.bulk(), 0);
    }

    #[test]
    fn the_bulk_of_a_chunk_may_be_skipped() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        assert_eq!(decoder.bulk(), 0);
        assert_eq!(decode(&mut decoder, b"a\r\nab"), (b"ab".to_vec(), vec![], false));
        assert_eq!(decoder.bulk(), 8);
        decoder.skip_bulk(3);
        assert_eq!(decoder.bulk(), 5);
        decoder.skip_bulk(5);
        assert_eq!(decoder.bulk(), 0);
        assert_eq!(decoder.end_of_stream(), Err(BodyError::Truncated));
        assert_eq!(decode(&mut decoder, b"\r\n0\r\n\r\nX"), (vec![], b"X".to_vec(), true));
        assert_eq!(decoder.end_of_stream(), Ok(()));
    }

    #[test]
    fn prefixes() {
        let mut chunked = BodyEncoder::Chunked;
        assert_eq!(chunked.prefix(1).as_slice(), b"1\r\n");
        assert_eq!(chunked.prefix(0x1a0).as_slice(), b"1a0\r\n");
        assert_eq!(chunked.prefix(usize::MAX).as_slice(), b"ffffffffffffffff\r\n");
        assert_eq!(chunked.suffix(), b"\r\n");
        assert!(chunked.is_complete());
        for mut plain in [BodyEncoder::None, BodyEncoder::UntilClose] {
            assert_eq!((plain.prefix(9).as_slice(), plain.suffix()), (b"" as &[u8], b"" as &[u8]));
            assert!(plain.is_complete());
        }
    }

    #[test]
    fn a_promised_length_is_complete_when_it_was_sent() {
        let mut length = BodyEncoder::from(Framing::Length(5));
        assert_eq!((length.prefix(4).as_slice(), length.is_complete()), (b"" as &[u8], false));
        assert_eq!((length.prefix(4).as_slice(), length.is_complete()), (b"" as &[u8], true));
        let mut out = Vec::new();
        length.finish(b"A: b\r\n", &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let mut encoder = BodyEncoder::Chunked;
        let mut wire = Vec::new();
        let mut payload = Vec::new();
        for size in [1_usize, 15, 16, 255, 256, 70_000] {
            let bytes = vec![b'a'; size];
            wire.extend_from_slice(encoder.prefix(size).as_slice());
            wire.extend_from_slice(&bytes);
            wire.extend_from_slice(encoder.suffix());
            payload.extend_from_slice(&bytes);
        }
        encoder.finish(b"Grpc-Status: 0\r\n", &mut wire);
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        assert_eq!(decode(&mut decoder, &wire), (payload, vec![], true));
        assert_eq!(decoder.trailers(), b"Grpc-Status: 0\r\n");
    }
}
