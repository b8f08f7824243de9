//! What a case is: bytes to send, events to wait for in between, and the one outcome that the RFC allows.

use crate::harness::frames::{Frame, Frames, code, flag, frame, kind, request};

/// One thing that a case does.
enum Step {
    Send(Vec<u8>),
    /// Wait for a frame of this type.
    Await(u8),
    /// Wait for the end of this stream.
    AwaitEnd(u32),
}

/// What has to come of it.
enum Outcome {
    /// The connection ends, after GOAWAY with one of these codes.
    Dies(Vec<u32>),
    /// The connection ends; GOAWAY may be left out (§3.4).
    Closes,
    /// One stream is reset with one of these codes; the connection lives.
    Resets(u32, Vec<u32>),
    /// One stream is reset with this code, or the connection ends with it: §5.4 leaves that to the receiver.
    EndsOrResets(u32, Vec<u32>),
    /// A response with this status; the connection lives.
    Answers(u32, u16),
    /// So many bytes of DATA on this stream and no more; the connection lives.
    Data(u32, usize),
    /// This stream's response ends as it should; the connection may be over then.
    Finishes(u32),
    /// Nothing happens to any stream; the connection lives.
    Ignores,
    /// SETTINGS are acknowledged once more.
    Acknowledges,
}

/// A case: its section and what it is, its steps, its outcome.
pub struct Case {
    /// Section and what is sent.
    pub name: &'static str,
    steps: Vec<Step>,
    outcome: Outcome,
}

/// Begins a case.
pub fn case(name: &'static str) -> Case {
    Case { name, steps: Vec::new(), outcome: Outcome::Ignores }
}

/// A whole `GET`.
pub fn get(stream: u32) -> Vec<u8> {
    head(stream, flag::WHOLE, request("GET", "/"))
}

/// A `POST` whose body follows.
pub fn post(stream: u32) -> Vec<u8> {
    head(stream, flag::END_HEADERS, request("POST", "/"))
}

/// HEADERS.
pub fn head(stream: u32, flags: u8, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

/// CONTINUATION.
pub fn continuation(stream: u32, flags: u8, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, block)
}

/// DATA.
pub fn data(stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::DATA, flags, stream, payload)
}

