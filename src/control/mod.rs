//! The process around the workers: start, signals, name resolution, certificates, the log writer, admin listener,
//! drain.

pub mod admin;
pub mod certificates;
pub mod dns;
pub mod log_writer;
pub mod reload;
pub mod server;
pub mod stamp;
pub mod start_error;
pub mod tls;
pub mod unchecked;
