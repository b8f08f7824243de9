//! An exchange step by step, from either end, in either version of HTTP: what the matrix of versions is written against.
//!
//! ```text
//!   Client::ask ─▶ Asking      ┐                       ┌ Answering ◀─ Server::next
//!                  next_head   ├ Exchange: body,       ┤ request, interim, respond, switch
//!                              ┘ trailers, end, abort  └
//! ```
//! `exchange1.rs` has both ends over [`super::Peer`], `exchange2.rs` over `h2`.

use h2::Reason;

use super::{End, Head};

/// Fields or trailers.
pub type Fields = Vec<(String, String)>;

/// Fields from literals.
pub fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How a body is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none: nothing is sent behind the head.
    Nothing,
    /// `Content-Length`.
    Length(usize),
    /// Chunks in HTTP/1.1, DATA without `content-length` in HTTP/2.
    Unknown,
}

/// A request to be made.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: String,
    /// Fields beyond those of the framing.
    pub fields: Fields,
    /// How its body is announced.
    pub framing: Framing,
    /// It is one for a WebSocket: `Upgrade` (RFC 6455) or extended CONNECT (RFC 8441).
    pub websocket: bool,
}

impl Ask {
    /// A request whose body is announced as `framing`.
    pub fn new(method: &'static str, path: &str, framing: Framing) -> Ask {
        Ask { method, path: path.to_owned(), fields: Vec::new(), framing, websocket: false }
    }

    /// A request for a WebSocket.
    pub fn websocket(path: &str) -> Ask {
        let fields = fields(&[("sec-websocket-version", "13")]);
        Ask { fields, websocket: true, ..Ask::new("GET", path, Framing::Nothing) }
    }

    /// With one more field.
    pub fn with(mut self, name: &str, value: &str) -> Ask {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How a message was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its connection ended.
    Connection(End),
    /// Its stream was reset, or the connection of the stream ended.
    Stream(Option<Reason>),
}

/// A way to break an exchange off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The end of the connection, with FIN and without a word of TLS; CANCEL in HTTP/2.
    Leave,
    /// The same with RST; INTERNAL_ERROR in HTTP/2.
    Reset,
}

impl Abort {
    /// The harder of the two, or the other.
    pub fn of(hard: bool) -> Abort {
        if hard { Abort::Reset } else { Abort::Leave }
    }

    /// Its code in HTTP/2.
    pub fn code(self) -> Reason {
        match self {
            Abort::Leave => Reason::CANCEL,
            Abort::Reset => Reason::INTERNAL_ERROR,
        }
    }
}

/// What a body goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Payload.
    Data(Vec<u8>),
    /// Its end, as its framing has it, and the trailers.
    End(Fields),
    /// An end that is none.
    Cut(Cut),
}

/// A body, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The payload.
    pub bytes: Vec<u8>,
    /// The trailers, or how it was broken off.
    pub end: Result<Fields, Cut>,
}

/// One end of an exchange. Dropped before both messages are over, it breaks the exchange off; dropped behind them, it
/// frees its connection for the next one (HTTP/1.1).
pub trait Exchange: Send {
    /// Sends more of the body; false when the other side wants no more of it.
    fn send(&mut self, bytes: &[u8], last: bool) -> bool;

    /// Ends the body with trailers. With [`Framing::Length`] only HTTP/2 can say them.
    fn send_trailers(&mut self, trailers: &Fields);

    /// What comes next of the other side's body.
    fn piece(&mut self) -> Piece;

    /// Waits until the other side has broken the exchange off, from here on without a byte.
    fn broken_off(&mut self) -> Cut;

    /// Breaks the exchange off.
    fn abort(self: Box<Self>, abort: Abort);

    /// The rest of the other side's body.
    fn rest(&mut self) -> Received {
        let mut bytes = Vec::new();
        loop {
            match self.piece() {
                Piece::Data(data) => bytes.extend(data),
                Piece::End(trailers) => return Received { bytes, end: Ok(trailers) },
                Piece::Cut(cut) => return Received { bytes, end: Err(cut) },
            }
        }
    }

    /// So many bytes of the other side's body.
    #[track_caller]
    fn exactly(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            match self.piece() {
                Piece::Data(data) => bytes.extend(data),
                over => panic!("{over:?} after {} bytes instead of {size}", bytes.len()),
            }
        }
        assert_eq!(bytes.len(), size, "more than was due");
        bytes
    }
}

/// The client's end.
pub trait Asking: Exchange {
    /// The next head of the response; the last one has a status of 200 or more, or is a 101.
    fn next_head(&mut self) -> Head;
}

/// The origin's end.
pub trait Answering: Exchange {
    /// The request's head.
    fn request(&self) -> &Head;

    /// Number of the connection it came on.
    fn connection(&self) -> usize;

    /// Sends an interim response.
    fn interim(&mut self, status: u16, fields: &Fields);

    /// Sends the head of the response.
    fn respond(&mut self, status: u16, fields: &Fields, framing: Framing);

    /// Lets the WebSocket begin; bodies are raw bytes from here on.
    fn switch(&mut self);
}

/// Makes requests, one after another on the same connection; at once as well, where the version can.
pub trait Client {
    /// Sends the head of a request.
    fn ask(&mut self, ask: &Ask) -> Box<dyn Asking>;
}

/// Takes requests.
pub trait Server {
    /// The next request.
    fn next(&mut self) -> Box<dyn Answering>;

    /// `--upstream` for it.
    fn upstream(&self) -> String;
}
