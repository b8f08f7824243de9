//! Counts and statuses.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;

use thiserror::Error;

use crate::limits;

/// Most workers: more threads than this on one host is a slip of the finger.
const WORKERS_MAX: usize = 1024;
/// Most client connections: the kernel counts descriptors in 31 bits, and a connection may need two.
const CONNECTIONS_MAX: usize = 1_000_000_000;
/// Most idle upstream connections per endpoint and worker.
const IDLE_MAX: usize = 1_000_000;

/// A number outside what its flag takes, or no number at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "expected a whole number from {min} to {max}{}, such as {example}",
    if *.auto { ", or `auto`" } else { "" }
)]
pub struct NumberError {
    min: usize,
    max: usize,
    auto: bool,
    example: usize,
}

/// A count, or one that the server derives from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auto(pub Option<NonZeroUsize>);

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => count.fmt(f),
            None => f.write_str("auto"),
        }
    }
}

/// A count, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<NonZeroU32>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => count.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A value of `--max-connections-per-client`.
///
/// # Errors
/// Neither `off` nor a count in range.
pub fn limit(text: &str) -> Result<Limit, NumberError> {
    if text == "off" {
        return Ok(Limit(None));
    }
    let count = count(text, 0, CONNECTIONS_MAX, 100)?;
    Ok(Limit(u32::try_from(count).ok().and_then(NonZeroU32::new)))
}

/// A value of `--workers`.
///
/// # Errors
/// Neither `auto` nor a count in range.
pub fn workers(text: &str) -> Result<Auto, NumberError> {
    auto(text, WORKERS_MAX, 4)
}

/// A value of `--max-connections`.
///
/// # Errors
/// Neither `auto` nor a count in range.
pub fn connections(text: &str) -> Result<Auto, NumberError> {
    auto(text, CONNECTIONS_MAX, 10_000)
}

/// A value of `--max-fields`.
///
/// # Errors
/// Not a count up to [`limits::FIELDS_CEILING`].
pub fn fields(text: &str) -> Result<usize, NumberError> {
    within(
        text,
        NumberError { min: 1, max: limits::FIELDS_CEILING, auto: false, example: limits::FIELDS_MAX },
    )
}

/// A value of `--upstream-idle-max`.
///
/// # Errors
/// Not a count in range.
pub fn idle(text: &str) -> Result<usize, NumberError> {
    within(text, NumberError { min: 0, max: IDLE_MAX, auto: false, example: limits::UPSTREAM_IDLE_MAX })
}

/// A value of `--timeout-status`.
///
/// # Errors
/// Not a status of class 5xx.
pub fn status(text: &str) -> Result<u16, NumberError> {
    let refused = NumberError { min: 500, max: 599, auto: false, example: 503 };
    within(text, refused).and_then(|status| u16::try_from(status).map_err(|_| refused))
}

/// A count from `min` to `max`.
///
/// # Errors
/// Not a count in range; `example` is one that is.
pub fn count(text: &str, min: usize, max: usize, example: usize) -> Result<usize, NumberError> {
    within(text, NumberError { min, max, auto: false, example })
}

fn auto(text: &str, max: usize, example: usize) -> Result<Auto, NumberError> {
    if text == "auto" {
        return Ok(Auto(None));
    }
    let refused = NumberError { min: 1, max, auto: true, example };
    let count = within(text, refused)?;
    NonZeroUsize::new(count).map(|count| Auto(Some(count))).ok_or(refused)
}

fn within(text: &str, refused: NumberError) -> Result<usize, NumberError> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    match usize::from_str(text) {
        Ok(number) if digits_only && (refused.min..=refused.max).contains(&number) => Ok(number),
        _ => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 12] =
        ["", " ", "-1", "+1", "1.0", "1e3", "0x1", "１", "one", "AUTO", "18446744073709551616", "1\0"];

    #[test]
    fn hostile_numbers_are_refused_by_every_parser() {
        for text in HOSTILE {
            assert!(workers(text).is_err(), "{text}");
            assert!(connections(text).is_err(), "{text}");
            assert!(fields(text).is_err(), "{text}");
            assert!(idle(text).is_err(), "{text}");
            assert!(status(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_closed() {
        assert_eq!(workers("auto"), Ok(Auto(None)));
        assert_eq!(workers("1"), Ok(Auto(NonZeroUsize::new(1))));
        assert_eq!(workers("1024"), Ok(Auto(NonZeroUsize::new(1024))));
        assert!(workers("0").is_err() && workers("1025").is_err());
        assert_eq!(fields("256"), Ok(256));
        assert!(fields("257").is_err() && fields("0").is_err());
        assert_eq!(idle("0"), Ok(0));
        assert_eq!((status("500"), status("599")), (Ok(500), Ok(599)));
        assert!(status("499").is_err() && status("600").is_err() && status("66036").is_err());
        assert!(connections("0").is_err() && connections("1000000001").is_err());
    }

    #[test]
    fn the_error_says_what_is_accepted() {
        let message = workers("0").unwrap_err().to_string();
        assert_eq!(message, "expected a whole number from 1 to 1024, or `auto`, such as 4");
        let message = status("200").unwrap_err().to_string();
        assert_eq!(message, "expected a whole number from 500 to 599, such as 503");
    }
}
