//! Durations: `250ms`, `10s`, `5m`, `1h30m`; `0` and `off` disable.
//!
//! Every duration is a whole number of milliseconds, so that the printed form is exact. Units are written
//! in lower case: `humantime` reads `5M` as five months, and an operator meant five minutes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::config::NEVER;

/// Longest duration accepted: a leap year. Whoever wants more wants `off`.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Shortest time between two resolutions of a name: shorter ones are a flood of queries.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// Why a duration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not a number with a unit.
    #[error("expected a number with a unit, such as 250ms, 10s, 5m or 1h30m (ms, s, m, h, d), or `off`")]
    Malformed,
    /// Upper-case letters.
    #[error("units are written in lower case, such as 250ms, 10s or 5m")]
    UpperCase,
    /// Microseconds and below.
    #[error("expected whole milliseconds, 1ms at least, such as 250ms; `off` disables")]
    TooFine,
    /// More than 366 days.
    #[error("longer than 366d; `off` disables")]
    TooLong,
    /// Less than a second.
    #[error("expected 1s at least, such as 30s; `off` disables")]
    TooShort,
}

/// A timeout: a duration, or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<Duration>);

impl FromStr for Timeout {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        match text.trim() {
            "0" | "off" => Ok(Timeout(None)),
            text => positive(text).map(Timeout),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(duration) => write_duration(f, duration),
            None => f.write_str("off"),
        }
    }
}

/// A period that ends at [`NEVER`] when it is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        text.parse().map(|Timeout(duration)| Period(duration.unwrap_or(NEVER)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timeout(Some(self.0).filter(|duration| *duration < NEVER)).fmt(f)
    }
}

/// A [`Period`] between two resolutions of a name.
///
/// # Errors
/// As for every duration, and when it is shorter than a second.
pub fn refresh(text: &str) -> Result<Period, DurationError> {
    let period: Period = text.parse()?;
    if period.0 < REFRESH_MIN { Err(DurationError::TooShort) } else { Ok(period) }
}

/// The duration in `text`; `None` when it is zero.
fn positive(text: &str) -> Result<Option<Duration>, DurationError> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(DurationError::UpperCase);
    }
    let duration = humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => DurationError::TooLong,
        _ => DurationError::Malformed,
    })?;
    if duration.is_zero() {
        Ok(None)
    } else if duration.subsec_nanos() % 1_000_000 != 0 {
        Err(DurationError::TooFine)
    } else if duration > DURATION_MAX {
        Err(DurationError::TooLong)
    } else {
        Ok(Some(duration))
    }
}

/// Writes `duration` in the largest unit that divides it, as people say it: `60s`, `75s`, `5m`, `1h`.
fn write_duration(f: &mut fmt::Formatter<'_>, duration: Duration) -> fmt::Result {
    let ms = duration.as_millis();
    let units = [(3_600_000, 1, "h"), (60_000, 2, "m"), (1_000, 1, "s")];
    let fits = |unit_ms: u128, count_min: u128| ms.is_multiple_of(unit_ms) && ms / unit_ms >= count_min;
    match units.into_iter().find(|(unit_ms, count_min, _)| fits(*unit_ms, *count_min)) {
        Some((unit_ms, _, name)) => write!(f, "{}{name}", ms / unit_ms),
        None => write!(f, "{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_operators_write_is_read() {
        let cases = [
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            (" 10s ", Some(10_000)),
            ("1d", Some(86_400_000)),
            ("0", None),
            ("0s", None),
            ("off", None),
        ];
        for (text, ms) in cases {
            assert_eq!(text.parse(), Ok(Timeout(ms.map(Duration::from_millis))), "{text}");
        }
    }

    #[test]
    fn what_nobody_means_is_refused() {
        use DurationError::{Malformed, TooFine, TooLong, UpperCase};
        let cases = [
            ("", Malformed),
            ("10", Malformed),
            ("-5s", Malformed),
            ("+5s", Malformed),
            ("s", Malformed),
            ("never", Malformed),
            ("1h30", Malformed),
            ("10 parsecs", Malformed),
            ("５s", Malformed),
            ("10s\0", Malformed),
            ("🕐", Malformed),
            ("5M", UpperCase),
            ("10S", UpperCase),
            ("OFF", UpperCase),
            ("1us", TooFine),
            ("1s1ns", TooFine),
            ("367d", TooLong),
            ("18446744073709551615s", TooLong),
            ("99999999999999999999999s", TooLong),
            ("18446744073709551615y", TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Timeout>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_period_that_is_off_never_ends() {
        assert_eq!("off".parse(), Ok(Period(NEVER)));
        assert_eq!(Period(NEVER).to_string(), "off");
        assert_eq!(refresh("999ms"), Err(DurationError::TooShort));
        assert_eq!(refresh("1s"), Ok(Period(REFRESH_MIN)));
        assert_eq!(refresh("0"), Ok(Period(NEVER)));
        const { assert!(NEVER.as_secs() > DURATION_MAX.as_secs()) };
    }

    #[test]
    fn the_printed_form_is_short() {
        for text in ["60s", "75s", "2m", "5m", "1h", "90m", "1500ms", "off", "24h"] {
            assert_eq!(text.parse::<Timeout>().unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn the_printed_form_is_exact(ms in 1u64..=366 * 24 * 3_600_000) {
            let timeout = Timeout(Some(Duration::from_millis(ms)));
            prop_assert_eq!(timeout.to_string().parse(), Ok(timeout));
        }

        #[test]
        fn any_text_gives_a_verdict(text in "\\PC*") {
            let _ = text.parse::<Timeout>();
        }
    }
}
