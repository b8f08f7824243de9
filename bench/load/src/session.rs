//! An HTTP/2 connection, from either end: acknowledges what wants to be, gives windows back, and sends DATA when the
//! other side's windows have room. What it has to say gathers until [`Session::output`] takes it, so one read is
//! answered by one send.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::rc::Rc;

use crate::frames::{self, Broken, Frame};
use crate::limits::{CONNECTION_WINDOW, QUEUE_MAX, STREAM_WINDOW};

/// What came that is not the session's own affair.
pub enum Event<'a> {
    /// A head, or trailers.
    Head {
        /// Of this stream.
        stream: u32,
        /// It is a response head with status 200.
        ok: bool,
        /// Nothing follows.
        end: bool,
    },
    /// Part of a body.
    Data {
        /// Of this stream.
        stream: u32,
        /// That much.
        bytes: &'a [u8],
        /// Nothing follows.
        end: bool,
    },
    /// The other side gave this stream up.
    Reset(u32),
    /// The other side wants no more streams.
    GoAway,
}

/// A stream on which we send DATA, or so much may come that its window has to be given back.
struct Flow {
    window: i64,
    owed: u32,
    waiting: VecDeque<Vec<u8>>,
}

/// The connection.
pub struct Session {
    /// What has to come before any frame.
    skip: &'static [u8],
    carry: Vec<u8>,
    out: Vec<u8>,
    window: i64,
    initial: i64,
    owed: u32,
    flows: BTreeMap<u32, Flow>,
}

impl Session {
    /// The end that connects.
    #[must_use]
    pub fn client() -> Self {
        Self::new(frames::PREFACE.to_vec(), &[])
    }

    /// The end that was connected to, after the part of the preface that looks like a head.
    #[must_use]
    pub fn server() -> Self {
        Self::new(Vec::new(), frames::PREFACE_REST)
    }

    fn new(mut out: Vec<u8>, skip: &'static [u8]) -> Self {
        frames::push_greeting(&mut out);
        // RFC 9113 §6.9.2: 65 535 until SETTINGS and WINDOW_UPDATE say otherwise.
        let flows = BTreeMap::new();
        Self { skip, carry: Vec::new(), out, window: 65_535, initial: 65_535, owed: 0, flows }
    }

    /// Starts to account for a stream: one that sends DATA, or receives more than [`STREAM_WINDOW`].
    pub fn open(&mut self, stream: u32) {
        self.flows.insert(stream, Flow { window: self.initial, owed: 0, waiting: VecDeque::new() });
    }

    /// Ends what [`Session::open`] started.
    pub fn close(&mut self, stream: u32) {
        self.flows.remove(&stream);
    }

    /// Sends a head.
    pub fn head(&mut self, stream: u32, block: &[u8], end: bool) {
        frames::push_head(&mut self.out, stream, block, end);
    }

    /// Sends DATA, or keeps it until there is room.
    ///
    /// # Errors
    /// When more waits than a side that reads would let wait.
    pub fn data(&mut self, stream: u32, payload: &[u8]) -> Result<(), Broken> {
        let flow = self.flows.get_mut(&stream).ok_or(Broken)?;
        let size = payload.len() as i64;
        if flow.waiting.is_empty() && size <= flow.window.min(self.window) {
            flow.window -= size;
            self.window -= size;
            frames::push(&mut self.out, frames::DATA, 0, stream, payload);
        } else if flow.waiting.len() < QUEUE_MAX {
            flow.waiting.push_back(payload.to_vec());
        } else {
            return Err(Broken);
        }
        Ok(())
    }

    /// What is to be sent.
    pub fn output(&mut self) -> Option<Rc<[u8]>> {
        (!self.out.is_empty()).then(|| {
            let out = Rc::from(self.out.as_slice());
            self.out.clear();
            out
        })
    }

