//! Changes to fields, and the fields that are not an operator's to change.

use std::collections::HashSet;

use super::{Fault, Span};
use crate::config::file::document::{self, OneOrMore};
use crate::config::file::kinds::FieldName;
use crate::config::file::scalar::{Table, Value};
use crate::config::route::FieldEdits;

/// Whose fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A request's.
    Request,
    /// A response's.
    Response,
}

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Remove,
    Set,
    Add,
}

/// # Errors
/// A field that is not the operator's, or one twice.
pub fn resolve(written: Option<&Table<document::FieldEdits>>, side: Side) -> Result<FieldEdits, Fault> {
    let Some(Table { it: written, .. }) = written else { return Ok(FieldEdits::default()) };
    let mut edits = FieldEdits::default();
    let mut seen = HashSet::new();
    for name in written.remove.iter().flatten() {
        check(name, Edit::Remove, side, seen.insert((Edit::Remove as u8, name.it.0.clone())))?;
        edits.remove.push(name.it.0.clone());
    }
    for (name, value) in written.set.iter().flat_map(|set| &set.0) {
        check(name, Edit::Set, side, seen.insert((Edit::Set as u8, name.it.0.clone())))?;
        edits.set.push((name.it.0.clone(), value.it.0.clone()));
    }
    for (name, values) in written.add.iter().flat_map(|add| &add.0) {
        check(name, Edit::Add, side, seen.insert((Edit::Add as u8, name.it.0.clone())))?;
        let values = match values {
            OneOrMore::One(value) => std::slice::from_ref(value),
            OneOrMore::More(values) => values.as_slice(),
        };
        edits.add.extend(values.iter().map(|value| (name.it.0.clone(), value.it.0.clone())));
    }
    Ok(edits)
}

fn check(name: &Value<FieldName>, edit: Edit, side: Side, new: bool) -> Result<(), Fault> {
    let (text, span): (&str, &Span) = (&name.it.0, &name.span);
    if !new {
        return Err(Fault::at(span, format!("`{text}` is here twice (names of fields have no case)"))
            .help("keep one of them; `add` takes a list of values"));
    }
    match refusal(text, edit, side) {
        Some(why) => Err(Fault::at(span, format!("`{text}` cannot be changed here: {why}"))),
        None => Ok(()),
    }
}

/// Why this field is not the operator's to change.
fn refusal(name: &str, edit: Edit, side: Side) -> Option<&'static str> {
    match name {
        "content-length" | "transfer-encoding" => {
            Some("it says where the message ends, and a wrong end lets one message leak into the next")
        }
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "upgrade" => {
            Some("it is about one connection, and each side has its own")
        }
        "host" if side == Side::Request && edit != Edit::Set => {
            Some("a request has exactly one; `set` replaces it")
        }
        _ => None,
    }
}
