//! The chunked transfer coding (RFC 9112 §7.1).
//!
//! ```text
//!            digit                other than CR              left bytes
//!           +-----+               +-----+                    +-----+
//!           v     | ';'           v     |                    v     |
//!  start -> Size -+-----> Extension ----+        +---------> Data -+
//!           ^ |                   |              | size > 0    |
//!           | | CR                | CR           |             v left = 0
//!           | +-----> SizeLf <----+              |           DataCr
//!           |           | LF                     |             | CR
//!           |           +------------------------+             v
//!           |           | size = 0                           DataLf
//!           +-----------|---------------------------------------+ LF
//!                       v        other              empty line
//!                    LastLine ----------> Trailers -----------+
//!                       | CR                                  |
//!                       v        LF                           v
//!                     LastLf --------------------------------> Done
//! ```
//!
//! Every byte that is not on an arrow is refused at once. Strict where peers have been fooled: one to sixteen
//! digits and nothing between them and CR or `;` (the grammar's "bad white space" included), CRLF only, no
//! control byte in an extension (llhttp's CVE-2022-32213 family), bounded lines (CVE-2023-39326).
//!
//! The decoder can stop after any byte. It is 24 bytes large: an idle connection holds one.

use super::error::BodyError;
use super::field::is_text_byte;
use super::trailers::Trailers;
use crate::limits::{CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk size.
    Size,
    /// Behind a `;` on the size line.
    Extension,
    /// Behind the CR of the size line.
    SizeLf,
    /// In chunk data; `size` bytes of it are still to come.
    Data,
    /// Behind chunk data.
    DataCr,
    /// Behind chunk data and CR.
    DataLf,
    /// Behind the size line of the last chunk.
    LastLine,
    /// Behind the CR of an empty trailer section.
    LastLf,
    /// In the trailer section.
    Trailers,
    /// Behind the body.
    Done,
}

/// Decodes one chunked body, in as many pieces as it comes.
#[derive(Debug)]
pub struct ChunkedDecoder {
    /// Of the chunk being announced; then what is left of it.
    size: u64,
    /// Only a body with trailers has any.
    trailers: Option<Box<Trailers>>,
    /// Bytes of the size line so far.
    line_bytes: u16,
    /// Digits of the size so far.
    digits: u8,
    state: State,
}

const _: () = assert!(size_of::<ChunkedDecoder>() <= 24);
const _: () = assert!(CHUNK_LINE_BYTES_MAX < u16::MAX as usize);
const _: () = assert!(CHUNK_SIZE_DIGITS_MAX * 4 <= u64::BITS as usize, "a size does not overflow");

impl Default for ChunkedDecoder {
    fn default() -> Self {
        ChunkedDecoder::new()
    }
}

impl ChunkedDecoder {
    /// A decoder before the first chunk.
    #[must_use]
    pub const fn new() -> ChunkedDecoder {
        ChunkedDecoder { size: 0, trailers: None, line_bytes: 0, digits: 0, state: State::Size }
    }

