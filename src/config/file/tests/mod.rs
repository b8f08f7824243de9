//! Goal: what is wrong with a file is said at its place and with advice, what is right is read as it is meant, and what is
//! printed reads back the same.
//!
//! Method: a table of bad files; files read and compared; configurations at random, printed and read; any text at all.

mod bad;
mod good;
mod pages;
mod round;

use super::{Document, Fault, effective, read, resolve};
use crate::config::Config;

/// What `text` amounts to.
fn config(text: &str) -> Result<Config, Fault> {
    read(text).and_then(|document: Document| resolve(&document))
}

/// What a good file amounts to.
fn good(text: &str) -> Config {
    config(text).unwrap_or_else(|fault| panic!("{}", fault.render("test.toml", text)))
}
