//! The process around the workers: start, signals, what is served next, health checks, the log writer, admin listener,
//! drain, and the handover to the next process.
//!
//! ```text
//!   server (start) ─▶ supervisor (main thread: signals, drain) ─▶ watchdog
//!     │                  ├─▶ reload ─▶ certificates, tls, dns ─▶ the next site    (dns by itself, too)
//!     │                  └─▶ handover ─▶ the next process                         (upgrade gives the order)
//!     └─▶ sockets, systemd (whose they are), probes, admin, log_writer, pid_file
//! ```

pub mod admin;
pub mod certificates;
pub mod dns;
pub mod handover;
pub mod log_writer;
pub mod pid_file;
pub mod probes;
pub mod reload;
pub mod server;
pub mod sockets;
pub mod stamp;
pub mod start_error;
pub mod supervisor;
pub mod systemd;
pub mod tls;
pub mod unchecked;
pub mod upgrade;
pub mod watchdog;
