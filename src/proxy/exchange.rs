//! The exchange: one request and its response as data. Who may be read, which deadline runs, how it ends.
//!
//! ```text
//!                 head forwarded             final head relayed            body relayed
//!  connecting ────────────────▶ awaiting head ────────────────▶ responding ────────────▶ complete
//!       │                            │  ▲ 1xx                       │
//!       └────────── fail() ──────────┴──┴────────── fail() ─────────┘
//!            a response is made                 the response is cut
//! ```
//! The upload runs beside all of this and never holds it up: a response may begin and end before its
//! request has. Deadlines are *derived* from who is being waited for, never armed and disarmed by hand, so
//! none can be forgotten: see [`Exchange::deadline`].
//!
//! Time is an argument. The driver in [`crate::net`] reports what happened; the answers say what is next.

use std::time::Duration;

use crate::h1::{Framing, Method, Version};
use crate::limits;
use crate::time::{Phase, Timeouts, Timestamp};

use super::error::Failure;
use super::flow::{Flow, Outgoing};
use super::retry::{Again, Attempt, Cause, Heard};

/// What the exchange must know of its request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// The client's protocol version.
    pub version: Version,
    /// Framing of the body.
    pub framing: Framing,
    /// The client will send another request on this connection.
    pub persistent: bool,
    /// `Expect: 100-continue`: the client holds its body back.
    pub expects_continue: bool,
    /// The client offers to switch protocols.
    pub upgrade: bool,
}

/// What the exchange must know of a response head.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Framing of the body.
    pub framing: Framing,
    /// The origin keeps its connection open.
    pub persistent: bool,
    /// A 101 that names the protocol it switches to.
    pub upgrade: bool,
}

/// What to do with a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Relay this interim head and await the next one.
    Interim,
    /// Drop this interim head: an HTTP/1.0 client would take it for the response.
    DropInterim,
    /// Relay the head; the body follows as `outgoing`. `keep_alive` is what the head promises the client.
    Relay {
        /// Framing of the relayed body.
        outgoing: Outgoing,
        /// The client may send another request.
        keep_alive: bool,
    },
    /// Relay the 101 and become a tunnel.
    Tunnel,
}

/// A deadline and the phase it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Timestamp,
    /// What is being waited for.
    pub phase: Phase,
}

/// Where the response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No connection yet.
    Connecting,
    /// The request head was handed to the connection.
    AwaitingHead,
    /// The final head was relayed.
    Responding,
}

/// One request and its response.
#[derive(Debug)]
pub struct Exchange {
    request: Request,
    stage: Stage,
    upload: Flow,
    download: Flow,
    /// The client waits for a 100 before it sends its body.
    holding_back: bool,
    interims: u8,
    /// The client has seen one of them.
    interim_passed_on: bool,
    repeated: bool,
    retries: u8,
    response_begun: bool,
    body_begun: bool,
    /// Bytes of the request body as sent, while all of them are kept.
    kept: Option<usize>,
    body_limit: u64,
    upstream_persistent: bool,
    keep_alive: bool,
    started: Timestamp,
    /// When the client itself gives up (gRPC).
    expires: Timestamp,
    connecting_since: Timestamp,
    /// When the origin last said something, or took something.
    origin_at: Timestamp,
    /// When the client last sent something of its body.
    client_sent_at: Timestamp,
    /// When the client last took something, or began to owe us a read.
    client_took_at: Timestamp,
    /// Bytes it has taken since.
    taken: u32,
    progress_bytes_min: u32,
}

