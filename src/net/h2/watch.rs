//! What a peer says, frame by frame, as it passes: whether it is in the middle of something, so that a head that drips in
//! has a deadline; whether it began as it must; and what its frames cost that move nothing, so that a flood has an end.
//! `h2` itself waits for ever, does not ask, and reads on.

use crate::limits;
use crate::time::Timestamp;

/// Type of a frame that carries a body: how slowly it may come is its stream's affair.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
/// Bytes of the client's preface before its first frame (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// Follows the frames of one peer (RFC 9113 §4.1).
#[derive(Debug)]
pub struct Watch {
    preface: usize,
    header: [u8; 9],
    /// Bytes of `header` that have come.
    have: usize,
    /// Bytes of the payload that are due.
    due: usize,
    /// Inside a header block that has not ended.
    in_head: bool,
    /// SETTINGS have come.
    greeted: bool,
    /// Something else has come before SETTINGS.
    rude: bool,
    /// How often nothing was owed.
    rests: u64,
    /// Bytes seen.
    bytes: u64,
    /// Cost of frames that moved nothing, less what was forgiven.
    cost: u64,
    /// When time last forgave some of it.
    forgiven: Timestamp,
}

impl Default for Watch {
    /// Of a client that has said nothing.
    fn default() -> Watch {
        Watch {
            preface: PREFACE_BYTES,
            header: [0; 9],
            have: 0,
            due: 0,
            in_head: false,
            greeted: false,
            rude: false,
            rests: 0,
            bytes: 0,
            cost: 0,
            forgiven: Timestamp::default(),
        }
    }
}

impl Watch {
    /// Of a server that has said nothing: its preface is SETTINGS alone.
    #[must_use]
    pub fn of_server() -> Watch {
        Watch { preface: 0, ..Watch::default() }
    }

    /// Bytes that have come.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes note of bytes that have come.
    pub fn saw(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let skip = self.preface.min(bytes.len());
        self.preface -= skip;
        bytes = bytes.get(skip..).unwrap_or_default();
        while !bytes.is_empty() {
            self.rests += u64::from(!self.is_owing());
            if self.due > 0 {
                let here = self.due.min(bytes.len());
                self.due -= here;
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            if let (Some(slot), Some(byte)) = (self.header.get_mut(self.have), bytes.first()) {
                *slot = *byte;
            }
            self.have += 1;
            bytes = bytes.get(1..).unwrap_or_default();
            if self.have == self.header.len() {
                self.have = 0;
                self.begin();
            }
        }
    }

    /// A frame's header is complete.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.due = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let greets = kind == SETTINGS && flags & ACK == 0;
        self.rude |= !self.greeted && !greets;
        self.greeted |= greets;
        if kind == HEADERS || kind == CONTINUATION {
            self.in_head = flags & END_HEADERS == 0;
        }
        self.cost += match kind {
            DATA if self.due > 0 || flags & END_STREAM != 0 => 0,
            HEADERS | CONTINUATION => 0, // a request; `h2` bounds how many, and how large
            WINDOW_UPDATE => 1,
            RST_STREAM => limits::H2_RESET_COST,
            _ => 2,
        };
    }

    /// Takes note of bytes that were sent.
    pub fn wrote(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.cost = self.cost.saturating_sub(bytes / limits::H2_BYTES_PER_COST);
    }

    /// Whether frames that move nothing have come in a number that no honest client needs (CVE-2023-44487,
    /// CVE-2019-9512, -9515 and their kin).
    pub fn is_flooded(&mut self, now: Timestamp) -> bool {
        let us = u64::try_from(now.since(self.forgiven).as_micros()).unwrap_or(u64::MAX);
        let forgiven = us.saturating_mul(limits::H2_IDLE_COST_PER_S) / 1_000_000;
        if forgiven > 0 {
            self.cost = self.cost.saturating_sub(forgiven);
            self.forgiven = now;
        }
        self.cost > limits::H2_IDLE_COST_MAX
    }

    /// The client began with something other than SETTINGS (RFC 9113 §3.4). `h2` does not mind; whoever reads on would
    /// serve it.
    #[must_use]
    pub const fn is_rude(&self) -> bool {
        self.rude
    }

    /// The peer owes the rest of something other than a body. The number is another one when it is something else
    /// than before.
    #[must_use]
    pub fn owed(&self) -> Option<u64> {
        self.is_owing().then_some(self.rests)
    }

