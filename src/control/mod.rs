//! The process around the workers: start, signals, name resolution, the log writer, drain.

pub mod dns;
pub mod log_writer;
pub mod server;
pub mod start_error;
