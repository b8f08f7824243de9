//! The admin listener: metrics, probes, a status page, and a few orders, on threads of its own.
//!
//! Blocking sockets of the standard library and a thread per connection, because there are few clients, each asks one
//! question, and a probe must be answered while every worker is busy; an HTTP library with a runtime of its own would be
//! more code to trust than this. Requests are parsed by [`crate::h1`], as strictly as a client's.
//!
//! ```text
//!  accept ─▶ wait for one of ADMIN_CONNECTIONS_MAX places ─▶ a thread: head ─▶ guard ─▶ answer ─▶ FIN ─▶ the client's FIN
//!                                                            └── deadline ─┘         └ deadline ┘└───── deadline ─────┘
//! ```
//! Each deadline is one of the whole step and not of a single read: a slow client costs its place for their sum and
//! nobody else's time. One request per connection: a scrape every few seconds gains nothing from keeping it. The events of
//! the status page are the exception: they go on until their viewer leaves, each with a deadline of its own, and only
//! [`crate::limits::ADMIN_VIEWERS_MAX`] may watch.
//!
//! Nobody is asked who they are: whoever reaches the listener may read and order. What a browser must not be made to do by a
//! page from elsewhere, [`guard`] refuses.

mod answer;
mod endpoints;
mod events;
mod guard;
mod json;
mod listener;
mod page;
mod reply;
mod subject;
mod wire;

pub use self::listener::{Admin, Bound};
pub use self::subject::{Controls, Subject};
