//! The process around the workers.
