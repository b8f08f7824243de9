//! The process around the workers: start, signals, name resolution, certificates, the log writer, admin listener,
//! drain, and the handover to the next process.

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
