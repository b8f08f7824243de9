//! HTTP/2 connections to one endpoint, shared by the exchanges of a worker: a seat for each stream.
//!
//! A connection takes streams up to what the origin allows; then another one is made. While one is being made, whoever
//! needs a seat waits for it: a burst of requests does not become a burst of connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;

use crate::config::Security;
use crate::h1::HeadError;
use crate::limits;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::error::Failure;

/// A connection, as those who need a stream see it.
#[derive(Debug)]
pub struct Link {
    /// Opens streams; `None` when it takes no more.
    send: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    /// Streams at once that the origin is known to bear, whatever it says.
    bears: Cell<usize>,
    secure: bool,
    authority: Box<str>,
    /// Who drives the connection: to be woken when the last stream ends.
    driver: RefCell<Option<Waker>>,
}

impl Link {
    /// A connection to `endpoint` that has been greeted.
    #[must_use]
    pub fn new(send: SendRequest<Bytes>, endpoint: &Endpoint) -> Rc<Link> {
        let authority = endpoint.server_name.clone().unwrap_or_else(|| endpoint.address.to_string().into());
        Rc::new(Link {
            send: RefCell::new(Some(send)),
            streams: Cell::new(0),
            bears: Cell::new(limits::H2_ORIGIN_STREAMS_MAX),
            secure: endpoint.scheme.security != Security::Clear,
            authority,
            driver: RefCell::new(None),
        })
    }

    /// A seat, if one is free.
    pub fn seat(self: &Rc<Self>, cx: &mut Context<'_>) -> Option<Seat> {
        let most = self.send.borrow().as_ref()?.current_max_send_streams().min(self.bears.get());
        if self.streams.get() >= most {
            return None;
        }
        let mut send = self.send.borrow().clone()?;
        match send.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Pending => return None,
            Poll::Ready(Err(_)) => {
                self.close(); // GOAWAY, or the connection is gone
                return None;
            }
        }
        self.streams.set(self.streams.get() + 1);
        Some(Seat { link: Rc::clone(self), send })
    }

    /// It takes no more streams, and ends when those it has are over.
    pub fn close(&self) {
        drop(self.send.borrow_mut().take());
        self.wake_driver();
    }

    /// It may take another stream, now or later.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.send.borrow().is_some()
    }

    /// Streams that run.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whoever drives the connection is woken when it has something to decide.
    pub fn driven_by(&self, waker: &Waker) {
        let mut driver = self.driver.borrow_mut();
        match &mut *driver {
            Some(known) => known.clone_from(waker),
            None => *driver = Some(waker.clone()),
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
    }

    fn leave(&self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        if self.streams.get() == 0 {
            self.wake_driver();
        }
    }
}

/// A place for one stream on a connection; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    link: Rc<Link>,
    send: SendRequest<Bytes>,
}

impl Seat {
    /// Opens the stream; `over` says that nothing follows the head.
    ///
    /// # Errors
    /// Nothing was sent: the request may go elsewhere.
    pub fn open(
        &mut self,
        request: Request<()>,
        over: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failure> {
        self.send.send_request(request, over).map_err(|_| Failure::StreamRefused)
    }

    /// The failure that `error` stands for, before a response, where it is more than a lost connection.
    #[must_use]
    pub fn failure(&self, error: &h2::Error) -> Option<Failure> {
        match error.reason() {
            _ if error.is_io() => None,
            // RFC 9113 §6.8: the stream is beyond the last one that will be processed, whatever the code.
            _ if error.is_go_away() && error.is_remote() => Some(Failure::StreamRefused),
            // RFC 9113 §8.7: no processing has occurred. It bears fewer streams than it said.
            Some(Reason::REFUSED_STREAM) if error.is_remote() => {
                self.link.bears.set(self.link.streams.get().saturating_sub(1).max(1));
                Some(Failure::StreamRefused)
            }
            Some(reason) if error.is_remote() => Some(Failure::StreamReset(reason.into())),
            // What `h2` refused: on this stream, or for the whole connection.
            _ => Some(Failure::BadResponse(HeadError::Malformed)),
        }
    }

    /// The origin has said that it serves extended CONNECT (RFC 8441 §3).
    #[must_use]
    pub fn has_tunnels(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// `:scheme` of requests.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.link.secure { "https" } else { "http" }
    }

    /// `:authority` of requests that name none.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.link.authority
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.link.leave();
    }
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
pub struct Links {
    links: RefCell<Vec<Rc<Link>>>,
    opening: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// What comes of asking for a seat.
#[derive(Debug)]
pub enum Joined {
    /// Here it is, on a connection that has served before.
    Seat(Seat),
    /// There is none: whoever asked makes a connection.
    Open(Opening),
}

impl Links {
    /// A seat on a connection that stands.
    pub fn seat(&self, cx: &mut Context<'_>) -> Option<Seat> {
        let mut links = self.links.borrow_mut();
        links.retain(|link| link.is_open());
        links.iter().find_map(|link| link.seat(cx))
    }

    /// Ready with a seat, or with the task to make a connection; pending while somebody else makes one.
    pub fn poll_join(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<Joined> {
        if let Some(seat) = self.seat(cx) {
            return Poll::Ready(Joined::Seat(seat));
        }
        if !self.opening.replace(true) {
            return Poll::Ready(Joined::Open(Opening(Rc::clone(self))));
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// No connection takes another stream.
    pub fn close(&self) {
        self.links.borrow_mut().drain(..).for_each(|link| link.close());
    }
}

/// The task to make a connection. When it is dropped, done or not, those who wait look again.
#[derive(Debug)]
pub struct Opening(Rc<Links>);

impl Opening {
    /// The connection stands.
    pub fn done(self, link: Rc<Link>) {
        self.0.links.borrow_mut().push(link);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}
