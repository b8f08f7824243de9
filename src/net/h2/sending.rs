//! What the engine writes behind a head, in HTTP/1.1, as the data and trailers of a stream.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;

use crate::h1::BodyDecoder;
use crate::limits;
use crate::translate::fields;

use super::broken;

/// What follows the head.
#[derive(Debug)]
pub enum Rest {
    /// A body in this framing.
    Body(BodyDecoder),
    /// The bytes of a tunnel.
    Tunnel,
    /// Nothing.
    Nothing,
}

/// The rest of a message, behind its head.
#[derive(Debug)]
pub struct Sending {
    /// Kept to the end of the exchange, to hear of resets.
    stream: SendStream<Bytes>,
    rest: Rest,
    /// There will be no more room: the stream has ended, or its connection has.
    gone: bool,
}

impl Sending {
    /// What follows the head that opened `stream`.
    #[must_use]
    pub fn new(stream: SendStream<Bytes>, rest: Rest) -> Sending {
        Sending { stream, rest, gone: false }
    }

    /// Takes all that the windows allow of `slices`, from byte `skip` on; how many bytes that is.
    ///
    /// # Errors
    /// The stream is gone, or what was written is no body.
    pub fn take(&mut self, slices: &[IoSlice<'_>], mut skip: usize) -> io::Result<usize> {
        let before = skip;
        loop {
            match self.take_piece(slices, skip)? {
                0 => return Ok(skip - before),
                n => skip += n,
            }
        }
    }

    fn take_piece(&mut self, slices: &[IoSlice<'_>], skip: usize) -> io::Result<usize> {
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let waiting = all.saturating_sub(skip);
        let decoder = match &mut self.rest {
            Rest::Body(decoder) => Some(decoder),
            Rest::Tunnel => None,
            Rest::Nothing => return Ok(waiting), // nothing follows a complete message
        };
        if waiting == 0 {
            return Ok(0);
        }
        self.stream.reserve_capacity(waiting.min(limits::H2_SEND_BUFFER_BYTES));
        let room = self.stream.capacity().min(waiting);
        // The end of a chunked body is framing alone, and needs no window.
        let room = if room == 0 && decoder.as_ref().is_some_and(|decoder| decoder.bulk() == 0) {
            waiting.min(limits::CHUNK_FRAME_BYTES_MAX)
        } else {
            room
        };
        if room == 0 {
            return if self.gone { Err(ErrorKind::BrokenPipe.into()) } else { Ok(0) };
        }
        let mut bytes = gather(slices, skip, room);
        let Some(decoder) = decoder else {
            self.stream.send_data(Bytes::from(bytes), false).map_err(broken)?;
            return Ok(room);
        };
        let decoded = decoder.decode(&mut bytes).map_err(io::Error::other)?;
        bytes.truncate(decoded.payload);
        let trailers =
            if decoded.done { fields::read_trailers(decoder.trailers()) } else { HeaderMap::new() };
        let last = decoded.done && trailers.is_empty();
        if !bytes.is_empty() || last {
            self.stream.send_data(Bytes::from(bytes), last).map_err(broken)?;
        }
        if decoded.done {
            if !trailers.is_empty() {
                self.stream.send_trailers(trailers).map_err(broken)?;
            }
            self.rest = Rest::Nothing;
        }
        Ok(decoded.consumed)
    }

    /// Waits until [`Sending::take`] may make progress.
    pub fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.rest, Rest::Nothing) || self.stream.capacity() > 0 {
            return Poll::Ready(());
        }
        let capacity = ready!(self.stream.poll_capacity(cx));
        self.gone = !matches!(capacity, Some(Ok(_))); // for the next write to say
        Poll::Ready(())
    }

    /// Waits for the peer to reset the stream; why it did, as far as it said.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reason>> {
        self.stream.poll_reset(cx).map(Result::ok)
    }

    /// Ends our direction of a tunnel.
    pub fn end_tunnel(&mut self) {
        if matches!(self.rest, Rest::Tunnel) {
            let _ = self.stream.send_data(Bytes::new(), true); // a stream that is gone needs no end
            self.rest = Rest::Nothing;
        }
    }

    /// All of the message was written.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

/// At most `most` bytes of `slices` from byte `skip` on.
fn gather(slices: &[IoSlice<'_>], mut skip: usize, most: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(most);
    for slice in slices {
        let rest = slice.get(skip.min(slice.len())..).unwrap_or_default();
        skip = skip.saturating_sub(slice.len());
        let here = rest.len().min(most - bytes.len());
        bytes.extend_from_slice(rest.get(..here).unwrap_or_default());
    }
    bytes
}
