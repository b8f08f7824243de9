//! Dates as HTTP and logs write them, from seconds since the Unix epoch. UTC, proleptic Gregorian calendar.

/// The last second of the year 9999: both formats have four digits for a year.
const UNIX_S_MAX: u64 = 253_402_300_799;
const DAY_S: u64 = 24 * 60 * 60;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: u64 = 146_097;
/// Days from 0000-03-01 to the Unix epoch.
const EPOCH_DAYS: u64 = 719_468;

const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Length of an IMF-fixdate in bytes.
pub const HTTP_DATE_BYTES: usize = 29;

/// Appends `unix_s` as an IMF-fixdate (RFC 9110 §5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// Always [`HTTP_DATE_BYTES`] bytes; times after the year 9999 are written as its last second.
pub fn write_http_date(unix_s: u64, out: &mut Vec<u8>) {
    let civil = Civil::from_unix(unix_s);
    out.extend_from_slice(name(&WEEKDAYS, civil.weekday));
    out.extend_from_slice(b", ");
    write_digits(civil.day, 2, out);
    out.push(b' ');
    out.extend_from_slice(name(&MONTHS, civil.month - 1));
    out.push(b' ');
    write_digits(civil.year, 4, out);
    out.push(b' ');
    civil.write_time(out);
    out.extend_from_slice(b" GMT");
}

/// Appends `unix_us`, in microseconds, as an RFC 3339 timestamp with milliseconds, such as
/// `1994-11-06T08:49:37.000Z`. Times after the year 9999 are written as its last second.
pub fn write_rfc3339(unix_us: u64, out: &mut Vec<u8>) {
    let civil = Civil::from_unix(unix_us / 1_000_000);
    write_digits(civil.year, 4, out);
    out.push(b'-');
    write_digits(civil.month, 2, out);
    out.push(b'-');
    write_digits(civil.day, 2, out);
    out.push(b'T');
    civil.write_time(out);
    out.push(b'.');
    write_digits(unix_us / 1_000 % 1_000, 3, out);
    out.push(b'Z');
}

/// Appends the last `width` decimal digits of `number`, zeros in front.
pub(super) fn write_digits(number: u64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        #[allow(clippy::cast_possible_truncation, reason = "one digit")]
        let digit = (number / 10u64.pow(place) % 10) as u8;
        out.push(b'0' + digit);
    }
}

/// A point in time on the calendar.
#[derive(Debug, PartialEq, Eq)]
struct Civil {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
    /// Days since a Thursday, 0 to 6: the epoch was one.
    weekday: u64,
    /// Second of the day.
    second: u64,
}

impl Civil {
    /// The calendar turned so that the year starts on 1 March: the leap day is then the last day of a
    /// year, and the lengths of months follow a line, `(153 * month + 2) / 5` days before a month.
    fn from_unix(unix_s: u64) -> Civil {
        let unix_s = unix_s.min(UNIX_S_MAX);
        let days = unix_s / DAY_S + EPOCH_DAYS;
        let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
        // Days without the leap days before them: one every 1461, none every 36 524, the last of an era.
        let plain = day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096;
        let year_of_era = plain / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Civil {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            weekday: unix_s / DAY_S % 7,
            second: unix_s % DAY_S,
        }
    }

    /// Appends `08:49:37`.
    fn write_time(&self, out: &mut Vec<u8>) {
        write_digits(self.second / 3600, 2, out);
        out.push(b':');
        write_digits(self.second / 60 % 60, 2, out);
        out.push(b':');
        write_digits(self.second % 60, 2, out);
    }
}

/// The `index`th of `names`, which it is always within.
fn name(names: &[&'static [u8; 3]], index: u64) -> &'static [u8] {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index));
    debug_assert!(name.is_some());
    name.map_or(b"???", |name| name.as_slice())
}

#[cfg(test)]
mod tests {
    //! Goal: every second up to the year 9999 is written as GNU date writes it. Method: vectors made with
    //! `date -u -d @N`, and a calendar that counts days one by one.

    use super::*;

    fn http_date(unix_s: u64) -> String {
        let mut out = Vec::new();
        write_http_date(unix_s, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn rfc3339(unix_us: u64) -> String {
        let mut out = Vec::new();
        write_rfc3339(unix_us, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn http_dates() {
        for (unix_s, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), // the example of RFC 9110
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (2_147_483_648, "Tue, 19 Jan 2038 03:14:08 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (UNIX_S_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (UNIX_S_MAX + 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(unix_s), date);
            assert_eq!(date.len(), HTTP_DATE_BYTES);
        }
    }

    #[test]
    fn rfc3339_timestamps() {
        for (unix_us, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (999_999, "1970-01-01T00:00:00.999Z"),
            (784_111_777_042_000, "1994-11-06T08:49:37.042Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000Z"),
            (UNIX_S_MAX * 1_000_000 + 999_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(unix_us), date);
        }
        assert!(rfc3339(u64::MAX).starts_with("9999-12-31T23:59:59."));
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let every = |years: u64, year: u64| year.is_multiple_of(years);
        let leap = |year| every(4, year) && (!every(100, year) || every(400, year));
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=UNIX_S_MAX / DAY_S {
            let weekday = days % 7;
            assert_eq!(Civil::from_unix(days * DAY_S), Civil { year, month, day, weekday, second: 0 });
            let length = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (day, month) = if day == length { (1, month + 1) } else { (day + 1, month) };
            (month, year) = if month == 13 { (1, year + 1) } else { (month, year) };
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }
}
