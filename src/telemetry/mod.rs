//! What the program says about its work, as data: access-log records to bytes, the metric table, and metrics as text.

pub mod access_log;
mod cell;
pub mod date;
pub mod errors;
pub mod exposition;
pub mod histogram;
pub mod metrics;
pub mod routes;
pub mod series;
pub mod text;
pub mod totals;
