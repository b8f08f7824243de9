//! Both ends of an exchange in HTTP/2.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use rustls::{ClientConfig, ServerConfig};
use tokio::runtime::Handle;

use super::exchange::{Abort, Answering, Ask, Asking, Client, Cut, Exchange, Fields, Framing, Piece, Server};
use super::http2_origin::Asked;
use super::{Head, Http2, Http2Origin, PATIENCE};

/// Which end it is, and what only that end has.
enum Role {
    Client(ResponseFuture),
    Origin(SendResponse<Bytes>),
}

/// One end of an exchange in HTTP/2.
struct Http2Exchange {
    handle: Handle,
    role: Role,
    /// Our message, once its head was sent.
    writing: Option<SendStream<Bytes>>,
    /// The other side's, once its head has come.
    reading: Option<RecvStream>,
    /// The request, on the origin's side.
    request: Head,
    number: usize,
}

impl Http2Exchange {
    #[track_caller]
    fn wait<T>(handle: &Handle, future: impl Future<Output = T>) -> T {
        handle.block_on(async { tokio::time::timeout(PATIENCE, future).await }).expect("waited for ever")
    }

    fn respond_with(&mut self, status: u16, fields: &HeaderMap, framing: Framing) {
        let Role::Origin(respond) = &mut self.role else { panic!("clients do not respond") };
        let mut head = Response::builder().status(status).body(()).unwrap();
        *head.headers_mut() = fields.clone();
        announce(head.headers_mut(), framing);
        let stream = respond.send_response(head, framing == Framing::Nothing).expect("respond");
        self.writing = Some(stream);
    }
}

fn announce(fields: &mut HeaderMap, framing: Framing) {
    if let Framing::Length(length) = framing {
        fields.insert("content-length", length.into());
    }
}

fn map(fields: &Fields) -> HeaderMap {
    let pair = |(name, value): &(String, String)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
    };
    fields.iter().map(pair).collect()
}

fn listed(fields: &HeaderMap) -> Fields {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Sends as the windows allow; false when the stream is no more.
async fn push(stream: &mut SendStream<Bytes>, mut bytes: Bytes, last: bool) -> bool {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        while stream.capacity() == 0 {
            let Some(Ok(_)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return false };
        }
        let piece = bytes.split_to(stream.capacity().min(bytes.len()));
        let ends = last && bytes.is_empty();
        if stream.send_data(piece, ends).is_err() {
            return false;
        }
        if ends {
            return true;
        }
    }
    !last || stream.send_data(Bytes::new(), true).is_ok()
}

async fn pull(stream: &mut RecvStream) -> Result<Piece, h2::Error> {
    loop {
        match stream.data().await {
            Some(data) => {
                let data = data?;
                stream.flow_control().release_capacity(data.len())?;
                if !data.is_empty() {
                    return Ok(Piece::Data(data.to_vec()));
                }
            }
            None => return Ok(Piece::End(listed(&stream.trailers().await?.unwrap_or_default()))),
        }
    }
}

impl Exchange for Http2Exchange {
    fn send(&mut self, bytes: &[u8], last: bool) -> bool {
        let stream = self.writing.as_mut().expect("behind a head");
        Http2Exchange::wait(&self.handle, push(stream, Bytes::copy_from_slice(bytes), last))
    }

    fn send_trailers(&mut self, trailers: &Fields) {
        self.writing.as_mut().expect("behind a head").send_trailers(map(trailers)).expect("trailers");
    }

    fn piece(&mut self) -> Piece {
        let stream = self.reading.as_mut().expect("behind a head");
        let pulled = Http2Exchange::wait(&self.handle, pull(stream));
        pulled.unwrap_or_else(|error| Piece::Cut(Cut::Stream(error.reason())))
    }

    fn broken_off(&mut self) -> Cut {
        let reset = match (&mut self.writing, &mut self.role) {
            (Some(stream), _) => Http2Exchange::wait(&self.handle, poll_fn(|cx| stream.poll_reset(cx))),
            (None, Role::Origin(respond)) => {
                Http2Exchange::wait(&self.handle, poll_fn(|cx| respond.poll_reset(cx)))
            }
            (None, Role::Client(_)) => panic!("clients send first"),
        };
        Cut::Stream(reset.ok())
    }

    fn abort(mut self: Box<Self>, abort: Abort) {
        match (&mut self.writing, &mut self.role) {
            (Some(stream), _) => stream.send_reset(abort.code()),
            (None, Role::Origin(respond)) => respond.send_reset(abort.code()),
            (None, Role::Client(_)) => panic!("clients send first"),
        }
    }
}

