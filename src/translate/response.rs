//! Responses: the engine's HTTP/1.1 head for a client of HTTP/2.

use http::Response;
use http::header::CONTENT_LENGTH;

use crate::h1::ResponseHead;
use crate::proxy::forward::Source;

use super::{Malformed, fields};

/// The head that the engine made, for a client that speaks HTTP/2. A 101 becomes the 200 of RFC 8441 §5.
///
/// # Errors
/// Something in it cannot stand in HTTP/2.
pub fn read_head(head: &ResponseHead, source: Source<'_>) -> Result<Response<()>, Malformed> {
    let status = if head.status == 101 { 200 } else { head.status };
    let mut response = Response::builder().status(status);
    for (name, value) in fields::read(source.bytes, source.fields) {
        let switched = head.status == 101;
        if !(switched && (name == "sec-websocket-accept" || name == CONTENT_LENGTH)) {
            response = response.header(name, value);
        }
    }
    response.body(()).map_err(|_| Malformed::Head)
}
