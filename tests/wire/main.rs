//! Wire tests: the real binary between scripted clients and scripted origins. One module per theme; the name of
//! a test is the case.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod admin;
mod admin_metrics;
mod admin_orders;
mod config_file;
mod deadlines;
mod errors;
mod exchange;
mod faults;
mod framing;
mod h2_attacks;
mod h2_conformance;
mod handover;
mod harness;
mod http2;
mod http2_links;
mod http2_origin;
mod lifecycle;
mod log;
mod matrix;
mod probes;
mod proxy_protocol;
mod selftest;
mod slow;
mod splice;
mod steering;
mod streaming;
mod strictness;
mod systemd;
mod tls;
mod tls_control;
mod tls_origin;
mod upgrade;
mod upstream;
mod workers;
