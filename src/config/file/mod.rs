//! The configuration file: TOML text to [`Config`], and back.
//!
//! [`read`] makes a [`Document`] of the text, whose values are checked one by one. What is known from elsewhere (flags,
//! the environment) is laid over it, and [`resolve`] makes a [`Config`] of it, which is valid as a whole. [`effective`] is
//! the way back. What is refused on the way is a [`Fault`], which points into the text.
//!
//! ```text
//! text -> read -> Document (+ flags) -> resolve -> Config -> effective -> text
//! ```

pub mod document;
mod effective;
mod fault;
pub mod kinds;
mod reference;
mod resolve;
pub mod scalar;

#[cfg(test)]
mod tests;

pub use self::document::Document;
pub use self::effective::effective;
pub use self::fault::Fault;
pub use self::reference::{reference, schema};
pub use self::resolve::resolve;
#[cfg(doc)]
use super::Config;

/// Reads the text of a configuration file.
///
/// # Errors
/// It is not TOML, or has a key or a value that no configuration has.
pub fn read(text: &str) -> Result<Document, Fault> {
    toml::from_str(text).map_err(|error| Fault::from_toml(&error))
}