    fn is_owing(&self) -> bool {
        let payload = self.due > 0 && self.header.get(3).is_some_and(|kind| *kind != DATA);
        !self.greeted || self.have > 0 || payload || self.in_head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(b'x', usize::from(length)));
        frame
    }

    /// Goal: something is owed exactly inside a frame, inside a head, and before SETTINGS. Method: a conversation byte by
    /// byte, with the state expected after each frame.
    #[test]
    fn what_is_owed_is_known_at_every_byte() {
        let mut watch = Watch::default();
        watch.saw(&[b'P'; PREFACE_BYTES]);
        assert!(watch.is_owing(), "SETTINGS");
        for (frame, owed_inside, owed_after) in [
            (frame(SETTINGS, 0, 6), true, false),
            (frame(HEADERS, END_HEADERS, 5), true, false),
            (frame(DATA, 0, 9), false, false),
            (frame(HEADERS, 0, 5), true, true),
            (frame(CONTINUATION, 0, 3), true, true),
            (frame(CONTINUATION, END_HEADERS, 3), true, false),
            (frame(SETTINGS, ACK, 0), true, false),
        ] {
            for (at, byte) in frame.iter().enumerate() {
                watch.saw(&[*byte]);
                let last = at + 1 == frame.len();
                let expected = if last { owed_after } else { at < 8 || owed_inside };
                assert_eq!(watch.is_owing(), expected, "byte {at} of {frame:?}");
            }
        }
        let mut whole = Watch::default();
        whole.saw(&[[b'P'; PREFACE_BYTES].to_vec(), frame(SETTINGS, 0, 6), frame(HEADERS, 0, 2)].concat());
        assert!(whole.is_owing());
    }

    fn greeted() -> Watch {
        let mut watch = Watch::default();
        watch.saw(&[[b'P'; PREFACE_BYTES].to_vec(), frame(SETTINGS, 0, 0)].concat());
        watch
    }

    /// Goal: each kind of idle frame is a flood at its own number and not before. Method: as many as are allowed, then one
    /// more; the first SETTINGS have cost 2.
    #[test]
    fn idle_frames_are_a_flood() {
        for (idle, cost) in [
            (frame(DATA, 0, 0), 2),
            (frame(6, 0, 8), 2),
            (frame(SETTINGS, 0, 6), 2),
            (frame(0x42, 0, 0), 2),
            (frame(WINDOW_UPDATE, 0, 4), 1),
            (frame(RST_STREAM, 0, 4), limits::H2_RESET_COST),
        ] {
            let mut watch = greeted();
            let allowed = (limits::H2_IDLE_COST_MAX - 2) / cost;
            (0..allowed).for_each(|_| watch.saw(&idle));
            assert!(!watch.is_flooded(Timestamp::default()), "{allowed} of {idle:?}");
            watch.saw(&idle);
            assert!(watch.is_flooded(Timestamp::default()), "one more of {idle:?}");
        }
    }

    /// Goal: what moves something costs nothing, and responses and time forgive. Method: a flood's worth of each.
    #[test]
    fn use_and_time_forgive() {
        let now = Timestamp::default();
        let mut watch = greeted();
        for _ in 0..2 * limits::H2_IDLE_COST_MAX {
            watch.saw(
                &[frame(HEADERS, END_HEADERS, 1), frame(DATA, 0, 1), frame(DATA, END_STREAM, 0)].concat(),
            );
        }
        assert!(!watch.is_flooded(now));
        for _ in 0..limits::H2_IDLE_COST_MAX {
            watch.saw(&frame(RST_STREAM, 0, 4));
            watch.wrote(128);
        }
        assert!(!watch.is_flooded(now));
        (0..limits::H2_IDLE_COST_MAX / 2).for_each(|_| watch.saw(&frame(6, 0, 8)));
        assert!(watch.is_flooded(now));
        let later = now.after(Some(std::time::Duration::from_secs(1)));
        assert!(!watch.is_flooded(later));
        assert!(watch.cost < limits::H2_IDLE_COST_MAX - limits::H2_IDLE_COST_PER_S / 2);
    }

    /// Goal: nothing but SETTINGS may come first. Method: one frame of each kind behind the preface, then more.
    #[test]
    fn settings_come_first() {
        for (first, rude) in [
            (frame(SETTINGS, 0, 0), false),
            (frame(SETTINGS, ACK, 0), true),
            (frame(HEADERS, END_HEADERS, 3), true),
            (frame(DATA, 0, 0), true),
        ] {
            let mut watch = Watch::default();
            watch.saw(&[[b'P'; PREFACE_BYTES].to_vec(), first.clone()].concat());
            assert_eq!(watch.is_rude(), rude, "{first:?}");
            watch.saw(&[frame(SETTINGS, 0, 0), frame(HEADERS, END_HEADERS, 2)].concat());
            assert_eq!(watch.is_rude(), rude, "{first:?}");
        }
    }
}