impl Case {
    /// Sends a frame.
    pub fn send(mut self, bytes: impl AsRef<[u8]>) -> Case {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Waits for a frame of this type.
    pub fn until(mut self, kind: u8) -> Case {
        self.steps.push(Step::Await(kind));
        self
    }

    /// Waits for the end of this stream.
    pub fn until_end(mut self, stream: u32) -> Case {
        self.steps.push(Step::AwaitEnd(stream));
        self
    }

    fn outcome(mut self, outcome: Outcome) -> Case {
        self.outcome = outcome;
        self
    }

    /// The connection ends with this code.
    pub fn dies(self, code: u32) -> Case {
        self.outcome(Outcome::Dies(vec![code]))
    }

    /// The connection ends, and the RFC names this code. `h2` says PROTOCOL_ERROR, which §7 keeps for what has no
    /// code of its own; no peer can tell the difference by what happens to it.
    pub fn dies_vaguely(self, code: u32) -> Case {
        self.outcome(Outcome::Dies(vec![code, code::PROTOCOL_ERROR]))
    }

    /// The connection is closed.
    pub fn closes(self) -> Case {
        self.outcome(Outcome::Closes)
    }

    /// The stream is reset with this code.
    pub fn resets(self, stream: u32, code: u32) -> Case {
        self.outcome(Outcome::Resets(stream, vec![code]))
    }

    /// The stream is reset with this code, or the connection ends with it or, as [`Case::dies_vaguely`] has it, with
    /// PROTOCOL_ERROR.
    pub fn ends_or_resets(self, stream: u32, code: u32) -> Case {
        self.outcome(Outcome::EndsOrResets(stream, vec![code, code::PROTOCOL_ERROR]))
    }

    /// Ends as malformed requests do (§8.1.1).
    pub fn ends_malformed(self, stream: u32) -> Case {
        self.ends_or_resets(stream, code::PROTOCOL_ERROR)
    }

    /// The response has this status.
    pub fn answers(self, stream: u32, status: u16) -> Case {
        self.outcome(Outcome::Answers(stream, status))
    }

    /// So much of the response comes, and no more.
    pub fn yields(self, stream: u32, bytes: usize) -> Case {
        self.outcome(Outcome::Data(stream, bytes))
    }

    /// The response ends as it should, whatever becomes of the connection.
    pub fn finishes(self, stream: u32) -> Case {
        self.outcome(Outcome::Finishes(stream))
    }

    /// Nothing happens.
    pub fn changes_nothing(self) -> Case {
        self.outcome(Outcome::Ignores)
    }

    /// SETTINGS are acknowledged.
    pub fn gets_acknowledged(self) -> Case {
        self.outcome(Outcome::Acknowledges)
    }

    /// Runs the case; what went wrong.
    pub fn run(&self, frames: &mut Frames) -> Result<(), String> {
        let mut seen = Vec::new();
        for step in &self.steps {
            match step {
                Step::Send(bytes) => frames.send(bytes),
                Step::Await(kind) => seen.extend(frames.until(|frame| frame.kind == *kind)),
                Step::AwaitEnd(stream) => {
                    seen.extend(frames.until(|frame| frame.stream == *stream && frame.ends()));
                }
            }
        }
        self.judge(frames, seen)
    }

    fn judge(&self, frames: &mut Frames, mut seen: Vec<Frame>) -> Result<(), String> {
        match &self.outcome {
            Outcome::Dies(_) | Outcome::Closes => seen.extend(frames.until(|_| false)),
            Outcome::Resets(stream, _) => {
                seen.extend(frames.until(|frame| frame.kind == kind::RST_STREAM && frame.stream == *stream))
            }
            Outcome::EndsOrResets(stream, _) => seen.extend(frames.until(|frame| {
                frame.kind == kind::GOAWAY || frame.stream == *stream && frame.kind == kind::RST_STREAM
            })),
            Outcome::Answers(stream, _) => {
                seen.extend(frames.until(|frame| frame.kind == kind::HEADERS && frame.stream == *stream));
            }
            Outcome::Data(stream, _) => {
                seen.extend(frames.until(|frame| frame.kind == kind::DATA && frame.stream == *stream));
            }
            Outcome::Finishes(stream) => {
                seen.extend(frames.until(|frame| frame.stream == *stream && frame.ends()));
            }
            Outcome::Ignores | Outcome::Acknowledges => {}
        }
        let lives = match self.outcome {
            Outcome::Dies(_) | Outcome::Closes | Outcome::Finishes(_) => false,
            Outcome::EndsOrResets(..) => seen.last().is_some_and(|frame| frame.kind != kind::GOAWAY),
            _ => true,
        };
        if lives {
            let (more, answered) = frames.barrier();
            seen.extend(more);
            if !answered || seen.iter().any(|frame| frame.kind == kind::GOAWAY) {
                return Err(format!("the connection ended: {seen:?}"));
            }
        }
        if self.outcome.holds(&seen) { Ok(()) } else { Err(format!("{seen:?}")) }
    }
}

impl Outcome {
    fn holds(&self, seen: &[Frame]) -> bool {
        let of = |kind: u8| seen.iter().filter(move |frame| frame.kind == kind);
        match self {
            Outcome::Dies(codes) => {
                of(kind::GOAWAY).next_back().is_some_and(|frame| codes.contains(&frame.code()))
            }
            Outcome::Closes => true,
            Outcome::Resets(stream, codes) => {
                let mut resets = of(kind::RST_STREAM);
                resets.any(|frame| frame.stream == *stream && codes.contains(&frame.code()))
            }
            Outcome::EndsOrResets(stream, codes) => {
                Outcome::Dies(codes.clone()).holds(seen)
                    || Outcome::Resets(*stream, codes.clone()).holds(seen)
            }
            Outcome::Answers(stream, status) => {
                let response = of(kind::HEADERS).find(|frame| frame.stream == *stream);
                response.is_some_and(|frame| frame.status() == *status)
            }
            Outcome::Data(stream, bytes) => {
                let data = of(kind::DATA).filter(|frame| frame.stream == *stream);
                data.map(|frame| frame.payload.len()).sum::<usize>() == *bytes
            }
            Outcome::Finishes(stream) => seen.iter().any(|frame| frame.stream == *stream && frame.ends()),
            Outcome::Ignores => of(kind::RST_STREAM).next().is_none(),
            Outcome::Acknowledges => of(kind::SETTINGS).filter(|frame| frame.flags == flag::ACK).count() == 2,
        }
    }
}
