//! Sizes in bytes: `32768`, `64KiB`, `1MiB` (powers of 1024), `10MB` (powers of 1000).
//!
//! A bare `k` or `m` is refused: nginx means 1024 by it, curl and dd do not agree.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::limits;

/// Smallest `--max-head-bytes`: below it browsers do not get through.
const HEAD_BYTES_MIN: u64 = 1024;
/// Smallest `--max-target-bytes`.
const TARGET_BYTES_MIN: u64 = 64;

/// Most bytes of a request body kept for another attempt: every exchange may hold as many.
const KEPT_BODY_BYTES_MAX: usize = 1 << 20;

/// Units by the name that is printed; the first that divides a size wins.
const BINARY: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
/// Units that are read only.
const DECIMAL: [(&str, u64); 5] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000), ("B", 1)];

/// Why a size was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not a whole number with a known unit.
    #[error("expected bytes as a whole number with an optional unit, such as 32768, 64KiB, 1MiB or 10MB")]
    Malformed,
    /// A unit that means 1000 to some and 1024 to others.
    #[error("ambiguous unit: write KiB, MiB or GiB (powers of 1024) or KB, MB or GB (powers of 1000)")]
    Ambiguous,
    /// Does not fit 64 bits.
    #[error("more than 64 bits hold; write a smaller size such as 10GiB")]
    TooLarge,
    /// Outside what the flag takes.
    #[error("expected {} to {}, such as {}", Bytes(*.min), Bytes(*.max), Bytes(*.example))]
    OutOfRange {
        /// Least bytes.
        min: u64,
        /// Most bytes.
        max: u64,
        /// A value that is fine.
        example: u64,
    },
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(SizeError::Malformed)?;
        if number.is_empty() {
            return Err(SizeError::Malformed);
        }
        let unit_bytes = unit_bytes(unit.trim_start())?;
        let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
        number.checked_mul(unit_bytes).map(Bytes).ok_or(SizeError::TooLarge)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BINARY.into_iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => self.0.fmt(f),
        }
    }
}

/// A size, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BytesLimit(pub Option<u64>);

impl FromStr for BytesLimit {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text.trim() == "off" {
            return Ok(BytesLimit(None));
        }
        text.parse().map(|Bytes(bytes)| BytesLimit(Some(bytes).filter(|bytes| *bytes > 0)))
    }
}

impl fmt::Display for BytesLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => Bytes(bytes).fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A size of `--max-head-bytes`: a head has to fit the worker's one receive buffer.
///
/// # Errors
/// Malformed, or outside 1 KiB to [`limits::SCRATCH_BYTES`].
pub fn head(text: &str) -> Result<usize, SizeError> {
    within(text, HEAD_BYTES_MIN, limits::SCRATCH_BYTES, limits::HEAD_BYTES_MAX)
}

/// A size of `--max-target-bytes`; that it fits the head is checked once both are known.
///
/// # Errors
/// Malformed, or outside 64 bytes to [`limits::SCRATCH_BYTES`].
pub fn target(text: &str) -> Result<usize, SizeError> {
    within(text, TARGET_BYTES_MIN, limits::SCRATCH_BYTES, limits::TARGET_BYTES_MAX)
}

/// Bytes of a request body that is kept so that it can be sent again.
///
/// # Errors
/// Malformed, or more than 1 MiB.
pub fn kept_body(text: &str) -> Result<usize, SizeError> {
    within(text, 0, KEPT_BODY_BYTES_MAX, limits::KEPT_BODY_BYTES)
}

fn within(text: &str, min: u64, max: usize, example: usize) -> Result<usize, SizeError> {
    let Bytes(bytes) = text.parse()?;
    let out_of_range = SizeError::OutOfRange { min, max: max as u64, example: example as u64 };
    match usize::try_from(bytes) {
        Ok(size) if bytes >= min && size <= max => Ok(size),
        _ => Err(out_of_range),
    }
}

/// Bytes in one `unit`.
fn unit_bytes(unit: &str) -> Result<u64, SizeError> {
    if unit.is_empty() {
        return Ok(1);
    }
    let known = BINARY.into_iter().chain(DECIMAL).find(|(name, _)| name.eq_ignore_ascii_case(unit));
    match known {
        Some((_, bytes)) => Ok(bytes),
        None if ["k", "m", "g", "t"].iter().any(|name| name.eq_ignore_ascii_case(unit)) => {
            Err(SizeError::Ambiguous)
        }
        None => Err(SizeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_operators_write_is_read() {
        let cases = [
            ("32768", 32_768),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("1MiB", 1 << 20),
            ("10MB", 10_000_000),
            ("7B", 7),
            ("2GiB", 2 << 30),
            ("0", 0),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_nobody_means_is_refused() {
        use SizeError::{Ambiguous, Malformed, TooLarge};
        let cases = [
            ("", Malformed),
            ("KiB", Malformed),
            ("-1", Malformed),
            ("+1", Malformed),
            ("1.5MiB", Malformed),
            ("1_000", Malformed),
            ("0x10", Malformed),
            ("１０", Malformed),
            ("10€", Malformed),
            ("10MiB ,", Malformed),
            ("off", Malformed),
            ("10m", Ambiguous),
            ("10K", Ambiguous),
            ("18446744073709551616", TooLarge),
            ("18446744073709551615KiB", TooLarge),
            ("99999999999999999999999999TB", TooLarge),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Bytes>(), Err(error), "{text}");
        }
    }

    #[test]
    fn ranges_are_closed() {
        assert_eq!(head("1KiB"), Ok(1024));
        assert_eq!(head("80KiB"), Ok(limits::SCRATCH_BYTES));
        assert!(head("1023").is_err());
        let error = head("81921").unwrap_err();
        assert_eq!(error.to_string(), "expected 1KiB to 80KiB, such as 32KiB");
        assert!(target("63").is_err());
        assert_eq!(target("64"), Ok(64));
    }

    #[test]
    fn no_limit_has_two_names() {
        assert_eq!("off".parse(), Ok(BytesLimit(None)));
        assert_eq!("0".parse(), Ok(BytesLimit(None)));
        assert_eq!("1".parse(), Ok(BytesLimit(Some(1))));
        assert_eq!(BytesLimit(None).to_string(), "off");
    }

    proptest! {
        #[test]
        fn the_printed_form_is_exact(bytes: u64) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
        }

        #[test]
        fn any_text_gives_a_verdict(text in "\\PC*") {
            let _ = text.parse::<BytesLimit>();
        }
    }
}
