//! The metric table.
