//! Event streams: how long an event takes from the origin's send to the client's read, from the timestamp that the
//! event carries.

use std::rc::Rc;

use crate::engine::{Load, Report, Tally, Verdict};
use crate::head::{HeadBuffer, Pushed};

use crate::link::Links;
use crate::origin::events::{MARK, STAMP_DIGITS};

/// What an event begins with, up to the end of its timestamp.
const EVENT_BYTES: usize = MARK.len() + STAMP_DIGITS;

#[derive(Default)]
struct Stream {
    head: HeadBuffer,
    open: bool,
    /// The bytes at the end of the last read in which an event may have begun.
    carry: Vec<u8>,
    events: u64,
    heard: bool,
}

/// The load.
pub struct Streams {
    request: Rc<[u8]>,
    streams: Vec<Stream>,
    /// Events each stream must have had for the measurement to be whole.
    interval_ns: u64,
    silent: usize,
    tally: Tally,
}

impl Streams {
    /// So many streams of one event per interval.
    #[must_use]
    pub fn new(request: Rc<[u8]>, count: usize, interval_ns: u64) -> Self {
        let streams = (0..count).map(|_| Stream::default()).collect();
        Self { request, streams, interval_ns, silent: count, tally: Tally::default() }
    }
}

impl Load for Streams {
    fn opened(&mut self, links: &mut Links, id: usize, _now: u64) {
        let _ = links.send(id, Rc::clone(&self.request));
    }

    fn received(&mut self, _links: &mut Links, id: usize, mut bytes: &[u8], now: u64) -> Verdict {
        let Some(stream) = self.streams.get_mut(id) else { return Verdict::Broken };
        if !stream.open {
            match stream.head.push(bytes) {
                Pushed::More => return Verdict::Keep,
                Pushed::Head(head, rest) if head.status == 200 => bytes = rest,
                Pushed::Head(..) | Pushed::Bad => return Verdict::Broken,
            }
            stream.open = true;
        }
        let delays = &mut self.tally.latencies;
        stream.events += scan(&mut stream.carry, bytes, |sent| delays.record(now.saturating_sub(sent)));
        if stream.events > 0 && !stream.heard {
            stream.heard = true;
            self.silent -= 1;
        }
        Verdict::Keep
    }

    fn is_ready(&self) -> bool {
        self.silent == 0
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn start(&mut self, _now: u64) {
        self.tally = Tally::default();
        self.streams.iter_mut().for_each(|stream| stream.events = 0);
    }

    /// A stream with fewer events than whole intervals, less one for the edges, has lost some: an error each.
    fn report(&self, elapsed_ns: u64) -> Report {
        let due = (elapsed_ns / self.interval_ns).saturating_sub(1);
        let starved = self.streams.iter().filter(|stream| stream.events < due).count();
        self.tally.report(starved as u64, elapsed_ns)
    }
}

/// Finds events in what a stream delivered, chunk framing and all, and how many there were.
fn scan(carry: &mut Vec<u8>, bytes: &[u8], mut event: impl FnMut(u64)) -> u64 {
    carry.extend_from_slice(bytes);
    let (mut from, mut count) = (0, 0);
    while let Some(at) = find(carry.get(from..).unwrap_or_default()) {
        let stamp = carry.get(from + at + MARK.len()..from + at + EVENT_BYTES).unwrap_or_default();
        if let Some(sent) = str::from_utf8(stamp).ok().and_then(|digits| digits.parse().ok()) {
            event(sent);
            count += 1;
        }
        from += at + EVENT_BYTES;
    }
    let keep = carry.len().saturating_sub(EVENT_BYTES - 1).max(from);
    carry.drain(..keep);
    count
}

/// Where the next complete mark with its timestamp is.
fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(EVENT_BYTES).position(|window| window.starts_with(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text = b"48\r\ndata: 00000000000000000007 xx\n\n\r\n48\r\ndata: 00000000000000000009 xx\n\n\r\n";
        for at in 0..text.len() {
            let (mut carry, mut stamps) = (Vec::new(), Vec::new());
            for part in [&text[..at], &text[at..]] {
                scan(&mut carry, part, |sent| stamps.push(sent));
            }
            assert_eq!(stamps, [7, 9], "cut at {at}");
        }
    }
}
