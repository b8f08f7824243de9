//! Handshakes, by monoio-rustls over the non-blocking transport.
//!
//! Its stream has buffers of its own, and only the TLS session is taken over from it ([`Stream::into_parts`]). It
//! must therefore never hold bytes when a handshake ends: it is handed at most [`limits::TLS_READ_BYTES`] per read,
//! which rustls takes in one step, and writes are complete before the handshake is.
//!
//! A handshake is cancelled by dropping it, and its connection with it. Its future is large and therefore boxed; it
//! is gone before the connection is served.
//!
//! [`Stream::into_parts`]: monoio_rustls::TlsStream::into_parts

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use monoio::BufResult;
use monoio::buf::{IoBuf, IoBufMut, IoVecBuf, IoVecBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio_rustls::{TlsAcceptor, TlsConnector};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Connection};

use crate::limits;
use crate::proxy::error::Failure;
use crate::telemetry::metrics::Counter;
use crate::time::{Phase, Timestamp};

use super::super::socket::Socket;
use super::super::worker::Worker;
use super::greeting::Greeting;
use super::session::Session;
use super::{ServerTls, subject};

/// A handshake under way; its transport comes back secured.
pub type Handshake = Pin<Box<dyn Future<Output = io::Result<Socket>>>>;

/// Where a handshake leaves its connection when it fails.
pub(super) type Left = Rc<Cell<Option<Socket>>>;

/// A client's handshake on a connection that has just been accepted.
pub(super) fn accept(tls: Arc<ServerTls>, transport: Socket, left: Left) -> Handshake {
    Box::pin(async move {
        let stream = TlsAcceptor::from(Arc::clone(&tls.config)).accept(Bare::new(transport, left)).await;
        let (bare, connection) = stream.map_err(io::Error::from)?.into_parts();
        let transport = bare.finish().await?;
        let subject = match connection.peer_certificates().and_then(<[_]>::first) {
            Some(certificate) => Some(subject::of(certificate)?),
            None => None,
        };
        let connection = Connection::Server(connection);
        let greeting = Greeting::of(&connection, Arc::clone(&tls.certificates), subject);
        let session = Session::of_client(connection, greeting)?;
        Ok(transport.secured(session))
    })
}

/// Our handshake with the origin `name`.
#[must_use]
pub fn connect(config: Arc<ClientConfig>, name: &str, transport: Socket) -> Handshake {
    let name = ServerName::try_from(name.to_owned());
    Box::pin(async move {
        let name = name.map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let stream = TlsConnector::from(config).connect(name, Bare::new(transport, Left::default())).await;
        let (bare, connection) = stream.map_err(io::Error::from)?.into_parts();
        let transport = bare.finish().await?;
        Ok(transport.secured(Session::new(Connection::Client(connection))?))
    })
}

/// A client's handshake under `--handshake-timeout`.
///
/// # Errors
/// It failed, was late, or came in the way of a drain. Where the client was told why, its connection is still open: closed
/// at once, with bytes of the client's unread, it would be reset, and the alert lost.
pub async fn greet(
    worker: &Rc<Worker>,
    transport: Socket,
    accepted: Timestamp,
) -> Result<Socket, Option<Socket>> {
    let tls = worker.shared.tls.as_ref().ok_or(None)?.load_full();
    let left = Left::default();
    let mut handshake = accept(tls, transport, Rc::clone(&left));
    let at = accepted.after(worker.views.latest().config.timeouts.handshake);
    let greeted = worker.within(at, Phase::Handshake, handshake.as_mut()).await.ok_or(None)?;
    let counter = if greeted.is_ok() { Counter::TlsHandshakes } else { Counter::TlsHandshakeFailures };
    worker.metrics.add(counter, 1);
    greeted.map_err(|error| {
        tracing::debug!(%error, "a client's TLS handshake failed");
        left.take()
    })
}

/// What a failed handshake with an origin means.
#[must_use]
pub fn failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Failure::TlsCertificate
        }
        Some(_) | None => Failure::TlsProtocol,
    }
}

/// The bare transport as monoio-rustls sees it. What it writes, record by record, leaves in one send when the next
/// thing is to read.
struct Bare {
    transport: Option<Socket>,
    unsent: Vec<u8>,
    left: Left,
}

impl Bare {
    fn new(transport: Socket, left: Left) -> Bare {
        Bare { transport: Some(transport), unsent: Vec::new(), left }
    }

    /// Sends what is left, and gives the transport back.
    async fn finish(mut self) -> io::Result<Socket> {
        self.send().await?;
        self.transport.take().ok_or(ErrorKind::NotConnected.into())
    }

    async fn send(&mut self) -> io::Result<()> {
        let transport = self.transport.as_mut().ok_or(ErrorKind::NotConnected)?;
        let mut sent = 0;
        while let Some(rest) = self.unsent.get(sent..).filter(|rest| !rest.is_empty()) {
            match transport.try_write(&[IoSlice::new(rest)])? {
                0 => poll_fn(|cx| transport.poll_writable(cx)).await,
                n => sent += n,
            }
        }
        self.unsent.clear();
        Ok(())
    }

    async fn receive(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        self.send().await?;
        let transport = self.transport.as_mut().ok_or(ErrorKind::NotConnected)?;
        loop {
            poll_fn(|cx| transport.poll_readable(cx)).await;
            if let Some(n) = transport.try_read(chunk)? {
                return Ok(n);
            }
        }
    }
}

impl Drop for Bare {
    /// A handshake that fails writes an alert last.
    fn drop(&mut self) {
        if let Some(mut transport) = self.transport.take() {
            let _ = transport.try_write(&[IoSlice::new(&self.unsent)]); // whoever is gone needs no alert
            self.left.set(Some(transport));
        }
    }
}

impl AsyncReadRent for Bare {
    async fn read<T: IoBufMut>(&mut self, mut buf: T) -> BufResult<usize, T> {
        let mut chunk = [0; limits::TLS_READ_BYTES];
        let room = buf.bytes_total().min(chunk.len());
        match self.receive(chunk.get_mut(..room).unwrap_or_default()).await {
            Ok(n) => chunk.get(..n).unwrap_or_default().read(buf).await,
            Err(error) => (Err(error), buf),
        }
    }

    async fn readv<T: IoVecBufMut>(&mut self, buf: T) -> BufResult<usize, T> {
        (Err(ErrorKind::Unsupported.into()), buf) // monoio-rustls does not ask for it
    }
}

impl AsyncWriteRent for Bare {
    async fn write<T: IoBuf>(&mut self, buf: T) -> BufResult<usize, T> {
        self.unsent.extend_from_slice(bytes(&buf));
        (Ok(buf.bytes_init()), buf)
    }

    async fn writev<T: IoVecBuf>(&mut self, buf: T) -> BufResult<usize, T> {
        (Err(ErrorKind::Unsupported.into()), buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.send().await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.send().await
    }
}

/// The bytes of a runtime buffer.
fn bytes<T: IoBuf>(buf: &T) -> &[u8] {
    // SAFETY: an implementor of `IoBuf` upholds that `bytes_init` bytes from `read_ptr` on are initialised and stay
    // where they are while `buf` is borrowed (its contract).
    #[allow(unsafe_code)]
    unsafe {
        std::slice::from_raw_parts(buf.read_ptr(), buf.bytes_init())
    }
}
