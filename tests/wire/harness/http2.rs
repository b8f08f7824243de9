//! A client of HTTP/2 whose script blocks: `h2` on a runtime of its own thread.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Runtime};
use tokio_rustls::TlsConnector;

use super::PATIENCE;

/// A connection of HTTP/2: by prior knowledge, or by ALPN.
pub struct Http2 {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// A stream whose request has been sent, or begun.
pub struct Opened {
    /// The response to come.
    pub response: ResponseFuture,
    /// The request's body.
    pub body: SendStream<Bytes>,
}

/// A whole response.
pub struct Whole {
    /// Its head.
    pub head: Response<()>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A `GET`.
pub fn get2(path: &str) -> Request<()> {
    Request::get(format!("http://wire.test{path}")).body(()).unwrap()
}

/// A `POST`.
pub fn post2(path: &str) -> Request<()> {
    Request::post(format!("http://wire.test{path}")).body(()).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn dial(addr: SocketAddr, introduction: &[u8]) -> TcpStream {
    let tcp = TcpStream::connect(addr).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    if !introduction.is_empty() {
        tcp.writable().await.unwrap();
        assert_eq!(tcp.try_write(introduction).unwrap(), introduction.len());
    }
    tcp
}

/// The next bytes of a body, whose room in the window is given back; `None` at its end.
pub(super) async fn taken(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = body.data().await;
    if let Some(Ok(data)) = &data {
        let _ = body.flow_control().release_capacity(data.len());
    }
    data
}

impl Http2 {
    /// Connects with `h2`'s own settings.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Http2 {
        Http2::connect_with(addr, &h2::client::Builder::new())
    }

    /// Connects with so many bytes of window for each stream.
    #[track_caller]
    pub fn connect_narrow(addr: SocketAddr, window: u32) -> Http2 {
        Http2::connect_with(addr, h2::client::Builder::new().initial_window_size(window))
    }

    /// Connects.
    #[track_caller]
    pub fn connect_with(addr: SocketAddr, builder: &h2::client::Builder) -> Http2 {
        Http2::introduced(addr, b"", builder)
    }

    /// Connects, and sends `introduction` before anything else.
    #[track_caller]
    pub fn introduced(addr: SocketAddr, introduction: &[u8], builder: &h2::client::Builder) -> Http2 {
        let runtime = runtime();
        let (send, connection) = runtime.block_on(async {
            let (send, connection) = builder.handshake(dial(addr, introduction).await).await.unwrap();
            (send, tokio::spawn(connection))
        });
        Http2 { runtime, send, connection }
    }

    /// Connects with TLS; ALPN has to agree on `h2`, and `config` to offer it.
    #[track_caller]
    pub fn connect_tls(addr: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Http2 {
        Http2::introduced_tls(addr, b"", config, name)
    }

    /// As [`Http2::connect_tls`], with `introduction` before the handshake.
    #[track_caller]
    pub fn introduced_tls(
        addr: SocketAddr,
        introduction: &[u8],
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> Http2 {
        let runtime = runtime();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (send, connection) = runtime.block_on(async {
            let tls =
                TlsConnector::from(Arc::clone(config)).connect(name, dial(addr, introduction).await).await;
            let tls = tls.expect("a handshake");
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()), "ALPN");
            let (send, connection) = h2::client::Builder::new().handshake(tls).await.unwrap();
            (send, tokio::spawn(connection))
        });
        Http2 { runtime, send, connection }
    }

    /// To wait with from other threads.
    pub fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Waits for `future`, with patience.
    #[track_caller]
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.try_wait(PATIENCE, future).expect("waited for ever")
    }

    /// Waits for `future`, for so long.
    pub fn try_wait<T>(&self, patience: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(patience, future).await.ok() })
    }

    /// Opens a stream; its request goes on when `ends` is false.
    #[track_caller]
    pub fn open(&mut self, request: Request<()>, ends: bool) -> Opened {
        let send = self.send.clone();
        let mut send = self.wait(send.ready()).unwrap();
        let (response, body) = send.send_request(request, ends).unwrap();
        Opened { response, body }
    }

    /// As [`Http2::open`], where the connection may be over.
    pub fn try_open(&mut self, request: Request<()>) -> Option<Opened> {
        let send = self.send.clone();
        let mut send = self.wait(send.ready()).ok()?;
        let (response, body) = send.send_request(request, true).ok()?;
        Some(Opened { response, body })
    }

    /// The head of the response.
    #[track_caller]
    pub fn head(&self, response: ResponseFuture) -> (Response<()>, RecvStream) {
        let response = self.wait(response).unwrap();
        let (parts, body) = response.into_parts();
        (Response::from_parts(parts, ()), body)
    }

    /// The next bytes of a body; `None` at its end.
    #[track_caller]
    pub fn data(&self, body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
        self.wait(taken(body))
    }

    /// The rest of a body and its trailers, or the code it was reset with.
    #[track_caller]
    pub fn rest(&self, mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), Option<Reason>> {
        let mut all = Vec::new();
        while let Some(data) = self.data(&mut body) {
            all.extend_from_slice(&data.map_err(|error| error.reason())?);
        }
        let trailers = self.wait(body.trailers()).map_err(|error| error.reason())?;
        Ok((all, trailers))
    }

    /// A request without a body, and its whole response.
    #[track_caller]
    pub fn exchange(&mut self, request: Request<()>) -> Whole {
        let opened = self.open(request, true);
        let (head, body) = self.head(opened.response);
        let (body, _) = self.rest(body).unwrap();
        Whole { head, body }
    }

    /// Waits for the connection to end; the code it ended with, if it was not at peace.
    #[track_caller]
    pub fn ended(mut self) -> Result<(), Option<Reason>> {
        drop(self.send);
        let ended =
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, &mut self.connection).await });
        ended.expect("the connection never ended").unwrap().map_err(|error| error.reason())
    }
}