    /// Decodes `buf` in place: returns how many bytes of payload now lie at its start, and how many bytes were
    /// taken. Bytes behind those taken belong to the next message and stay as they are.
    ///
    /// # Errors
    /// The first fault of the coding. The decoder is of no further use then.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<(usize, usize), BodyError> {
        let (mut kept, mut taken) = (0, 0);
        while let Some(&byte) = buf.get(taken)
            && self.state != State::Done
        {
            if self.state == State::Data {
                let bytes = self.take_data(buf.len() - taken);
                if kept != taken {
                    buf.copy_within(taken..taken + bytes, kept);
                }
                kept += bytes;
                taken += bytes;
            } else {
                self.take(byte)?;
                taken += 1;
            }
        }
        Ok((kept, taken))
    }

    /// Whether the body has ended, trailers included.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Payload bytes certain to follow before the next byte of the coding.
    #[must_use]
    pub fn bulk(&self) -> u64 {
        if self.state == State::Data { self.size } else { 0 }
    }

    /// Notes that `bytes` of [`ChunkedDecoder::bulk`] went another way.
    pub fn skip_bulk(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.bulk());
        if self.state == State::Data {
            self.size = self.size.saturating_sub(bytes);
            self.end_data();
        }
    }

    /// The accepted trailer lines, each with its CRLF, once the body has ended.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        match &self.trailers {
            Some(trailers) if self.is_done() => trailers.lines(),
            Some(_) | None => &[],
        }
    }

    /// Takes up to `available` bytes of chunk data; how many.
    fn take_data(&mut self, available: usize) -> usize {
        let bytes = usize::try_from(self.size).unwrap_or(usize::MAX).min(available);
        self.size -= bytes as u64;
        self.end_data();
        bytes
    }

    fn end_data(&mut self) {
        if self.size == 0 {
            self.state = State::DataCr;
        }
    }

    /// Takes one byte that is not chunk data.
    fn take(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match self.state {
            State::Size => self.take_size(byte)?,
            State::Extension => self.take_extension(byte)?,
            State::SizeLf => self.take_size_end(byte)?,
            State::DataCr => expect(byte, b'\r', State::DataLf, BodyError::BadChunkEnd)?,
            State::DataLf => {
                expect(byte, b'\n', State::Size, BodyError::BadChunkEnd)?;
                *self = ChunkedDecoder::new();
                State::Size
            }
            State::LastLine if byte == b'\r' => State::LastLf,
            State::LastLine | State::Trailers => self.take_trailer(byte)?,
            State::LastLf => expect(byte, b'\n', State::Done, BodyError::BareCr)?,
            State::Data | State::Done => self.state, // not reached: decode() handles both
        };
        Ok(())
    }

    /// `chunk-size = 1*HEXDIG`, then CR or `;`.
    fn take_size(&mut self, byte: u8) -> Result<State, BodyError> {
        self.line_bytes += 1;
        match (byte, hexadecimal(byte)) {
            (_, Some(digit)) if usize::from(self.digits) < CHUNK_SIZE_DIGITS_MAX => {
                self.digits += 1;
                self.size = self.size << 4 | u64::from(digit);
                Ok(State::Size)
            }
            (b'\r', None) if self.digits > 0 => Ok(State::SizeLf),
            (b';', None) if self.digits > 0 => Ok(State::Extension),
            (b'\n', None) if self.digits > 0 => Err(BodyError::BareLf),
            (_, Some(_) | None) => Err(BodyError::BadChunkSize),
        }
    }

    fn take_extension(&mut self, byte: u8) -> Result<State, BodyError> {
        self.line_bytes += 1;
        match byte {
            b'\r' => Ok(State::SizeLf),
            b'\n' => Err(BodyError::BareLf),
            _ if !is_text_byte(byte) => Err(BodyError::BadChunkExtension),
            _ if usize::from(self.line_bytes) > CHUNK_LINE_BYTES_MAX => Err(BodyError::ChunkLineTooLong),
            _ => Ok(State::Extension),
        }
    }

    fn take_size_end(&mut self, byte: u8) -> Result<State, BodyError> {
        let next = if self.size == 0 { State::LastLine } else { State::Data };
        expect(byte, b'\n', next, BodyError::BareCr)
    }

    fn take_trailer(&mut self, byte: u8) -> Result<State, BodyError> {
        let ended = self.trailers.get_or_insert_default().push(byte)?;
        Ok(if ended { State::Done } else { State::Trailers })
    }
}

/// `next` when `byte` is the `wanted` one; an LF in its place has a fault of its own.
fn expect(byte: u8, wanted: u8, next: State, fault: BodyError) -> Result<State, BodyError> {
    match byte {
        _ if byte == wanted => Ok(next),
        b'\n' => Err(BodyError::BareLf),
        _ => Err(fault),
    }
}

const fn hexadecimal(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
