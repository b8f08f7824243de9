//! The data path: the only IO a request meets.

pub mod log_sink;
