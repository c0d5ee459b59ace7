//! Dates of the proleptic Gregorian calendar in UTC, from and to days and seconds since 1970-01-01.

use std::fmt;
use std::time::Duration;

/// The seconds of a day. Unix time has no leap seconds.
const SECONDS_PER_DAY: u64 = 86_400;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Days of an era of 400 years: every era has the same leap years.
const DAYS_PER_ERA: i64 = 146_097;

/// A day. `Display` gives ISO 8601: `2027-01-15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// The year, astronomical: 0 is 1 BC.
    pub year: i64,
    /// The month: 1 to 12.
    pub month: i64,
    /// The day of the month: 1 to 31.
    pub day: i64,
}

impl Date {
    /// The date that lies this many days after 1970-01-01.
    ///
    /// Years are counted from 1 March, so that the leap day is the last day of its year.
    pub fn from_unix_days(days: i64) -> Date {
        let days = days.saturating_add(DAYS_TO_1970);
        let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
        let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // From March on, the lengths of five months repeat: 31 30 31 30 31, together 153 days.
        let from_march = (5 * day_of_year + 2) / 153;
        let (month, years) = match from_march {
            0..=9 => (from_march + 3, 0),
            _ => (from_march - 9, 1),
        };
        Date {
            year: era * 400 + year_of_era + years,
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
        }
    }

    /// The date of a moment, in seconds since 1970-01-01 00:00 UTC.
    pub fn of_unix_seconds(seconds: u64) -> Date {
        let days = i64::try_from(seconds / SECONDS_PER_DAY).unwrap_or(i64::MAX);
        Date::from_unix_days(days)
    }

    /// The days from 1970-01-01 to this date. A day past the end of its month counts on into the next one.
    pub fn unix_days(self) -> i64 {
        let (year, from_march) = match self.month {
            1 | 2 => (self.year - 1, self.month + 9),
            _ => (self.year, self.month - 3),
        };
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        365 * year + leap_days + (153 * from_march + 2) / 5 + self.day - 1 - DAYS_TO_1970
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A moment, as the time since 1970-01-01 00:00 UTC. `Display` gives RFC 3339 in UTC with milliseconds:
/// `2026-01-02T03:04:05.678Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UtcTime(pub Duration);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hour, minute) = (seconds / 3600 % 24, seconds / 60 % 60);
        write!(
            f,
            "{}T{hour:02}:{minute:02}:{:02}.{:03}Z",
            Date::of_unix_seconds(seconds),
            seconds % 60,
            self.0.subsec_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // Expected values by `date -u -d @…`.
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_000, "2000-02-29T23:59:59.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = UtcTime(Duration::from_millis(milliseconds));
            assert_eq!(time.to_string(), expected);
        }
    }

    #[test]
    fn the_longest_duration_has_a_date() {
        assert!(UtcTime(Duration::MAX).to_string().ends_with(".999Z"));
    }

    #[test]
    fn every_day_of_an_era_follows_the_one_before() {
        let length = |year: i64, month: i64| match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        // From 1600, so that days before 1970 are among them.
        let (mut year, mut month, mut day) = (1600, 1, 1);
        for days in -135_140..-135_140 + DAYS_PER_ERA + 366 {
            let date = Date { year, month, day };
            assert_eq!(Date::from_unix_days(days), date);
            assert_eq!(date.unix_days(), days);
            day += 1;
            if day > length(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn years_before_1970_and_before_0_are_counted() {
        for (year, month, day, days) in [
            (1969, 12, 31, -1),
            (1950, 1, 1, -7305),
            (0, 3, 1, -DAYS_TO_1970),
            (0, 1, 1, -DAYS_TO_1970 - 60),
        ] {
            assert_eq!(Date { year, month, day }.unix_days(), days, "{year}");
            assert_eq!(Date::from_unix_days(days), Date { year, month, day });
        }
    }
}