impl Asking for Http2Exchange {
    fn next_head(&mut self) -> Head {
        let Role::Client(response) = &mut self.role else { panic!("origins hear no response") };
        let interim = Http2Exchange::wait(&self.handle, poll_fn(|cx| response.poll_informational(cx)));
        let (status, fields) = match interim {
            Some(interim) => {
                let (parts, ()) = interim.expect("an interim head").into_parts();
                (parts.status, parts.headers)
            }
            None => {
                let head = Http2Exchange::wait(&self.handle, response).expect("a head");
                let (parts, body) = head.into_parts();
                self.reading = Some(body);
                (parts.status, parts.headers)
            }
        };
        Head { first: format!("HTTP/2.0 {}", status.as_u16()), fields: listed(&fields) }
    }
}

impl Answering for Http2Exchange {
    fn request(&self) -> &Head {
        &self.request
    }

    fn connection(&self) -> usize {
        self.number
    }

    fn interim(&mut self, status: u16, fields: &Fields) {
        let Role::Origin(respond) = &mut self.role else { panic!("clients do not respond") };
        let mut head = Response::builder().status(status).body(()).unwrap();
        *head.headers_mut() = map(fields);
        respond.send_informational(head).expect("an interim head");
    }

    fn respond(&mut self, status: u16, fields: &Fields, framing: Framing) {
        self.respond_with(status, &map(fields), framing);
    }

    fn switch(&mut self) {
        assert!(self.request.first.starts_with("CONNECT "), "{:?}", self.request);
        assert_eq!(self.request.value(":protocol"), Some("websocket"));
        self.respond_with(200, &HeaderMap::new(), Framing::Unknown);
    }
}

/// A client of HTTP/2: one connection for all.
pub struct Http2Client {
    connection: Http2,
    scheme: &'static str,
}

impl Http2Client {
    /// In the clear by prior knowledge, or with TLS for `wire.test`.
    pub fn connect(addr: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Http2Client {
        match tls {
            None => Http2Client { connection: Http2::connect(addr), scheme: "http" },
            Some(config) => {
                Http2Client { connection: Http2::connect_tls(addr, config, "wire.test"), scheme: "https" }
            }
        }
    }
}

impl Client for Http2Client {
    fn ask(&mut self, ask: &Ask) -> Box<dyn Asking> {
        let method = if ask.websocket { "CONNECT" } else { ask.method };
        let uri = format!("{}://wire.test{}", self.scheme, ask.path);
        let mut request = Request::builder().method(method).uri(uri).body(()).unwrap();
        *request.headers_mut() = map(&ask.fields);
        announce(request.headers_mut(), ask.framing);
        if ask.websocket {
            request.extensions_mut().insert(Protocol::from_static("websocket"));
        }
        let opened = self.connection.open(request, ask.framing == Framing::Nothing && !ask.websocket);
        Box::new(Http2Exchange {
            handle: self.connection.handle(),
            role: Role::Client(opened.response),
            writing: Some(opened.body),
            reading: None,
            request: Head::default(),
            number: 0,
        })
    }
}

/// An origin of HTTP/2.
pub struct Http2Server {
    origin: Http2Origin,
    scheme: &'static str,
}

impl Http2Server {
    /// In the clear, or with TLS.
    pub fn start(tls: Option<&Arc<ServerConfig>>) -> Http2Server {
        match tls {
            None => Http2Server { origin: Http2Origin::start(), scheme: "h2c" },
            Some(config) => Http2Server { origin: Http2Origin::start_tls(config), scheme: "h2" },
        }
    }
}

impl Server for Http2Server {
    fn next(&mut self) -> Box<dyn Answering> {
        let Asked { request, body, respond, connection } = self.origin.next();
        let mut fields = listed(request.headers());
        if let Some(protocol) = request.extensions().get::<Protocol>() {
            fields.push((":protocol".to_owned(), protocol.as_str().to_owned()));
        }
        let first = format!("{} {} HTTP/2.0", request.method(), request.uri().path());
        Box::new(Http2Exchange {
            handle: self.origin.handle(),
            role: Role::Origin(respond),
            writing: None,
            reading: Some(body),
            request: Head { first, fields },
            number: connection,
        })
    }

    fn upstream(&self) -> String {
        format!("{}://{}", self.scheme, self.origin.addr)
    }
}
