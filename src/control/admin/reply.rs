//! What the admin listener says to a request: a response, which ends its connection, or events.

use crate::proxy::respond::reason;
use crate::telemetry::date::write_http_date;

use super::subject::Subject;

/// What is done once the reply is on its way.
pub type Deed = fn(&Subject);

/// What a request gets.
#[derive(Debug)]
pub enum Answer {
    /// A reply.
    Reply(Reply),
    /// A reply, and then something that may end the process.
    ReplyThen(Reply, Deed),
    /// Events, until the viewer leaves.
    Events {
        /// Only their head is asked for.
        head_only: bool,
    },
}

/// A response that ends its connection.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Content-Type.
    pub content_type: &'static str,
    /// Methods that are allowed, for a 405.
    pub allow: &'static str,
    /// More fields, each a whole line.
    pub fields: String,
    /// The body.
    pub body: String,
    /// The body is not sent.
    pub head_only: bool,
}

impl Reply {
    /// A response with a body of `content_type`.
    pub fn of(status: u16, content_type: &'static str, body: String) -> Reply {
        Reply { status, content_type, allow: "", fields: String::new(), body, head_only: false }
    }

    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Reply {
        Reply::of(status, "text/plain; charset=utf-8", body.into())
    }

    /// JSON.
    pub fn json(status: u16, body: String) -> Reply {
        Reply::of(status, "application/json", body)
    }

    /// A status and nothing else to say.
    pub fn refusal(status: u16) -> Reply {
        Reply::text(status, format!("{}\n", reason(status)))
    }

    /// Another method is asked for.
    pub fn not_allowed(allow: &'static str) -> Reply {
        Reply { allow, ..Reply::refusal(405) }
    }

    /// As bytes.
    pub fn encode(&self, unix_s: u64) -> Vec<u8> {
        let mut out = head(self.status, unix_s);
        if !self.allow.is_empty() {
            // RFC 9110 §15.5.6: a 405 MUST say what is allowed.
            out.extend_from_slice(format!("Allow: {}\r\n", self.allow).as_bytes());
        }
        let rest = format!(
            "{}Content-Type: {}\r\nContent-Length: {}\r\nX-Content-Type-Options: nosniff\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            self.fields,
            self.content_type,
            self.body.len()
        );
        out.extend_from_slice(rest.as_bytes());
        if !self.head_only {
            out.extend_from_slice(self.body.as_bytes());
        }
        out
    }
}

/// The status line and the date.
pub fn head(status: u16, unix_s: u64) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} {}\r\nDate: ", reason(status)).into_bytes();
    write_http_date(unix_s, &mut out);
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_exact() {
        let text = |reply: Reply| String::from_utf8(reply.encode(784_111_777)).unwrap();
        assert_eq!(
            text(Reply::text(200, "ok\n")),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 3\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nok\n"
        );
        assert!(text(Reply::not_allowed("GET, HEAD")).contains("\r\nAllow: GET, HEAD\r\n"));
        let head = text(Reply { head_only: true, ..Reply::text(404, "gone") });
        assert!(head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
