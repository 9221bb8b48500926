//! Formats Postgres's dates and times as ISO 8601 text.

use std::fmt::Write as _;

use jiff::civil::{self, DateTime};
use jiff::{SignedDuration, Span, Timestamp};

/// 2000-01-01T00:00:00Z, Postgres's epoch, in Unix seconds.
const EPOCH: i64 = 946_684_800;

/// A date, from days since the epoch; `None` outside the years 1 to 9999.
pub(super) fn date(days: i32) -> Option<String> {
    match days {
        i32::MAX => Some("infinity".to_owned()),
        i32::MIN => Some("-infinity".to_owned()),
        days => {
            let since = Span::new().try_days(i64::from(days)).ok()?;
            let date = civil::date(2000, 1, 1).checked_add(since);
            date.ok()
                .filter(|date| date.year() > 0)
                .map(|date| date.to_string())
        }
    }
}

/// A time of day, from microseconds.
pub(super) fn time(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    fraction(&mut text, micros % 1_000_000);
    text
}

/// A date and time without time zone.
pub(super) fn timestamp(micros: i64) -> Option<String> {
    infinite(micros).or_else(|| {
        let start: DateTime = civil::date(2000, 1, 1).at(0, 0, 0, 0);
        let moment = start.checked_add(SignedDuration::from_micros(micros)).ok();
        moment
            .filter(|moment| moment.year() > 0)
            .map(|moment| moment.to_string())
    })
}

/// A date and time in UTC.
pub(super) fn timestamptz(micros: i64) -> Option<String> {
    infinite(micros).or_else(|| {
        let start = Timestamp::from_second(EPOCH).ok()?;
        let moment = start.checked_add(SignedDuration::from_micros(micros)).ok();
        moment
            .map(|moment| moment.to_string())
            .filter(|text| !text.starts_with('-') && !text.starts_with("0000"))
    })
}

/// A duration: `P1Y2M3DT4H5M6.5S`.
pub(super) fn interval(micros: i64, days: i32, months: i32) -> String {
    let mut text = String::from("P");
    let mut part = |value: i64, unit: char| {
        if value != 0 {
            text.push_str(&format!("{value}{unit}"));
        }
    };
    part(i64::from(months / 12), 'Y');
    part(i64::from(months % 12), 'M');
    part(i64::from(days), 'D');
    if micros != 0 || text.len() == 1 {
        text.push('T');
        let mut part = |value: i64, unit: char| {
            if value != 0 {
                text.push_str(&format!("{value}{unit}"));
            }
        };
        part(micros / 3_600_000_000, 'H');
        part(micros / 60_000_000 % 60, 'M');
        let rest = micros % 60_000_000;
        if rest != 0 || micros == 0 {
            if rest < 0 {
                text.push('-');
            }
            text.push_str(&(rest.abs() / 1_000_000).to_string());
            fraction(&mut text, rest.abs() % 1_000_000);
            text.push('S');
        }
    }
    text
}

fn infinite(micros: i64) -> Option<String> {
    match micros {
        i64::MAX => Some("infinity".to_owned()),
        i64::MIN => Some("-infinity".to_owned()),
        _ => None,
    }
}

fn fraction(text: &mut String, micros: i64) {
    if micros != 0 {
        let start = text.len();
        // Writing to a string cannot fail.
        let _ = write!(text, ".{micros:06}");
        text.truncate(start + text[start..].trim_end_matches('0').len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_iso_8601() {
        assert_eq!(date(0).as_deref(), Some("2000-01-01"));
        assert_eq!(date(-1).as_deref(), Some("1999-12-31"));
        assert_eq!(date(i32::MAX).as_deref(), Some("infinity"));
        assert_eq!(date(i32::MAX - 1), None);
        assert_eq!(time(3_661_000_000), "01:01:01");
        assert_eq!(time(86_399_500_000), "23:59:59.5");
        assert_eq!(timestamp(1).as_deref(), Some("2000-01-01T00:00:00.000001"));
        assert_eq!(timestamptz(0).as_deref(), Some("2000-01-01T00:00:00Z"));
        assert_eq!(timestamptz(i64::MIN).as_deref(), Some("-infinity"));
        assert_eq!(timestamptz(i64::MAX - 1), None);
        assert_eq!(interval(14_706_500_000, 3, 14), "P1Y2M3DT4H5M6.5S");
        assert_eq!(interval(0, 0, 0), "PT0S");
        assert_eq!(interval(-1_500_000, 0, 0), "PT-1.5S");
    }
}
