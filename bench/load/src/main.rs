//! The origin and the load generator of the comparison bench, for what wrk is not able to do. `bench/run` starts it.
//!
//! ```text
//! bench-load origin
//! bench-load exchange PORT --target /bytes/100 --connections 64 --seconds 5 [--upload BYTES] [--once]
//!            [--rate R] [--expired] [--slow TARGET | --beside TARGET] [--close]
//! bench-load stream   PORT --target /events/2000 --connections 2000 --seconds 5 --interval-ms 2000
//! bench-load echo     PORT --target /echo --connections 64 --seconds 5
//! bench-load multiplex PORT --target /bytes/100 --body-bytes 100 --connections 16 --streams 16 --seconds 5 [--once]
//! bench-load calls    PORT --target /bench.Echo/Call --connections 16 --streams 16 --seconds 5
//! ```
//!
//! `multiplex` and `calls` speak HTTP/2 in the clear, with prior knowledge.
//!
//! `--tls CERTIFICATE` puts TLS below any load, `--resumed` makes every handshake after the first ones a resumption.

mod calls;
mod echo;
mod engine;
mod exchange;
mod frames;
mod head;
mod histogram;
mod limits;
mod link;
mod multiplex;
mod origin;
mod session;
mod streams;
mod tls;

use std::collections::HashMap;
use std::env;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::rc::Rc;

use exchange::{Company, Exchanges, Expect, Pace};

/// The key of RFC 6455 §1.3; see the origin.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The options of a load.
struct Options(HashMap<String, String>);

impl Options {
    fn parse(args: &[String]) -> Self {
        let mut options = HashMap::new();
        let mut args = args.iter().peekable();
        while let Some(name) = args.next() {
            let value = args.next_if(|value| !value.starts_with("--"));
            options.insert(name.trim_start_matches('-').to_owned(), value.cloned().unwrap_or_default());
        }
        Self(options)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn number(&self, name: &str) -> Result<f64, String> {
        let text = self.0.get(name).ok_or(format!("--{name} is missing"))?;
        text.parse().map_err(|_| format!("--{name} is no number"))
    }

    fn count(&self, name: &str) -> Result<usize, String> {
        self.number(name).map(|number| number as usize)
    }

    fn target(&self) -> &str {
        self.0.get("target").map_or("/", String::as_str)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    // The kernel may delay a timer by 50 µs unless told otherwise; fixed rates need better. Best effort.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1000");
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<(), String> {
    match args {
        [kind] if kind == "origin" => origin::run(),
        [kind, port, options @ ..] => {
            let port = port.parse().map_err(|_| format!("no port: {port}"))?;
            load(kind, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), &Options::parse(options))
        }
        _ => {
            Err("usage: bench-load origin | KIND PORT --target PATH --connections N --seconds S ..."
                .to_owned())
        }
    }
}

fn load(kind: &str, target: SocketAddrV4, options: &Options) -> Result<(), String> {
    let (connections, seconds) = (options.count("connections")?, options.number("seconds")?);
    let tls = match options.0.get("tls") {
        Some(certificate) => Some(tls::Connector::new(certificate, options.has("resumed"))?),
        None => None,
    };
    if tls.is_some() && options.has("slow") {
        return Err("slow readers read less than a record: not over TLS".to_owned());
    }
    let plan = engine::Plan { target, connections, seconds, tls };
    match kind {
        "exchange" => engine::run(&mut exchanges(options, connections)?, plan),
        "stream" => {
            let request = request("GET", options.target(), "Accept: text/event-stream\r\n", 0);
            let interval_ns = options.count("interval-ms")?.max(1) as u64 * 1_000_000;
            engine::run(&mut streams::Streams::new(request, connections, interval_ns), plan)
        }
        "multiplex" => {
            let requests = multiplex::Plan {
                target: short(options.target())?,
                body_bytes: options.count("body-bytes")? as u64,
                streams: streams(options)?,
                once: options.has("once"),
            };
            if requests.body_bytes > u64::from(limits::STREAM_WINDOW) {
                return Err("a body must fit a stream's window".to_owned());
            }
            engine::run(&mut multiplex::Multiplexed::new(requests, connections), plan)
        }
        "calls" => {
            let target = short(options.target())?;
            engine::run(&mut calls::Calls::new(&target, streams(options)?, connections), plan)
        }
        "echo" => {
            let request = request("GET", options.target(), UPGRADE, 0);
            engine::run(&mut echo::Echoes::new(request, connections), plan)
        }
        _ => Err(format!("no such load: {kind}")),
    }
}

/// How many streams each connection of HTTP/2 has.
fn streams(options: &Options) -> Result<usize, String> {
    options.count("streams").map(|count| count.clamp(1, limits::STREAMS_MAX))
}

/// A target whose length fits a byte of HPACK.
fn short(target: &str) -> Result<String, String> {
    if target.len() > 100 { Err("the target is too long".to_owned()) } else { Ok(target.to_owned()) }
}

fn exchanges(options: &Options, connections: usize) -> Result<Exchanges, String> {
    let pace = match (options.has("once"), options.has("rate")) {
        (true, _) => Pace::Once,
        (false, true) => Pace::Rate(options.number("rate")?.max(1.0)),
        (false, false) => Pace::Loop,
    };
    let fields = if options.has("close") { "Connection: close\r\n" } else { "" };
    let asked = match options.has("upload") {
        true => request("POST", options.target(), fields, options.count("upload")?),
        false => request("GET", options.target(), fields, 0),
    };
    let company = |name, slow| {
        options.0.get(name).map(|target| Company { request: request("GET", target, "", 0), slow })
    };
    let company = company("slow", true).or_else(|| company("beside", false));
    let expect = if options.has("expired") { Expect::Expired } else { Expect::Success };
    Ok(Exchanges::new(asked, company, pace, expect, connections))
}

fn request(method: &str, target: &str, fields: &str, body_bytes: usize) -> Rc<[u8]> {
    let length = if body_bytes > 0 { format!("Content-Length: {body_bytes}\r\n") } else { String::new() };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: bench.test\r\n{fields}{length}\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + body_bytes.min(limits::BODY_BYTES_MAX), b'u');
    request.into()
}
