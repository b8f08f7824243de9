//! What one exchange holds, on the heap: in cells that are used again.

use std::cell::RefCell;

use crate::h1::{HeadScan, Method, Version};
use crate::limits;
use crate::proxy::error::Failure;
use crate::proxy::exchange::Exchange;
use crate::proxy::flow::Outgoing;
use crate::proxy::limit::Admitted;
use crate::proxy::retry::Again;
use crate::proxy::retry::kept::KeptBody;

use super::buffers::{BufferPool, Outbox};
use super::facts::{Facts, Line};
use super::inbox::Inbox;
use super::queue::Entry;

/// For [`Transaction::splice_min`]: one of the two sides encrypts, or shares its connection.
pub const NEVER_SPLICE: u64 = u64::MAX;

/// The state of one exchange, from the request's head on. A request in steady state allocates nothing for it,
/// and a stream that says nothing holds nothing else.
#[derive(Debug)]
pub struct Transaction {
    /// What may happen next.
    pub exchange: Exchange,
    /// Method.
    pub method: Method,
    /// The client's protocol version.
    pub version: Version,
    /// The head as forwarded. Kept until the origin answers: it may have to be sent again.
    pub head: Vec<u8>,
    /// The head was sent, or part of it.
    pub head_sent: bool,
    /// Bytes that the client has not taken.
    pub to_client: Outbox,
    /// Bytes that the origin has not taken.
    pub to_origin: Outbox,
    /// The start of a response head that is not complete.
    pub from_origin: Inbox,
    /// How far that was looked at.
    pub scan: HeadScan,
    /// The origin sent bytes behind its response: its connection is not to be trusted again.
    pub surplus: bool,
    /// Known remainder in bytes from which a body is spliced; [`NEVER_SPLICE`] where that is off or does not work.
    pub splice_min: u64,
    /// The request is a gRPC call over HTTP/2.
    pub grpc: bool,
    /// How the response's body travels.
    pub outgoing: Outgoing,
    /// `Keep-Alive: timeout` of the origin, in seconds.
    pub keep_alive_s: Option<u32>,
    /// The request is for the proxy itself.
    pub answers_itself: bool,
    /// Its route, by its place in the configuration; `None` if it has none.
    pub route: Option<u32>,
    /// It is answered with this, and goes nowhere.
    pub refusal: Option<Refusal>,
    /// The origin had to wait for the client to read.
    pub held_up: bool,
    /// Its body as it was sent so far, while it may have to be sent again.
    pub kept: Option<KeptBody>,
    /// The response that has come is not wanted: the request goes out again.
    pub again: Option<Again>,
    /// The endpoint that its client is at home with, if it says so.
    pub home: Option<u64>,
    /// What its endpoint is chosen by, where that is a hash.
    pub key: Option<u64>,
    /// Its place at the endpoint that serves it.
    pub entry: Option<Entry>,
    /// Its places among those that its route lets in at once.
    pub admitted: Admitted,
    /// For the log and the counters.
    pub facts: Facts,
    /// For the log, if there is one.
    pub line: Option<Box<Line>>,
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// The reason.
    pub failure: Failure,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u32>,
}

impl Transaction {
    /// An exchange about to begin: nothing was sent or received for it.
    #[must_use]
    pub fn new(
        exchange: Exchange,
        method: Method,
        version: Version,
        head: Vec<u8>,
        facts: Facts,
    ) -> Transaction {
        Transaction {
            exchange,
            method,
            version,
            head,
            head_sent: false,
            to_client: Outbox::default(),
            to_origin: Outbox::default(),
            from_origin: Inbox::default(),
            scan: HeadScan::default(),
            surplus: false,
            splice_min: NEVER_SPLICE,
            grpc: false,
            outgoing: Outgoing::Same,
            keep_alive_s: None,
            answers_itself: false,
            route: None,
            refusal: None,
            held_up: false,
            kept: None,
            again: None,
            home: None,
            key: None,
            entry: None,
            admitted: Admitted::default(),
            facts,
            line: None,
        }
    }

    /// Whether a body of which so much is certain to follow is spliced. One that ends with its connection has no bound:
    /// its remainder equals [`NEVER_SPLICE`].
    #[must_use]
    pub fn splices(&self, bulk: u64) -> bool {
        self.splice_min != NEVER_SPLICE && bulk >= self.splice_min
    }

    /// Gives buffers and pipes back.
    fn release(&mut self, pool: &BufferPool) {
        self.to_client.release(pool);
        self.to_origin.release(pool);
        self.from_origin.consume(usize::MAX, pool);
        pool.give(std::mem::take(&mut self.head));
        self.facts.place = None;
        self.facts.tally = None;
        self.admitted = Admitted::default();
        drop(self.entry.take());
        self.kept = None;
    }
}

/// Free cells of a worker.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the cells are what is kept")]
pub struct TransactionPool {
    transactions: RefCell<Vec<Box<Transaction>>>,
    lines: RefCell<Vec<Box<Line>>>,
}

impl TransactionPool {
    /// Puts `transaction` into a cell.
    #[must_use]
    pub fn place(&self, transaction: Transaction) -> Box<Transaction> {
        match self.transactions.borrow_mut().pop() {
            Some(mut cell) => {
                *cell = transaction;
                cell
            }
            None => Box::new(transaction),
        }
    }

    /// A line to fill.
    #[must_use]
    pub fn line(&self) -> Box<Line> {
        self.lines.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a cell back, and what it holds.
    pub fn give(&self, mut cell: Box<Transaction>, pool: &BufferPool) {
        cell.release(pool);
        if let Some(line) = cell.line.take().filter(|line| line.capacity() <= limits::POOLED_HEAD_BYTES) {
            keep(&self.lines, line);
        }
        keep(&self.transactions, cell);
    }
}

fn keep<T>(free: &RefCell<Vec<T>>, cell: T) {
    let mut free = free.borrow_mut();
    if free.len() < limits::POOLED_TRANSACTIONS_MAX {
        free.push(cell);
    }
}
