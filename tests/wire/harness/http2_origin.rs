//! An origin of HTTP/2 whose script blocks: `h2` on a runtime of its own threads, its streams in a queue.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;
use super::http2::taken;

/// What a test can do to all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// GOAWAY; what runs may finish.
    Leave,
    /// Close without a word.
    Vanish,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    open: AtomicUsize,
    orders: Mutex<(Vec<Order>, Vec<Waker>)>,
}

/// An origin of HTTP/2, by prior knowledge or by ALPN.
pub struct Http2Origin {
    /// Where it listens.
    pub addr: SocketAddr,
    runtime: Runtime,
    shared: Arc<Shared>,
    asked: Receiver<Asked>,
}

/// A stream that the proxy has opened.
pub struct Asked {
    /// Its head.
    pub request: Request<()>,
    /// Its body.
    pub body: RecvStream,
    /// To answer with.
    pub respond: SendResponse<Bytes>,
    /// Number of its connection, from 0.
    pub connection: usize,
}

impl Http2Origin {
    /// Listens, with settings that suit most.
    pub fn start() -> Http2Origin {
        let mut builder = Builder::new();
        builder.enable_connect_protocol();
        Http2Origin::start_with(builder)
    }

    /// Listens in the clear.
    pub fn start_with(builder: Builder) -> Http2Origin {
        Http2Origin::listen(builder, None)
    }

    /// Listens with TLS; whoever does not agree on `h2` is sent away.
    pub fn start_tls(config: &Arc<ServerConfig>) -> Http2Origin {
        let mut builder = Builder::new();
        builder.enable_connect_protocol();
        Http2Origin::listen(builder, Some(TlsAcceptor::from(Arc::clone(config))))
    }

    fn listen(builder: Builder, tls: Option<TlsAcceptor>) -> Http2Origin {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let (queue, asked) = channel();
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let number = state.accepted.fetch_add(1, Ordering::SeqCst);
                state.open.fetch_add(1, Ordering::SeqCst);
                let conversation = (builder.clone(), number, queue.clone(), Arc::clone(&state));
                match tls.clone() {
                    None => drop(tokio::spawn(converse(tcp, conversation))),
                    Some(tls) => drop(tokio::spawn(async move {
                        match tls.accept(tcp).await {
                            Ok(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
                                converse(tls, conversation).await;
                            }
                            Ok(_) | Err(_) => drop(conversation.3.open.fetch_sub(1, Ordering::SeqCst)),
                        }
                    })),
                }
            }
        });
        Http2Origin { addr, runtime, shared, asked }
    }

    /// Answers every stream, from now on, with what `answer` makes of its head and its whole body.
    pub fn serve(
        self,
        answer: impl Fn(&Request<()>, &[u8]) -> (Response<()>, Vec<u8>) + Send + Sync + 'static,
    ) -> Serving {
        let Http2Origin { addr, runtime, asked, .. } = self;
        let answer = Arc::new(answer);
        let handle = runtime.handle().clone();
        std::thread::spawn(move || {
            for mut asked in asked {
                let answer = Arc::clone(&answer);
                handle.spawn(async move {
                    let (body, _) = received(&mut asked.body).await?;
                    let (head, content) = answer(&asked.request, &body);
                    let mut stream = asked.respond.send_response(head, content.is_empty())?;
                    if !content.is_empty() {
                        stream.send_data(Bytes::from(content), true)?;
                    }
                    Ok::<(), h2::Error>(())
                });
            }
        });
        Serving { addr, _runtime: runtime }
    }

    /// `--upstream` for it, in the clear.
    pub fn upstream(&self) -> String {
        format!("h2c://{}", self.addr)
    }

    /// To wait with from other threads.
    pub fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// The next stream.
    #[track_caller]
    pub fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("no stream came")
    }

    /// The next stream, if one comes in this time.
    pub fn try_next(&self, wait: std::time::Duration) -> Option<Asked> {
        self.asked.recv_timeout(wait).ok()
    }

    /// Waits for `future`, with patience.
    #[track_caller]
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let waited = async { tokio::time::timeout(PATIENCE, future).await };
        self.runtime.block_on(waited).expect("waited for ever")
    }

    /// The next bytes of a request's body; `None` at its end.
    #[track_caller]
    pub fn data(&self, body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
        self.wait(taken(body))
    }

    /// The rest of a request's body and its trailers.
    #[track_caller]
    pub fn rest(&self, body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), Option<Reason>> {
        self.wait(received(body)).map_err(|error| error.reason())
    }

    /// Waits for the proxy to reset a stream.
    #[track_caller]
    pub fn reset(&self, stream: &mut SendStream<Bytes>) -> Reason {
        self.wait(poll_fn(|cx| stream.poll_reset(cx))).expect("reset, and not broken")
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Sends GOAWAY on every connection; what runs may finish.
    pub fn leave(&self) {
        self.shared.order(Order::Leave);
    }

    /// Closes every connection without a word.
    pub fn vanish(&self) {
        self.shared.order(Order::Vanish);
    }
}

/// An origin that answers by itself.
pub struct Serving {
    addr: SocketAddr,
    _runtime: Runtime,
}

impl Serving {
    /// `--upstream` for it.
    pub fn upstream(&self) -> String {
        format!("h2c://{}", self.addr)
    }
}

impl Shared {
    fn order(&self, order: Order) {
        let mut orders = self.orders.lock().unwrap();
        orders.0.push(order);
        orders.1.drain(..).for_each(Waker::wake);
    }
}

async fn received(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = taken(body).await {
        all.extend_from_slice(&data?);
    }
    Ok((all, body.trailers().await?))
}

/// Serves one connection: its streams go to the queue, orders are obeyed from here on.
async fn converse<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    (builder, number, queue, shared): (Builder, usize, Sender<Asked>, Arc<Shared>),
) {
    if let Ok(mut connection) = builder.handshake(io).await {
        let mut obeyed = shared.orders.lock().unwrap().0.len();
        poll_fn(|cx| serve(&mut connection, number, &queue, &shared, &mut obeyed, cx)).await;
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<T, Bytes>,
    number: usize,
    queue: &Sender<Asked>,
    shared: &Shared,
    obeyed: &mut usize,
    cx: &mut std::task::Context<'_>,
) -> Poll<()> {
    loop {
        let order = {
            let mut orders = shared.orders.lock().unwrap();
            orders.1.push(cx.waker().clone());
            orders.0.get(*obeyed).copied()
        };
        match order {
            Some(Order::Leave) => connection.graceful_shutdown(),
            Some(Order::Vanish) => return Poll::Ready(()),
            None => {}
        }
        *obeyed += usize::from(order.is_some());
        match connection.poll_accept(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
            Poll::Ready(Some(Ok((request, respond)))) => {
                let (parts, body) = request.into_parts();
                let request = Request::from_parts(parts, ());
                let _ = queue.send(Asked { request, body, respond, connection: number });
            }
        }
    }
}
