//! Ringress: an HTTP ingress for Linux, one pinned io_uring thread per core, streaming by construction.
//!
//! Every response streams. Deadlines are timers on *phases and progress*, never a buffer: there is no
//! place in this crate where a response waits to be complete before the client sees its first byte.
//!
//! # The rooms
//! | room | job | does IO |
//! | --- | --- | --- |
//! | [`flags`] | command line: the one source of `--help`, man page and completions; laid over the file | no |
//! | [`config`] | an immutable [`config::Config`], valid by construction; the file it is read from, and back | no |
//! | [`limits`] | every bound, unit in its name | no |
//! | [`time`] | timestamps, phases, the timeout table, the timer wheel | no |
//! | [`h1`] | HTTP/1.1: heads, fields, framing, chunked coding, persistence | no |
//! | [`proxy`] | policy: routing, limits, balancing, health, the exchange, forwarding, retries, error responses | no |
//! | [`translate`] | HTTP/2 messages as HTTP/1.1 bytes, and back | no |
//! | [`telemetry`] | access-log records to bytes, the metric table, metrics as text | no |
//! | [`net`] | the data path: workers, what they serve, transports, exchanges, tunnels | yes |
//! | [`control`] | the process: start, signals, reload, handover, probes, DNS, log writer, admin listener | yes |
//! | [`demo`] | the built-in origin of `ringress --demo` | yes |
//!
//! Arrows point one way: `main -> control -> net -> proxy -> h1, time, telemetry, config, limits`; `demo` is a
//! program of its own that shares the pure rooms. `tests/layout.rs` holds the tree to it.

pub mod config;
pub mod control;
pub mod demo;
pub mod flags;
pub mod h1;
pub mod limits;
pub mod net;
pub mod proxy;
pub mod telemetry;
pub mod time;
pub mod translate;