impl Exchange {
    /// An exchange whose request began to arrive at `started` and whose head is complete `now`.
    #[must_use]
    pub fn new(
        request: Request,
        body_bytes_max: Option<u64>,
        started: Timestamp,
        now: Timestamp,
    ) -> Exchange {
        let upload = Flow::new(request.framing, Outgoing::Same);
        Exchange {
            holding_back: request.expects_continue && !upload.is_received(),
            request,
            stage: Stage::Connecting,
            upload,
            download: Flow::new(Framing::UntilClose, Outgoing::Same),
            interims: 0,
            interim_passed_on: false,
            repeated: false,
            retries: 0,
            response_begun: false,
            body_begun: false,
            kept: None,
            body_limit: body_bytes_max.unwrap_or(u64::MAX),
            upstream_persistent: false,
            keep_alive: false,
            started,
            expires: Timestamp::NEVER,
            connecting_since: now,
            origin_at: now,
            client_sent_at: now,
            client_took_at: now,
            taken: 0,
            progress_bytes_min: 0,
        }
    }

    /// The client gives up by itself `after` its request began: the exchange may end sooner than
    /// `--request-deadline` says, never later.
    pub fn expire(&mut self, after: Duration) {
        self.expires = self.started.after(Some(after));
    }

    /// A declared body that is too large is refused before an endpoint hears of it.
    ///
    /// # Errors
    /// [`Failure::BodyTooLarge`].
    pub fn check_declared_length(&self) -> Result<(), Failure> {
        match self.request.framing {
            Framing::Length(n) if n > self.body_limit => Err(Failure::BodyTooLarge),
            Framing::Length(_) | Framing::None | Framing::Chunked | Framing::UntilClose => Ok(()),
        }
    }

    /// A connection attempt begins.
    pub fn connecting(&mut self, now: Timestamp) {
        self.stage = Stage::Connecting;
        self.connecting_since = now;
    }

    /// The connection stands; the request head goes out.
    pub fn connected(&mut self, now: Timestamp) {
        self.stage = Stage::AwaitingHead;
        self.origin_at = now;
    }

    /// The upload, for the relay.
    pub fn upload_mut(&mut self) -> &mut Flow {
        &mut self.upload
    }

    /// The download, for the relay.
    pub fn download_mut(&mut self) -> &mut Flow {
        &mut self.download
    }

    /// The upload.
    #[must_use]
    pub fn upload(&self) -> &Flow {
        &self.upload
    }

    /// The download.
    #[must_use]
    pub fn download(&self) -> &Flow {
        &self.download
    }

    /// Bytes of the request body came from the client.
    ///
    /// # Errors
    /// [`Failure::BodyTooLarge`]: together they are more than `--max-body-bytes`.
    pub fn client_sent(&mut self, now: Timestamp) -> Result<(), Failure> {
        self.client_sent_at = now;
        self.body_begun = true;
        self.holding_back = false;
        if self.upload.announced() > self.body_limit { Err(Failure::BodyTooLarge) } else { Ok(()) }
    }

    /// The origin took `taken` bytes of the request; `unsent` of those we hold are left.
    pub fn origin_took(&mut self, taken: usize, unsent: usize, now: Timestamp) {
        // What was not waiting before begins to wait now: the origin is not late for what we did not have.
        if taken > 0 || self.upload.is_settled() {
            self.origin_at = now;
        }
        self.upload.settle(unsent);
    }

    /// Bytes came from the origin. Before the response head is complete they re-arm nothing: a drip-fed head
    /// cannot extend the request timeout.
    pub fn origin_sent(&mut self, now: Timestamp) {
        self.response_begun = true;
        if self.stage == Stage::Responding {
            self.origin_at = now;
        }
    }

    /// The client took `taken` bytes of the response; `unsent` of those we hold are left.
    pub fn client_took(&mut self, taken: usize, unsent: usize, now: Timestamp) {
        self.taken = self.taken.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        let progress = self.taken > 0 && (self.taken >= self.progress_bytes_min || unsent == 0);
        if progress || self.download.is_settled() {
            self.client_took_at = now;
            self.taken = 0;
        }
        self.download.settle(unsent);
    }

    /// While bytes wait for the client, only so many of them taken count as progress. A client of HTTP/2 opens its
    /// window as it likes, a byte at a time if it likes; a socket has no such dial.
    pub fn demand_progress(&mut self, bytes: u32) {
        self.progress_bytes_min = bytes;
    }

