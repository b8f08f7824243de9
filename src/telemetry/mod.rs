//! What the program says about its work, as data: access-log records to bytes, and the metric table.

pub mod access_log;
pub mod date;
pub mod metrics;
