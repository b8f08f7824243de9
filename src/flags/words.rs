//! Flags that take one word of a few.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::config::{LogFormat, ProxyVersion};

/// Reads `on` and `off`, and the other words that people and container tools use for them.
pub fn switch() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new([
        PossibleValue::new("on").aliases(["true", "yes", "1"]),
        PossibleValue::new("off").aliases(["false", "no", "0"]),
    ])
    .map(|word| ["on", "true", "yes", "1"].contains(&word.as_str()))
}

/// Reads `--log-format`.
pub fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    let formats = [LogFormat::Logfmt, LogFormat::Json];
    PossibleValuesParser::new(formats.map(LogFormat::name))
        .map(|word| if word == LogFormat::Json.name() { LogFormat::Json } else { LogFormat::Logfmt })
}

/// A value of `--send-proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendProxy(pub Option<ProxyVersion>);

impl SendProxy {
    /// The word for it.
    const fn name(self) -> &'static str {
        match self.0 {
            Some(version) => version.name(),
            None => "off",
        }
    }
}

/// Reads `--send-proxy`.
pub fn send_proxy() -> impl TypedValueParser<Value = SendProxy> {
    let words =
        ProxyVersion::ALL.map(Some).into_iter().chain([None]).map(|version| SendProxy(version).name());
    PossibleValuesParser::new(words)
        .map(|word| SendProxy(ProxyVersion::ALL.into_iter().find(|version| version.name() == word)))
}
