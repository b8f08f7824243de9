//! Numbers in paths and query strings.

use super::fault::Fault;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A query string, without its `?`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl<'a> Query<'a> {
    /// The first value of `name`.
    fn value(self, name: &str) -> Option<&'a str> {
        self.0
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|&(key, _)| key == name)
            .map(|pair| pair.1)
    }

    /// The number that `name` has, if it is there.
    ///
    /// # Errors
    /// A value that is no number of `range`.
    pub(super) fn number<T>(self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, Fault>
    where
        T: FromStr + PartialOrd + Display,
    {
        self.value(name).map(|value| number(name, value, range)).transpose()
    }
}

/// `value` as a number of `range`; `name` is for the message.
///
/// # Errors
/// Anything else. (NaN lies in no range.)
pub(super) fn number<T>(name: &str, value: &str, range: RangeInclusive<T>) -> Result<T, Fault>
where
    T: FromStr + PartialOrd + Display,
{
    let parsed = value.parse().ok().filter(|number| range.contains(number));
    parsed.ok_or_else(|| {
        Fault::Parameter(format!("{name} is a number from {} to {}", range.start(), range.end()))
    })
}

#[cfg(test)]
mod tests {
    //! Goal: numbers come out of a query by whole names only, and nothing out of range does.

    use super::*;

    #[test]
    fn finds_whole_names() {
        let query = Query("interval=20&count=3&acount=4&flag&=5");
        assert_eq!(query.number("count", 1..=9).unwrap(), Some(3));
        assert_eq!(query.number("interval", 10..=60_000).unwrap(), Some(20));
        assert_eq!(query.number("flag", 0..=9).unwrap(), None);
        assert_eq!(Query("").number("count", 0..=9).unwrap(), None);
    }

    #[test]
    fn refuses_what_is_out_of_range_or_no_number() {
        for value in ["9", "", "-1", "1.5", "x", "99999999999999999999999", " 2"] {
            assert!(number("count", value, 1_u64..=8).is_err(), "{value}");
        }
        for value in ["NaN", "inf", "-0.1", "3600.1"] {
            assert!(number("seconds", value, 0.0..=3600.0).is_err(), "{value}");
        }
        assert_eq!(number("seconds", "0.25", 0.0..=3600.0).unwrap(), 0.25);
    }
}
