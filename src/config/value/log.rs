//! Targets of the access log; levels and filters of the program's own log.

use std::path::PathBuf;

use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::config::LogTarget;

/// Words of `--log-level` that need no filter.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Why a value of a log flag was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// Not a path.
    #[error("expected a path, `-` for standard output, or `off`, such as /var/log/ringress/access.log")]
    Path,
    /// A path that reads like a flag.
    #[error("a path that begins with `-` is written with its directory, such as ./-access.log")]
    Hyphen,
    /// Neither a level nor a filter.
    #[error(
        "expected error, warn, info, debug, trace or off, or a filter of targets, such as \
         info,ringress::control=debug"
    )]
    Level,
}

/// Reads `--access-log`.
///
/// # Errors
/// Not a path.
pub fn target(text: &str) -> Result<LogTarget, LogError> {
    match text {
        "off" => Ok(LogTarget::Off),
        "-" => Ok(LogTarget::Stdout),
        _ if text.starts_with('-') => Err(LogError::Hyphen),
        _ if text.trim().is_empty() || text.ends_with('/') || text.chars().any(char::is_control) => {
            Err(LogError::Path)
        }
        _ => Ok(LogTarget::File(PathBuf::from(text))),
    }
}

/// Reads `--log-level`. A word alone has to be a level: the filter language takes any other for the name of a
/// target, and `inof` would switch the log off without a word.
///
/// # Errors
/// Neither a level nor a filter.
pub fn level(text: &str) -> Result<String, LogError> {
    let text = text.trim();
    let parts_are_whole = text.split(',').all(|part| match part.contains(['=', '[']) {
        true => !part.ends_with('='),
        false => is_level(part),
    });
    let parsed = EnvFilter::builder().parse(text);
    if parts_are_whole && parsed.is_ok() && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(LogError::Level)
    }
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_are_read() {
        assert_eq!(target("off"), Ok(LogTarget::Off));
        assert_eq!(target("-"), Ok(LogTarget::Stdout));
        assert_eq!(target("./off"), Ok(LogTarget::File("./off".into())));
        assert_eq!(target("/tmp/ä b"), Ok(LogTarget::File("/tmp/ä b".into())));
        assert_eq!(target("-x"), Err(LogError::Hyphen));
        for text in ["", " ", "/var/log/", "a\nb", "a\0b"] {
            assert_eq!(target(text), Err(LogError::Path), "{text:?}");
        }
    }

    #[test]
    fn levels_and_filters_are_read() {
        for text in ["error", "warn", "info", "debug", "trace", "off", "INFO", "info,ringress::net=debug"] {
            assert_eq!(level(text).as_deref(), Ok(text));
        }
        for text in ["", "inof", "info,inof", "ringress=loud", "5x", "ringress=", "info\n,a=debug", "größe"]
        {
            assert_eq!(level(text), Err(LogError::Level), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_verdict(text in "\\PC*") {
            let _ = (target(&text), level(&text));
        }
    }
}
