//! Single values of the file: each remembers where it stands, so that whatever refuses it later can point at it.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use toml::Spanned;

/// A value as TOML has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Switch(bool),
}

impl Raw {
    /// The words of a value that flags take as text; a number is its digits.
    ///
    /// # Errors
    /// A switch has none.
    pub fn words(&self) -> Result<Cow<'_, str>, String> {
        match self {
            Raw::Text(text) => Ok(Cow::Borrowed(text)),
            Raw::Number(number) => Ok(Cow::Owned(number.to_string())),
            Raw::Switch(on) => Err(format!("found `{on}`")),
        }
    }

    /// The text in quotes.
    ///
    /// # Errors
    /// A number or a switch.
    pub fn text(&self) -> Result<&str, String> {
        match self {
            Raw::Text(text) => Ok(text),
            Raw::Number(number) => Err(format!("found the number {number}; put it in quotes")),
            Raw::Switch(on) => Err(format!("found `{on}`")),
        }
    }
}

/// Which TOML types a value may have, for the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A string or a number.
    Either,
    /// `true` or `false`.
    Switch,
    /// A string, or `true`.
    TextOrTrue,
    /// One of these strings.
    Words(&'static [&'static str]),
}

/// A type that one value of the file is read into.
pub trait Scalar: Sized {
    /// The name of its kind in the reference: `duration`.
    const KIND: &'static str;
    /// What is expected, for errors and editors: `a duration such as "10s"`.
    const EXPECTED: &'static str;
    /// Its types in TOML.
    const FORM: Form;

    /// Reads it.
    ///
    /// # Errors
    /// Says what is wrong and what to write.
    fn read(raw: &Raw) -> Result<Self, String>;

    /// Writes it, so that it reads back the same.
    fn write(&self) -> Raw;
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Value<T> {
    /// The value.
    pub it: T,
    /// Its bytes in the file; `None` if it is from elsewhere.
    pub span: Option<Range<usize>>,
}

impl<T> Value<T> {
    /// A value that is in no file.
    #[must_use]
    pub fn new(it: T) -> Value<T> {
        Value { it, span: None }
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value: Spanned<Checked<T>> = Spanned::deserialize(from)?;
        let span = value.span();
        Ok(Value { it: value.into_inner().0, span: Some(span) })
    }
}

/// A value that is checked while it is visited: the reader of TOML gives what fails there its place, even in a list.
struct Checked<T>(T);

impl<'de, T: Scalar> Deserialize<'de> for Checked<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ScalarVisitor(PhantomData::<T>)).map(Checked)
    }
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Scalar> ScalarVisitor<T> {
    fn check<E: de::Error>(raw: &Raw) -> Result<T, E> {
        T::read(raw).map_err(|error| E::custom(expectation::<T>(&error)))
    }
}

/// `found ..` is only half of a sentence.
fn expectation<T: Scalar>(error: &str) -> String {
    if error.starts_with("found ") { format!("expected {}, {error}", T::EXPECTED) } else { error.to_owned() }
}

impl<T: Scalar> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        Self::check(&Raw::Text(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        Self::check(&Raw::Number(number))
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<T, E> {
        Self::check(&Raw::Switch(on))
    }
}

impl<T: Scalar> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.it.write() {
            Raw::Text(text) => to.serialize_str(&text),
            Raw::Number(number) => to.serialize_i64(number),
            Raw::Switch(on) => to.serialize_bool(on),
        }
    }
}

impl<T: Scalar> JsonSchema for Value<T> {
    fn schema_name() -> Cow<'static, str> {
        T::KIND.into()
    }

    fn schema_id() -> Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kind = T::KIND;
        match T::FORM {
            Form::Text => json_schema!({ "type": "string", "title": kind }),
            Form::Number => json_schema!({ "type": "integer", "title": kind }),
            Form::Either => json_schema!({ "type": ["string", "integer"], "title": kind }),
            Form::Switch => json_schema!({ "type": "boolean", "title": kind }),
            Form::TextOrTrue => {
                json_schema!({ "anyOf": [{ "type": "string" }, { "const": true }], "title": kind })
            }
            Form::Words(words) => json_schema!({ "enum": words, "title": kind }),
        }
    }
}

/// A table and where it begins.
#[derive(Clone, Debug, Default)]
pub struct Table<T> {
    /// The table.
    pub it: T,
    /// Its bytes in the file; `None` if it is from elsewhere.
    pub span: Option<Range<usize>>,
}

impl<T> Table<T> {
    /// A table that is in no file.
    #[must_use]
    pub fn new(it: T) -> Table<T> {
        Table { it, span: None }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let table: Spanned<T> = Spanned::deserialize(from)?;
        let span = table.span();
        Ok(Table { it: table.into_inner(), span: Some(span) })
    }
}

impl<T: Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.it.serialize(to)
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