    /// The client's side acknowledged bytes that had left us before: it reads, if slowly.
    pub fn client_acknowledged(&mut self, now: Timestamp) {
        self.client_took_at = now;
    }

    /// The origin cannot be written to any more. Its response may still be read.
    pub fn origin_stopped_reading(&mut self) {
        self.upload.stop();
    }

    /// Judges a response head. `draining`: the process is about to stop, so no connection is promised.
    ///
    /// # Errors
    /// The head is not one that may come now; the response is a 502.
    pub fn judge(&mut self, response: Response, draining: bool, now: Timestamp) -> Result<Verdict, Failure> {
        self.origin_at = now;
        if response.status == 101 {
            // RFC 9110 §7.8: the protocol may change only behind a complete request.
            return if self.request.upgrade && response.upgrade && self.upload.is_received() {
                Ok(Verdict::Tunnel)
            } else {
                Err(Failure::UpgradeUnasked)
            };
        }
        if response.status < 200 {
            return self.judge_interim(response.status);
        }
        let outgoing = match (response.framing, self.request.version) {
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => Outgoing::UntilClose,
            (Framing::UntilClose, Version::Http11) => Outgoing::Chunked,
            (Framing::None | Framing::Length(_) | Framing::Chunked, _) => Outgoing::Same,
        };
        self.stage = Stage::Responding;
        self.download = Flow::new(response.framing, outgoing);
        self.upstream_persistent = response.persistent;
        self.keep_alive = self.request.persistent
            && self.upload.is_received()
            && !self.upload.is_stopped()
            && !draining
            && outgoing != Outgoing::UntilClose;
        Ok(Verdict::Relay { outgoing, keep_alive: self.keep_alive })
    }

    fn judge_interim(&mut self, status: u16) -> Result<Verdict, Failure> {
        self.interims += 1;
        if self.interims > limits::INTERIM_RESPONSES_MAX {
            return Err(Failure::InterimFlood);
        }
        if status == 100 {
            self.holding_back = false;
        }
        match self.request.version {
            Version::Http10 => Ok(Verdict::DropInterim),
            Version::Http11 => {
                self.interim_passed_on = true;
                Ok(Verdict::Interim)
            }
        }
    }

    /// The client waits for a 100 before it sends its body.
    #[must_use]
    pub fn is_holding_back(&self) -> bool {
        self.holding_back
    }

    /// The final head was judged and is on its way to the client: errors can only cut from here on.
    #[must_use]
    pub fn is_responding(&self) -> bool {
        self.stage == Stage::Responding
    }

    /// The client may be read for its body.
    #[must_use]
    pub fn wants_client(&self) -> bool {
        self.stage != Stage::Connecting && self.upload.wants_input()
    }

    /// The origin may be read.
    #[must_use]
    pub fn wants_origin(&self) -> bool {
        self.stage != Stage::Connecting && self.download.wants_input()
    }

