//! `/status/NNN`: a reply with that status, and the field that RFC 9110 says must come with it.

use super::exchange::Exchange;
use super::fault::Fault;
use super::query;
use super::reply::{Reply, TEXT, reason};

/// Serves `/status/NNN`. Interim statuses are no replies of their own.
pub(super) fn serve(exchange: &mut Exchange<'_>, argument: &str) -> Result<(), Fault> {
    let status = query::number("NNN", argument, 200_u16..=599)?;
    match status {
        204 | 205 | 304 => exchange.answer(&Reply::bare(status), b""),
        _ => exchange.answer(&reply(status), format!("{status} {}\n", reason(status)).as_bytes()),
    }
}

fn reply(status: u16) -> Reply {
    let reply = Reply::new(status, TEXT);
    match status {
        301 | 302 | 303 | 307 | 308 => reply.field("Location", "/"),
        401 => reply.field("WWW-Authenticate", "Basic realm=\"demo\""),
        405 => reply.field("Allow", ""),
        407 => reply.field("Proxy-Authenticate", "Basic realm=\"demo\""),
        426 => reply.field("Upgrade", "websocket"),
        _ => reply,
    }
}
