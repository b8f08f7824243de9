//! A probe in HTTP/2: a GET of its own, on a connection of its own, by the `h2` crate.
//!
//! HTTP/1.1 would be refused by many of these origins, and SETTINGS alone would say no more than that something accepts
//! connections. What answers in anything but HTTP/2 is an error of `h2`.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use http::header::{ACCEPT, USER_AGENT};
use http::uri::{Scheme as UriScheme, Uri};
use http::{Request, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::{Scheme, Security};
use crate::limits;
use crate::net::socket::Socket;

use super::terms::{Bad, Closing, USER_AGENT as NAME};

/// Asks for `path`; the status of the response, and how to end the connection.
///
/// # Errors
/// There is none.
pub async fn ask(socket: Socket, scheme: Scheme, host: &str, path: &str) -> Result<(u16, Closing), Bad> {
    let request = request(scheme, host, path)?;
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits::PROBE_H2_WINDOW_BYTES)
        .max_header_list_size(limits::PROBE_H2_HEAD_BYTES_MAX);
    let (send, mut connection) = builder.handshake(Io(socket)).await?;
    let status = drive(&mut connection, status(send, request)).await?;
    // Nobody holds a stream any more: it says GOAWAY and closes.
    let closing = Box::pin(async move { drop(connection.await) });
    Ok((status, closing))
}

fn request(scheme: Scheme, host: &str, path: &str) -> http::Result<Request<()>> {
    let uri_scheme = if scheme.security == Security::Clear { UriScheme::HTTP } else { UriScheme::HTTPS };
    let uri = Uri::builder().scheme(uri_scheme).authority(host).path_and_query(path).build()?;
    let request = Request::get(uri).version(Version::HTTP_2);
    request.header(USER_AGENT, NAME).header(ACCEPT, "*/*").body(())
}

async fn status(send: SendRequest<Bytes>, request: Request<()>) -> Result<u16, Bad> {
    let mut send = send.ready().await?;
    let (response, _) = send.send_request(request, true)?;
    Ok(response.await?.status().as_u16())
}

/// Works while the connection runs.
async fn drive(
    connection: &mut Connection<Io, Bytes>,
    work: impl Future<Output = Result<u16, Bad>>,
) -> Result<u16, Bad> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let ended = Pin::new(&mut *connection).poll(cx);
        // What came last may be the response.
        match (work.as_mut().poll(cx), ended) {
            (Poll::Ready(done), _) => Poll::Ready(done),
            (Poll::Pending, Poll::Ready(Ok(()))) => Poll::Ready(Err(Bad::Closed)),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

/// A socket as `h2` wants it. That of workers gathers what many streams write; here there is one.
struct Io(Socket);

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_readable(cx));
            if let Some(n) = self.0.try_read(buf.initialize_unfilled())? {
                buf.advance(n);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.0.try_write(&[IoSlice::new(buf)])? {
                0 if !buf.is_empty() => ready!(self.0.poll_writable(cx)),
                n => return Poll::Ready(Ok(n)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // bytes count as written when they are with the kernel
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
