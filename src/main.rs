//! `ringress`: argv to configuration to server.

fn main() {}
