//! The process around the workers.

pub mod log_writer;
