//! The floor of the comparison bench: a relay of TCP bytes that looks at none of them, in one thread. Its modes differ
//! in how they wait, read and send and in nothing else, so the difference between two of them is what that costs,
//! and the cheapest is what no proxy on this machine can go below with these system calls.
//!
//! ```text
//! bench-floor MODE PORT ORIGIN_PORT        both on 127.0.0.1; SIGTERM ends it
//!
//! mode           waits by                              reads by               sends by
//! epoll          epoll_wait, edge triggered            recv(2)                send(2)
//! epoll-in-ring  the same set, its descriptor          recv(2)                send(2)
//!                polled in a ring
//! poll           ring poll, one shot per message       recv(2)                send(2)
//! multipoll      ring poll, multishot                  recv(2)                send(2)
//! ring-send      ring poll, one shot per message       recv(2)                ring send
//! ring           -                                     ring recv              ring send
//! multishot      -                                     multishot ring recv    ring send
//! ```
//!
//! Each client connection has one connection to the origin. When one of the two ends, what it has sent is delivered
//! and both are closed: half-closed connections do not exist here.
//!
//! A program for measurements, not for the internet: no limits, no timeouts, and one connection that never runs dry
//! keeps the thread to itself.

mod direct;
mod epoll;
mod polls;
mod pool;
mod relay;
mod ring;
mod sockets;

use std::env;
use std::io;
use std::process::ExitCode;

use crate::relay::Source;
use crate::sockets::Door;

const USAGE: &str =
    "usage: bench-floor epoll|epoll-in-ring|poll|multipoll|ring-send|ring|multishot PORT ORIGIN_PORT";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> io::Result<()> {
    let [mode, port, origin] = args else { return Err(io::Error::other(USAGE)) };
    let door = Door::open(number(port)?, number(origin)?)?;
    match mode.as_str() {
        "epoll" => direct::run(door, epoll::Set::new()?),
        "epoll-in-ring" => direct::run(door, epoll::SetInRing::new()?),
        "poll" => direct::run(door, polls::Polls::new(false)?),
        "multipoll" => direct::run(door, polls::Polls::new(true)?),
        "ring-send" => relay::run(door, Source::Poll),
        "ring" => relay::run(door, Source::Recv),
        "multishot" => relay::run(door, Source::Multishot),
        _ => Err(io::Error::other(USAGE)),
    }
}

fn number(text: &str) -> io::Result<u16> {
    text.parse().map_err(|_| io::Error::other(USAGE))
}
