//! Goal: what is spliced arrives as it was sent, whoever stalls, and what was in a pipe when somebody died never
//! reaches anybody else. Method: every body is spliced (`--splice-min 1`); seeded bodies of every framing in
//! both directions through peers that stall; resets on either side in mid-body; descriptors counted in /proc.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::harness::*;

/// SplitMix64: the same schedule on every machine.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 27)
    }

    fn size(&mut self, max: usize) -> usize {
        usize::try_from(self.next() % (max as u64 + 1)).unwrap()
    }

    /// Mostly small, sometimes more than a pipe or a socket holds.
    fn body_size(&mut self) -> usize {
        if self.size(99) == 0 { self.size(1_500_000) } else { self.size(20_000) }
    }

    /// A stall that is part of the script: long enough for the other side to fill up, now and then.
    fn stall(&mut self) {
        if self.size(60) == 0 {
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// The body that belongs to a seed.
fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A message with this start line: its body of `content(seed)` in one of the framings, chosen by the seed.
fn message(start: &str, seed: u64) -> Vec<u8> {
    let mut rng = Rng(seed ^ 0xb0d1);
    let body = content(seed, rng.body_size());
    if rng.size(1) == 0 {
        return [format!("{start}Content-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat();
    }
    let mut wire = format!("{start}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at((1 + rng.size(60_000)).min(rest.len()));
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = tail;
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

fn body_of(seed: u64) -> Vec<u8> {
    content(seed, Rng(seed ^ 0xb0d1).body_size())
}

fn send_stalling(peer: &mut Peer, bytes: &[u8], rng: &mut Rng) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((1 + rng.size(90_000)).min(rest.len()));
        peer.send(piece);
        rng.stall();
        rest = tail;
    }
}

/// Checks each request's body and answers with the body of the next seed.
fn checking_origin() -> Origin {
    Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let seed: u64 = request.head.target()[1..].parse().unwrap();
            assert!(
                request.body.complete && request.body.bytes == body_of(seed),
                "upload {seed} was changed"
            );
            send_stalling(&mut conn, &message("HTTP/1.1 200 OK\r\n", seed + 1), &mut Rng(seed));
        }
    })
}

fn one_exchange(client: &mut Peer, seed: u64) {
    let mut rng = Rng(!seed);
    let start = format!("POST /{seed} HTTP/1.1\r\nHost: a\r\n");
    send_stalling(client, &message(&start, seed), &mut rng);
    rng.stall();
    let response = client.response();
    assert_eq!(response.head.status(), 200, "{seed}");
    assert!(
        response.body.complete && response.body.bytes == body_of(seed + 1),
        "download {seed} was changed"
    );
}

/// 10 000 random bodies each way.
#[test]
fn bodies_arrive_as_they_were_sent() {
    let origin = checking_origin();
    let mut proxy = Proxy::with(&origin, &["--splice-min", "1"]);
    thread::scope(|scope| {
        for lane in 0..4u64 {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut client = proxy.client();
                for n in 0..2_500 {
                    one_exchange(&mut client, (lane * 2_500 + n) * 2);
                }
            });
        }
    });
    proxy.assert_healthy();
}

/// Pipes among the descriptors of the proxy, and all descriptors.
fn descriptors(proxy: &Proxy) -> (usize, usize) {
    let links: Vec<String> = fs::read_dir(format!("/proc/{}/fd", proxy.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    (links.iter().filter(|link| link.starts_with("pipe:")).count(), links.len())
}

const BIG: usize = 4_000_000;

/// Resets of clients and origins in mid-body: nobody gets another's bytes, and nothing stays open.
#[test]
fn resets_in_mid_body_leak_nothing() {
    let origin = Origin::start(|mut conn| {
        while let Some(request) = conn.request() {
            let seed: u64 = request.head.target()[2..].parse().unwrap();
            let body = content(seed, BIG);
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n"));
            let whole = request.head.target().starts_with("/w");
            let sent = if whole { BIG } else { Rng(seed).size(BIG - 1) };
            if conn.try_send(&body[..sent]).is_err() {
                return;
            }
            if !whole {
                return conn.reset();
            }
        }
    });
    let mut proxy = Proxy::with(&origin, &["--splice-min", "1"]);
    let whole = |seed: u64| {
        let body = proxy.get(&format!("/w{seed}")).body;
        assert!(body.complete && body.bytes == content(seed, BIG), "{seed}: bytes of somebody else");
    };
    whole(0);
    let (_, before) = descriptors(&proxy);
    for seed in 1..=60 {
        let mut leaver = proxy.client();
        leaver.send(get(&format!("/w{seed}")));
        leaver.exactly(Rng(seed).size(BIG / 2) + 1);
        leaver.reset();
        let cut = proxy.get(&format!("/r{seed}"));
        let body = &cut.body.bytes;
        assert!(
            !cut.body.complete && content(seed, BIG).starts_with(body),
            "{seed}: not a cut of its own body"
        );
        if seed % 10 == 0 {
            whole(seed + 1_000);
        }
    }
    // Free pipes stay for later; connections and the pipes of the dead do not.
    eventually("descriptors return", || {
        let (pipes, all) = descriptors(&proxy);
        (all <= before + pipes + 4).then_some(())
    });
    proxy.assert_healthy();
}

/// A tunnel that turns bulky carries the same bytes, both ways at once.
#[test]
fn bulky_tunnels_carry_every_byte() {
    let origin = Origin::start(|mut conn| {
        if conn.request_head().is_none() {
            return;
        }
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bulk\r\n\r\n");
        let mut writer = conn.writer();
        let down = thread::spawn(move || {
            writer.send(content(1, BIG));
            writer.half_close();
        });
        assert!(conn.exactly(BIG) == content(2, BIG), "upward bytes were changed");
        down.join().unwrap();
    });
    let proxy = Proxy::with(&origin, &["--splice-min", "1"]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: bulk\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    let mut writer = client.writer();
    let up = thread::spawn(move || writer.send(content(2, BIG)));
    assert!(client.exactly(BIG) == content(1, BIG), "downward bytes were changed");
    up.join().unwrap();
    client.half_close();
    client.assert_closed();
}
