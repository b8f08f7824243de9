//! Goal: long streams do not pile up on one worker, whatever ended before, and nobody is lost on the way to another one.
//! Method: the real binary with several workers; whose a connection is, is read from `/metrics` after each one.

use std::mem;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::harness::*;

/// An origin that begins a stream on `/stream` and leaves it open; anything else it answers.
fn endless_streams() -> Origin {
    let open = Arc::new(Mutex::new(Vec::new()));
    Origin::start(move |mut conn| {
        while let Some(head) = conn.request_head() {
            if head.target() == "/stream" {
                conn.send(CHUNKED.to_owned() + &chunk("one"));
                return open.lock().unwrap().push(conn);
            }
            conn.send(ok("fine"));
        }
    })
}

/// A proxy, and the streams that each of its workers serves.
struct Crew {
    proxy: Proxy,
    streams: Vec<Vec<Peer>>,
}

impl Crew {
    fn of(origin: &Origin, workers: &str) -> Crew {
        let proxy = Proxy::with(origin, &["--workers", workers, "--admin", "127.0.0.1:0"]);
        let streams = (0..workers.parse().unwrap()).map(|_| Vec::new()).collect();
        Crew { proxy, streams }
    }

    /// Samples of the metric `name`, in order of their labels.
    fn metric(&self, name: &str) -> Vec<usize> {
        let text = Peer::connect(self.proxy.admin()).exchange(crate::admin::get("/metrics")).text();
        let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        samples.map(|(_, value)| value.parse().unwrap()).collect()
    }

    fn open(&self) -> Vec<usize> {
        self.metric("ringress_worker_connections{")
    }

    fn have(&self) -> Vec<usize> {
        self.streams.iter().map(Vec::len).collect()
    }

    /// Opens one stream after another and finds out whose each one is.
    #[track_caller]
    fn open_streams(&mut self, count: usize) {
        for _ in 0..count {
            let stream = crate::lifecycle::open_stream(&self.proxy);
            let before = self.have();
            let whose = eventually("one worker has one more", || {
                let now = self.open();
                let grown: Vec<usize> =
                    (0..now.len()).filter(|worker| now[*worker] != before[*worker]).collect();
                (grown.len() == 1 && now[grown[0]] == before[grown[0]] + 1).then(|| grown[0])
            });
            self.streams[whose].push(stream);
        }
    }

    /// Ends all streams of one worker; returns how many there were.
    #[track_caller]
    fn end_streams_of(&mut self, worker: usize) -> usize {
        let ended = mem::take(&mut self.streams[worker]).len();
        let left = self.have();
        eventually("the streams have ended", || (self.open() == left).then_some(ended))
    }

    #[track_caller]
    fn assert_balanced(&self) {
        let have = self.have();
        let mean = have.iter().sum::<usize>() as f64 / have.len() as f64;
        for count in &have {
            assert!((*count as f64 - mean).abs() <= 0.2 * mean, "{have:?} is more than 20 % from the mean");
        }
    }
}

/// All streams of a worker end: the next ones are its, until it has as many as the others.
#[track_caller]
fn assert_refilled(workers: &str, streams: usize) {
    let origin = endless_streams();
    let mut crew = Crew::of(&origin, workers);
    crew.open_streams(streams);
    crew.assert_balanced();
    for worker in [0, 1] {
        let ended = crew.end_streams_of(worker);
        crew.open_streams(ended);
        crew.assert_balanced();
    }
    assert_ne!(crew.metric("ringress_connections_handed_over_total"), [0]);
    crew.proxy.assert_healthy();
}

#[test]
fn two_workers_have_as_many_streams_each() {
    assert_refilled("2", 300);
}

#[test]
fn four_workers_have_as_many_streams_each() {
    assert_refilled("4", 400);
}

/// One worker has nobody to give to and nothing to say about it.
#[test]
fn one_worker_keeps_what_it_has() {
    let origin = endless_streams();
    let mut crew = Crew::of(&origin, "1");
    crew.open_streams(20);
    assert_eq!(crew.metric("ringress_connections_handed_over_total"), [0]);
}

/// Connections on their way from one worker to another when the process is told to stop are served like all others.
/// Method: a stopped process, whose accept queues fill while one worker has far more streams than the other.
#[test]
fn a_drain_loses_nobody_on_the_way() {
    let origin = endless_streams();
    let mut crew = Crew::of(&origin, "2");
    crew.open_streams(200);
    crew.end_streams_of(0);
    crew.proxy.signal(Signal::STOP);
    let mut clients: Vec<Peer> = (0..200).map(|_| crew.proxy.client()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    crew.proxy.terminate();
    crew.proxy.signal(Signal::CONT);
    for client in &mut clients {
        assert_eq!(client.response().text(), "fine");
    }
    crew.streams.clear();
    assert_eq!(crew.proxy.wait().code(), Some(0));
}