    /// The response is with the client; an upload still under way is given up.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Responding && self.download.is_complete()
    }

    /// The client's connection may carry another request behind this response, once that is with it.
    #[must_use]
    pub fn may_carry_on(&self) -> bool {
        self.keep_alive && self.upload.is_complete()
    }

    /// The client's connection may carry another request.
    #[must_use]
    pub fn client_reusable(&self) -> bool {
        self.is_complete() && self.may_carry_on()
    }

    /// The client's connection may carry another request behind a response that the proxy makes.
    #[must_use]
    pub fn may_keep_alive(&self) -> bool {
        self.request.persistent && self.upload.is_received()
    }

    /// The upstream connection may carry another request: both messages ended where they said they would.
    #[must_use]
    pub fn upstream_reusable(&self) -> bool {
        self.is_complete() && self.upstream_persistent && self.upload.is_complete()
    }

    /// Every byte of the request body that was sent so far is kept, `bytes` of them (framing included); `None` when they
    /// are not, or not any more. To be said before each byte that goes out.
    pub fn body_kept(&mut self, bytes: Option<usize>) {
        self.kept = bytes;
    }

    /// What is known of the request when an attempt failed for this `cause`: whether it goes out once more. To be asked of
    /// a response that is not wanted *before* [`Exchange::judge`] takes it on.
    #[must_use]
    pub fn attempt(&self, cause: Cause) -> Attempt {
        Attempt {
            cause,
            method: self.request.method,
            heard: match (self.interim_passed_on, self.response_begun) {
                (true, _) => Heard::PassedOn,
                (false, true) => Heard::Bytes,
                (false, false) => Heard::Nothing,
            },
            whole: !self.body_begun || self.kept.is_some(),
            repeated: self.repeated,
            retries: self.retries,
        }
    }

    /// Whether a response is the origin's farewell to an idle connection, and not an answer to this request: a 408
    /// that closes a reused one (RFC 9110 §15.5.9 lets the request be repeated). It then counts as no response.
    pub fn is_farewell(&mut self, response: Response, reused: bool) -> bool {
        if response.status != 408 || response.persistent || self.interim_passed_on {
            return false;
        }
        let broke = self.attempt(Cause::ResetBeforeResponse { reused });
        let farewell = Attempt { heard: Heard::Nothing, ..broke }.repeats_stale();
        self.response_begun &= !farewell;
        farewell
    }

    /// The request goes out once more.
    ///
    /// If its body is untouched, everything begins anew. If it was kept, the head and the kept bytes have to be staged for
    /// the origin, and until it has taken them nothing more is read from the client; then the upload goes on where
    /// the client is. Its framing needs no second start: what was kept is framed already, and no framing looks back.
    pub fn again(&mut self, again: Again, now: Timestamp) {
        match again {
            Again::Repeat => self.repeated = true,
            Again::Retry => self.retries = self.retries.saturating_add(1),
        }
        self.response_begun = false;
        match self.kept {
            Some(kept) if self.body_begun => self.upload.resume(kept),
            Some(_) | None => self.upload = Flow::new(self.request.framing, Outgoing::Same),
        }
        self.connecting(now);
    }

    /// The earliest deadline, by who is being waited for:
    ///
    /// | state | waited for | phase | since |
    /// | --- | --- | --- | --- |
    /// | any | everybody | request-deadline | first byte of the request |
    /// | connecting | the endpoint | connect | this attempt |
    /// | bytes for the client are unsent | client | write | its last read, or when it began to owe one |
    /// | no head yet, the body is due | client | body | its last byte, or the origin's last sign of life |
    /// | no head yet, otherwise | origin | request | its last sign of life: bytes taken or sent |
    /// | responding, nothing unsent | origin | stream-idle | the same, uploaded bytes included |
    #[must_use]
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<Deadline> {
        let whole = self.started.after(timeouts.request_deadline).min(self.expires);
        let whole = Deadline { at: whole, phase: Phase::RequestDeadline };
        let phase = self.phase_deadline(timeouts);
        let first = if whole.at <= phase.at { whole } else { phase };
        (first.at != Timestamp::NEVER).then_some(first)
    }

    fn phase_deadline(&self, timeouts: &Timeouts) -> Deadline {
        if self.stage == Stage::Connecting {
            return Deadline { at: self.connecting_since.after(timeouts.connect), phase: Phase::Connect };
        }
        if !self.download.is_settled() {
            return Deadline { at: self.client_took_at.after(timeouts.write), phase: Phase::Write };
        }
        if self.stage == Stage::Responding {
            let heard = self.origin_at.max(self.client_took_at);
            return Deadline { at: heard.after(timeouts.stream_idle), phase: Phase::StreamIdle };
        }
        if self.upload.wants_input() && !self.holding_back {
            let due = self.client_sent_at.max(self.origin_at);
            return Deadline { at: due.after(timeouts.body), phase: Phase::Body };
        }
        Deadline { at: self.origin_at.after(timeouts.request), phase: Phase::Request }
    }
}
