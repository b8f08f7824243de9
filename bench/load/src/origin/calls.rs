//! The HTTP/2 side of the origin: every call is answered with what it sends, as a gRPC echo would.

use crate::frames::{self, Broken};
use crate::session::{Event, Session};

/// Takes bytes of a connection and puts the answers into its session.
///
/// # Errors
/// When they are no HTTP/2 that the bench understands.
pub fn received(session: &mut Session, bytes: &[u8]) -> Result<(), Broken> {
    session.receive(bytes, |session, event| match event {
        Event::Head { stream, end, .. } => {
            session.open(stream);
            session.head(stream, &frames::call_head(), false);
            finish(session, stream, end);
            Ok(())
        }
        Event::Data { stream, bytes, end } => {
            if !bytes.is_empty() {
                session.data(stream, bytes)?;
            }
            finish(session, stream, end);
            Ok(())
        }
        Event::Reset(stream) => {
            session.close(stream);
            Ok(())
        }
        Event::GoAway => Ok(()),
    })
}

/// Trailers, when the caller has said all. Nobody ends a call while its echo waits for room.
fn finish(session: &mut Session, stream: u32, end: bool) {
    if end {
        session.head(stream, &frames::call_trailers(), true);
        session.close(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Method;

    #[test]
    fn a_call_is_echoed_and_ended() {
        let (mut client, mut server) = (Session::client(), Session::server());
        let [block, _] = frames::request(Method::Post, "/bench.Echo/Call");
        client.open(1);
        client.head(1, &block, false);
        client.data(1, b"hello").unwrap();
        let mut bytes = client.output().unwrap().to_vec();
        frames::push(&mut bytes, frames::DATA, frames::END, 1, &[]);
        // The first part of the preface has been taken for a head.
        received(&mut server, &bytes[frames::PREFACE.len() - frames::PREFACE_REST.len()..]).unwrap();
        let mut seen = Vec::new();
        let answer = server.output().unwrap();
        client
            .receive(&answer, |_, event| {
                seen.push(match event {
                    Event::Head { ok, end, .. } => format!("head {ok} {end}"),
                    Event::Data { bytes, end, .. } => format!("{} {end}", String::from_utf8_lossy(bytes)),
                    Event::Reset(_) | Event::GoAway => "end".to_owned(),
                });
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, ["head true false", "hello false", "head false true"]);
    }
}
