//! Addresses, files, logs and plain text.

use std::path::PathBuf;

use ipnet::IpNet;

use super::{said, text_of};
use crate::config::file::scalar::{Form, Raw, Scalar};
use crate::config::value::listen::Listen;
use crate::config::value::{log, network, upstream};
use crate::config::{LogTarget, Upstream};

impl Scalar for Listen {
    const KIND: &'static str = "address";
    const EXPECTED: &'static str = "an address such as \"0.0.0.0:8080\" or \":443\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        raw.words()?.parse().map_err(said)
    }

    fn write(&self) -> Raw {
        self.0.first().map_or_else(|| text_of(""), text_of)
    }
}

impl Scalar for IpNet {
    const KIND: &'static str = "network";
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        network::parse(raw.text()?).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(self)
    }
}

impl Scalar for Upstream {
    const KIND: &'static str = "upstream";
    const EXPECTED: &'static str = "an origin such as \"127.0.0.1:3000\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        upstream::parse(raw.text()?).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(self)
    }
}

impl Scalar for PathBuf {
    const KIND: &'static str = "file";
    const EXPECTED: &'static str = "the path of a file such as \"/etc/ringress/chain.pem\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw.text()? {
            text if text.is_empty() || text.contains('\0') => Err(format!("expected {}", Self::EXPECTED)),
            text => Ok(PathBuf::from(text)),
        }
    }

    fn write(&self) -> Raw {
        text_of(self.display())
    }
}

impl Scalar for LogTarget {
    const KIND: &'static str = "path, - or off";
    const EXPECTED: &'static str = "a path, \"-\" for standard output, or \"off\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        log::target(raw.text()?).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(self)
    }
}

/// A level or a filter.
#[derive(Clone, Debug)]
pub struct LogLevel(pub String);

impl Scalar for LogLevel {
    const KIND: &'static str = "level or filter";
    const EXPECTED: &'static str = "a level such as \"info\"";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        log::level(raw.text()?).map(LogLevel).map_err(said)
    }

    fn write(&self) -> Raw {
        text_of(&self.0)
    }
}

/// Any text.
impl Scalar for String {
    const KIND: &'static str = "text";
    const EXPECTED: &'static str = "a text in quotes";
    const FORM: Form = Form::Text;

    fn read(raw: &Raw) -> Result<Self, String> {
        raw.text().map(str::to_owned)
    }

    fn write(&self) -> Raw {
        text_of(self)
    }
}
