//! WebSocket echo: each connection has one message under way, and what comes back must be the message.

use std::rc::Rc;

use crate::engine::{Load, Tally, Verdict};
use crate::head::{HeadBuffer, Pushed};

use crate::link::Links;

/// Payload of a message, bytes: below 126, so that its frame has the short form.
const PAYLOAD: &[u8; 64] = b"The quick brown fox jumps over the lazy dog, sixty-four bytes ok";
/// RFC 6455 §5.3 wants a masking key; which one does not matter between the two ends of a bench.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Default)]
struct Client {
    head: HeadBuffer,
    open: bool,
    /// Bytes of the echo that have come.
    seen: usize,
    started: u64,
    heard: bool,
}

/// The load.
pub struct Echoes {
    request: Rc<[u8]>,
    message: Rc<[u8]>,
    echo: Vec<u8>,
    clients: Vec<Client>,
    silent: usize,
    tally: Tally,
}

impl Echoes {
    /// So many connections.
    #[must_use]
    pub fn new(request: Rc<[u8]>, count: usize) -> Self {
        let mut message = vec![0x81, 0x80 | PAYLOAD.len() as u8];
        message.extend_from_slice(&MASK);
        message.extend(PAYLOAD.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let mut echo = vec![0x81, PAYLOAD.len() as u8];
        echo.extend_from_slice(PAYLOAD);
        Self {
            request,
            message: message.into(),
            echo,
            clients: (0..count).map(|_| Client::default()).collect(),
            silent: count,
            tally: Tally::default(),
        }
    }

    fn send(&mut self, links: &mut Links, id: usize, now: u64) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.started = now;
        client.seen = 0;
        if !self.tally.stopped {
            let _ = links.send(id, Rc::clone(&self.message));
        }
    }
}

impl Load for Echoes {
    fn opened(&mut self, links: &mut Links, id: usize, _now: u64) {
        let _ = links.send(id, Rc::clone(&self.request));
    }

    fn received(&mut self, links: &mut Links, id: usize, bytes: &[u8], now: u64) -> Verdict {
        let Some(client) = self.clients.get_mut(id) else { return Verdict::Broken };
        if !client.open {
            return match client.head.push(bytes) {
                Pushed::More => Verdict::Keep,
                Pushed::Head(head, []) if head.status == 101 => {
                    client.open = true;
                    self.send(links, id, now);
                    Verdict::Keep
                }
                Pushed::Head(..) | Pushed::Bad => Verdict::Broken,
            };
        }
        if self.echo.get(client.seen..client.seen + bytes.len()) != Some(bytes) {
            return Verdict::Broken;
        }
        client.seen += bytes.len();
        if client.seen == self.echo.len() {
            self.tally.latencies.record(now.saturating_sub(client.started));
            self.silent -= usize::from(!client.heard);
            client.heard = true;
            self.send(links, id, now);
        }
        Verdict::Keep
    }

    fn is_ready(&self) -> bool {
        self.silent == 0
    }

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