    /// Takes what came and tells `on` of it.
    ///
    /// # Errors
    /// When the other side broke the rules, or `on` says so.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(&mut Self, Event<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if !self.skip.is_empty() {
            let (due, rest) = self.skip.split_at(bytes.len().min(self.skip.len()));
            bytes = bytes.strip_prefix(due).ok_or(Broken)?;
            self.skip = rest;
        }
        let mut carry = mem::take(&mut self.carry);
        let seen = frames::each(&mut carry, bytes, |frame| match self.keep(&frame)? {
            Some(event) => on(self, event),
            None => Ok(()),
        });
        self.carry = carry;
        seen
    }

    /// Deals with what is the session's own affair.
    fn keep<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Event<'a>>, Broken> {
        let (stream, end) = (frame.stream, frame.flags & frames::END != 0);
        match frame.kind {
            frames::DATA => {
                self.give_back(stream, frame.payload.len() as u32);
                return Ok(Some(Event::Data { stream, bytes: frame.payload, end }));
            }
            frames::HEADERS => {
                return Ok(Some(Event::Head { stream, ok: frames::is_ok(frame.payload), end }));
            }
            frames::RESET => return Ok(Some(Event::Reset(stream))),
            frames::GOAWAY => return Ok(Some(Event::GoAway)),
            // Here END is ACK.
            frames::SETTINGS if !end => self.settings(frame.payload),
            frames::PING if !end => frames::push(&mut self.out, frames::PING, frames::END, 0, frame.payload),
            frames::WINDOW_UPDATE => {
                self.widen(stream, i64::from(frames::increment(frame.payload).ok_or(Broken)?));
            }
            _ => {}
        }
        Ok(None)
    }

    fn settings(&mut self, payload: &[u8]) {
        for (name, value) in frames::settings(payload) {
            if name == frames::INITIAL_WINDOW {
                let more = i64::from(value) - self.initial;
                self.initial += more;
                self.flows.values_mut().for_each(|flow| flow.window += more);
            }
        }
        frames::push(&mut self.out, frames::SETTINGS, frames::END, 0, &[]);
        self.send_waiting();
    }

    fn widen(&mut self, stream: u32, more: i64) {
        match self.flows.get_mut(&stream) {
            Some(flow) => flow.window += more,
            None if stream == 0 => self.window += more,
            // A stream that has ended, or sends nothing.
            None => return,
        }
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        for (stream, flow) in &mut self.flows {
            while let Some(front) = flow.waiting.front() {
                let size = front.len() as i64;
                if size > flow.window.min(self.window) {
                    break;
                }
                flow.window -= size;
                self.window -= size;
                frames::push(&mut self.out, frames::DATA, 0, *stream, front);
                flow.waiting.pop_front();
            }
        }
    }

    /// Gives windows back when half of them is used.
    fn give_back(&mut self, stream: u32, bytes: u32) {
        let Self { owed, flows, out, .. } = self;
        let mut settle = |owed: &mut u32, stream, window| {
            *owed += bytes;
            if *owed >= window / 2 {
                frames::push_window(out, stream, mem::take(owed));
            }
        };
        settle(owed, 0, CONNECTION_WINDOW);
        if let Some(flow) = flows.get_mut(&stream) {
            settle(&mut flow.owed, stream, STREAM_WINDOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives all of `from`'s output to `to` and returns the bodies that came.
    fn pass(from: &mut Session, to: &mut Session) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(bytes) = from.output() {
            let seen =
                to.receive(bytes.strip_prefix(b"PRI * HTTP/2.0\r\n\r\n").unwrap_or(&bytes), |_, event| {
                    if let Event::Data { bytes, .. } = event {
                        body.extend_from_slice(bytes);
                    }
                    Ok(())
                });
            assert_eq!(seen, Ok(()));
        }
        body
    }

    #[test]
    fn data_waits_for_room_and_comes_in_order() {
        let (mut client, mut server) = (Session::client(), Session::server());
        client.open(1);
        let message = |number: u32| vec![number as u8; 10_000];
        // Seven times 10 000 do not fit the 65 535 that there are before the server has said a word.
        (0..8).for_each(|number| assert_eq!(client.data(1, &message(number)), Ok(())));
        let first = pass(&mut client, &mut server);
        assert_eq!(first.len(), 60_000);
        pass(&mut server, &mut client);
        let rest = pass(&mut client, &mut server);
        let all = (0..8).flat_map(message).collect::<Vec<_>>();
        assert_eq!([first, rest].concat(), all);
    }

    #[test]
    fn windows_are_given_back_so_that_it_never_ends() {
        let (mut client, mut server) = (Session::client(), Session::server());
        client.open(1);
        server.open(1);
        for _ in 0..4 * CONNECTION_WINDOW / 16_000 {
            assert_eq!(client.data(1, &[7; 16_000]), Ok(()));
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        assert!(client.flows[&1].waiting.is_empty());
    }

    #[test]
    fn a_server_wants_the_whole_preface() {
        assert_eq!(Session::server().receive(b"SM\r\n\r", |_, _| Ok(())), Ok(()));
        assert_eq!(Session::server().receive(b"SX", |_, _| Ok(())), Err(Broken));
    }
}
