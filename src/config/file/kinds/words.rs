//! Switches, and words of which there are a few.

use super::text_of;
use crate::config::file::scalar::{Form, Raw, Scalar};
use crate::config::{LogFormat, ProxyVersion};

/// One of a few words. The error has the form that serde gives to such errors.
fn word<T: Clone>(raw: &Raw, words: &[(&str, T)]) -> Result<T, String> {
    let text = raw.text()?;
    let known = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
    let list: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    known.ok_or_else(|| format!("unknown variant `{text}`, expected one of {}", list.join(", ")))
}

impl Scalar for bool {
    const KIND: &'static str = "switch";
    const EXPECTED: &'static str = "`true` or `false`";
    const FORM: Form = Form::Switch;

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Switch(on) => Ok(*on),
            Raw::Number(_) => Err("found a number".to_owned()),
            Raw::Text(text) => Err(format!("found the text \"{text}\"")),
        }
    }

    fn write(&self) -> Raw {
        Raw::Switch(*self)
    }
}

impl Scalar for LogFormat {
    const KIND: &'static str = "word";
    const EXPECTED: &'static str = "\"logfmt\" or \"json\"";
    const FORM: Form = Form::Words(&["logfmt", "json"]);

    fn read(raw: &Raw) -> Result<Self, String> {
        word(raw, &[("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)])
    }

    fn write(&self) -> Raw {
        text_of(self.name())
    }
}

impl Scalar for ProxyVersion {
    const KIND: &'static str = "word";
    const EXPECTED: &'static str = "\"v1\" or \"v2\"";
    const FORM: Form = Form::Words(&["v1", "v2"]);

    fn read(raw: &Raw) -> Result<Self, String> {
        word(raw, &ProxyVersion::ALL.map(|version| (version.name(), version)))
    }

    fn write(&self) -> Raw {
        text_of(self.name())
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// They must.
    Required,
    /// They may.
    Optional,
}

impl Scalar for Requirement {
    const KIND: &'static str = "word";
    const EXPECTED: &'static str = "\"required\" or \"optional\"";
    const FORM: Form = Form::Words(&["required", "optional"]);

    fn read(raw: &Raw) -> Result<Self, String> {
        word(raw, &[("required", Requirement::Required), ("optional", Requirement::Optional)])
    }

    fn write(&self) -> Raw {
        text_of(match self {
            Requirement::Required => "required",
            Requirement::Optional => "optional",
        })
    }
}

/// How requests are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalanceWord {
    /// [`crate::config::group::Balance::LeastRequests`]
    LeastRequests,
    /// [`crate::config::group::Balance::RoundRobin`]
    RoundRobin,
    /// [`crate::config::group::Balance::Hash`]
    Hash,
}

impl Scalar for BalanceWord {
    const KIND: &'static str = "word";
    const EXPECTED: &'static str = "\"least-requests\", \"round-robin\" or \"hash\"";
    const FORM: Form = Form::Words(&["least-requests", "round-robin", "hash"]);

    fn read(raw: &Raw) -> Result<Self, String> {
        let words = [
            ("least-requests", BalanceWord::LeastRequests),
            ("round-robin", BalanceWord::RoundRobin),
            ("hash", BalanceWord::Hash),
        ];
        word(raw, &words)
    }

    fn write(&self) -> Raw {
        text_of(match self {
            BalanceWord::LeastRequests => "least-requests",
            BalanceWord::RoundRobin => "round-robin",
            BalanceWord::Hash => "hash",
        })
    }
}

/// A scheme of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebScheme(pub &'static str);

impl Scalar for WebScheme {
    const KIND: &'static str = "word";
    const EXPECTED: &'static str = "\"http\" or \"https\"";
    const FORM: Form = Form::Words(&["http", "https"]);

    fn read(raw: &Raw) -> Result<Self, String> {
        word(raw, &[("http", WebScheme("http")), ("https", WebScheme("https"))])
    }

    fn write(&self) -> Raw {
        text_of(self.0)
    }
}
