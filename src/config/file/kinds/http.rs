//! Hosts, paths, fields and names.

use super::{said, text_of};
use crate::config::file::scalar::{Form, Raw, Scalar};
use crate::config::group::HashKey;
use crate::config::route::{Host, LimitKey};
use crate::config::value::{field, host, path};

impl Scalar for HashKey {
    const KIND: &'static str = "key";
    const EXPECTED: &'static str = "\"client\", \"header:NAME\" or \"cookie:NAME\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        match (raw.text()?, raw.text()?.split_once(':')) {
            ("client", _) => Ok(HashKey::Client),
            (_, Some(("header", name))) => field::name(name).map(HashKey::Header).map_err(said),
            (_, Some(("cookie", name))) => field::cookie(name).map(HashKey::Cookie).map_err(said),
            _ => Err(format!("expected {}, such as \"cookie:session\"", Self::EXPECTED)),
        }
    }

    fn write(&self) -> Raw {
        match self {
            HashKey::Client => text_of("client"),
            HashKey::Header(name) => text_of(format!("header:{name}")),
            HashKey::Cookie(name) => text_of(format!("cookie:{name}")),
        }
    }
}

impl Scalar for LimitKey {
    const KIND: &'static str = "key";
    const EXPECTED: &'static str = "\"client\", \"header:NAME\" or \"route\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        match (raw.text()?, raw.text()?.split_once(':')) {
            ("client", _) => Ok(LimitKey::Client),
            ("route", _) => Ok(LimitKey::Route),
            (_, Some(("header", name))) => field::name(name).map(LimitKey::Header).map_err(said),
            _ => Err(format!("expected {}, such as \"header:x-api-key\"", Self::EXPECTED)),
        }
    }

    fn write(&self) -> Raw {
        match self {
            LimitKey::Client => text_of("client"),
            LimitKey::Route => text_of("route"),
            LimitKey::Header(name) => text_of(format!("header:{name}")),
        }
    }
}

impl Scalar for Host {
    const KIND: &'static str = "host";
    const EXPECTED: &'static str = "a host such as \"example.com\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        host::parse(raw.text()?).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(self)
    }
}

/// Host and port that a redirect leads to.
#[derive(Clone, Debug)]
pub struct Authority(pub Box<str>);

impl Scalar for Authority {
    const KIND: &'static str = "host, with a port if need be";
    const EXPECTED: &'static str = "a host such as \"www.example.com\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        host::authority(raw.text()?).map(Authority).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// A path.
#[derive(Clone, Debug)]
pub struct UrlPath(pub Box<str>);

impl Scalar for UrlPath {
    const KIND: &'static str = "path";
    const EXPECTED: &'static str = "a path such as \"/api\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?;
        path::check(text).map(|()| UrlPath(text.into())).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// A path, and a query if there is one: what a probe asks for, or where a redirect leads.
#[derive(Clone, Debug)]
pub struct Reference(pub Box<str>);

impl Scalar for Reference {
    const KIND: &'static str = "path or URI";
    const EXPECTED: &'static str = "a path such as \"/healthz\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?;
        // RFC 3986 has neither white space nor anything but ASCII in a reference.
        let graphic =
            text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['"', '<', '>', '\\']);
        if graphic && !text.is_empty() {
            Ok(Reference(text.into()))
        } else {
            Err("a URI has no white space and is ASCII: write other characters with percent signs, such as %20"
                .to_owned())
        }
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// A method.
#[derive(Clone, Debug)]
pub struct Method(pub Box<str>);

impl Scalar for Method {
    const KIND: &'static str = "method";
    const EXPECTED: &'static str = "a method such as \"GET\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        field::method(raw.text()?).map(Method).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// The name of a field, in lower case.
#[derive(Clone, Debug)]
pub struct FieldName(pub Box<str>);

impl Scalar for FieldName {
    const KIND: &'static str = "field name";
    const EXPECTED: &'static str = "the name of a field such as \"x-tenant\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        field::name(raw.text()?).map(FieldName).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// The value of a field.
#[derive(Clone, Debug)]
pub struct FieldValue(pub Box<str>);

impl Scalar for FieldValue {
    const KIND: &'static str = "field value";
    const EXPECTED: &'static str = "the value of a field, in quotes";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        field::value(raw.text()?).map(FieldValue).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// What a field must be: some value, or anything.
#[derive(Clone, Debug)]
pub struct FieldCondition(pub Option<Box<str>>);

impl Scalar for FieldCondition {
    const KIND: &'static str = "field value or true";
    const EXPECTED: &'static str = "the value of a field in quotes, or `true` for any value";
    const FORM: Form = Form::TextOrTrue;

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Switch(true) => Ok(FieldCondition(None)),
            Raw::Switch(false) => Err("routes match fields that are there: leave it out".to_owned()),
            Raw::Text(_) | Raw::Number(_) => {
                field::value(raw.text()?).map(|value| FieldCondition(Some(value))).map_err(said)
            }
        }
    }

    fn write(&self) -> Raw {
        self.0.as_ref().map_or(Raw::Switch(true), text_of)
    }
}

/// The name of a cookie.
#[derive(Clone, Debug)]
pub struct CookieName(pub Box<str>);

impl Scalar for CookieName {
    const KIND: &'static str = "cookie name";
    const EXPECTED: &'static str = "the name of a cookie such as \"session\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        field::cookie(raw.text()?).map(CookieName).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// Longest name of a group or a route in bytes: it is a label of metrics and a word of each line of the log.
const NAME_BYTES_MAX: usize = 200;

/// The name of a group or a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub Box<str>);

impl Scalar for Name {
    const KIND: &'static str = "name";
    const EXPECTED: &'static str = "a name such as \"app\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = raw.text()?;
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['"', '\\']);
        if graphic && (1..=NAME_BYTES_MAX).contains(&text.len()) {
            Ok(Name(text.into()))
        } else {
            Err("a name is up to 200 characters of ASCII without white space, quotes and backslashes"
                .to_owned())
        }
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}
