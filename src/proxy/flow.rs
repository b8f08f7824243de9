//! One direction of an exchange: payload decoded from the sender's framing, re-framed for the receiver.
//!
//! ```text
//!            accept()               settle()
//!  sender ───────────▶ [ unsent ] ───────────▶ receiver
//!         wants_input()             !is_settled()
//! ```
//! While anything is unsent nothing more is taken from the sender: that is the whole of backpressure.

use crate::h1::body::Prefix;
use crate::h1::error::BodyError;
use crate::h1::{BodyDecoder, BodyEncoder, Framing};

/// How a body is framed for its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// As it came: the receiver understands the sender's framing.
    Same,
    /// Chunked, because the sender ends by closing.
    Chunked,
    /// To the end of the connection, because the receiver knows no chunks.
    UntilClose,
}

/// One direction of an exchange.
#[derive(Debug)]
pub struct Flow {
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    unsent: usize,
    stopped: bool,
    payload: u64,
}

/// One read's worth of a body: `prefix`, then `payload` bytes from the start of the buffer, then `suffix`.
#[derive(Debug)]
pub struct Piece {
    /// Framing before the payload; empty when there is no payload.
    pub prefix: Prefix,
    /// Payload bytes at the start of the buffer.
    pub payload: usize,
    /// Framing after the payload.
    pub suffix: &'static [u8],
    /// Bytes of the buffer that belong to this body; what follows is the next message.
    pub consumed: usize,
    /// The body ends here: [`Flow::finish`] is due.
    pub done: bool,
}

impl Flow {
    /// A body that comes framed as `framing` and leaves as `outgoing`.
    #[must_use]
    pub fn new(framing: Framing, outgoing: Outgoing) -> Flow {
        let encoder = match (outgoing, framing) {
            (_, Framing::None) => BodyEncoder::None,
            (Outgoing::Chunked, _) | (Outgoing::Same, Framing::Chunked) => BodyEncoder::Chunked,
            (Outgoing::UntilClose, _) | (Outgoing::Same, Framing::UntilClose) => BodyEncoder::UntilClose,
            (Outgoing::Same, Framing::Length(n)) => BodyEncoder::Length(n),
        };
        Flow { decoder: BodyDecoder::new(framing), encoder, unsent: 0, stopped: false, payload: 0 }
    }

    /// Takes what was read from the sender; payload is compacted to the start of `buf`.
    ///
    /// # Errors
    /// The sender's framing is broken.
    pub fn accept(&mut self, buf: &mut [u8]) -> Result<Piece, BodyError> {
        let decoded = self.decoder.decode(buf)?;
        self.payload += decoded.payload as u64;
        let (prefix, suffix) = if decoded.payload > 0 {
            (self.encoder.prefix(decoded.payload), self.encoder.suffix())
        } else {
            (Prefix::default(), [].as_slice())
        };
        Ok(Piece { prefix, payload: decoded.payload, suffix, consumed: decoded.consumed, done: decoded.done })
    }

    /// Payload bytes certain to follow that may be moved without being seen.
    #[must_use]
    pub fn bulk(&self) -> u64 {
        if self.stopped { 0 } else { self.decoder.bulk() }
    }

    /// `bytes` of [`Flow::bulk`] were moved unseen. Returns the head of the chunk that they are for their receiver; empty
    /// when they are none.
    pub fn moved(&mut self, bytes: usize) -> Prefix {
        self.decoder.skip_bulk(bytes as u64);
        self.payload += bytes as u64;
        self.encoder.prefix(bytes)
    }

    /// The sender closed its side.
    ///
    /// # Errors
    /// The body is shorter than its framing promised.
    pub fn end_of_stream(&mut self) -> Result<(), BodyError> {
        self.decoder.end_of_stream()
    }

    /// Appends what tells the receiver that the body is complete: the last chunk and the trailers.
    pub fn finish(&self, out: &mut Vec<u8>) {
        self.encoder.finish(self.decoder.trailers(), out);
    }

    /// Appends an end with `trailers` (whole lines) in place of the sender's, to a body that did not reach its own; false
    /// where the framing has no room for that.
    #[must_use]
    pub fn break_off(&self, trailers: &[u8], out: &mut Vec<u8>) -> bool {
        let before = out.len();
        self.encoder.finish(trailers, out);
        out.len() > before
    }

    /// `unsent` bytes wait for the receiver.
    pub fn settle(&mut self, unsent: usize) {
        self.unsent = unsent;
    }

    /// Nothing more is taken from the sender, and nothing more is owed to the receiver.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.unsent = 0;
    }

    /// The receiver was replaced: `unsent` bytes, which are all that the former one was sent, wait for the new one. Even if
    /// the former one had stopped reading, nothing is lost: what was taken from the sender is among them.
    pub fn resume(&mut self, unsent: usize) {
        self.stopped = false;
        self.unsent = unsent;
    }

    /// The sender may be read.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.stopped && self.unsent == 0 && !self.decoder.is_done()
    }

    /// Nothing waits for the receiver.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsent == 0
    }

    /// The whole body was taken from the sender.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.decoder.is_done()
    }

    /// The whole body is with the receiver.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.stopped && self.decoder.is_done() && self.unsent == 0
    }

    /// The direction was given up.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Payload bytes taken from the sender, and those its framing has announced beyond them.
    #[must_use]
    pub fn announced(&self) -> u64 {
        self.payload.saturating_add(self.decoder.bulk())
    }

    /// Payload bytes taken from the sender so far.
    #[must_use]
    pub fn payload(&self) -> u64 {
        self.payload
    }
}
