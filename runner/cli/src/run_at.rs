//! The value of `--at`, and of `at` in a batch file.

use jiff::Timestamp;

/// Parses a timestamp. One without an offset is in the time zone of this machine.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    let local = || {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        let zoned = civil.to_zoned(jiff::tz::TimeZone::system()).ok()?;
        Some(zoned.timestamp())
    };
    text.parse::<Timestamp>()
        .ok()
        .or_else(local)
        .ok_or_else(|| format!("{text:?} is not a timestamp: write 2026-12-01T09:00Z, or 2026-12-01T09:00 for local time"))
}
