//! The stored log lines of an attempt, as text.

use crate::text;
use pgtq_store::AttemptRow;
use pgtq_task::{LogLevel, LogLine};

/// The stored lines of an attempt, with a gap where lines were dropped.
pub(crate) fn stored(attempt: &AttemptRow) -> Vec<LogLine> {
    let text = attempt.logs.as_deref().unwrap_or("[]");
    let mut lines: Vec<LogLine> = serde_json::from_str(text).unwrap_or_default();
    // Without a gap: the limit is 0 lines, or an older version kept only the first lines.
    let unmarked = lines.iter().all(|line| line.dropped.is_none());
    if unmarked && attempt.logs_dropped > 0 {
        let at_ms = lines.last().map_or(0, |line| line.at_ms);
        lines.push(LogLine::gap(attempt.logs_dropped.unsigned_abs(), at_ms));
    }
    lines
}

/// Formats the stored lines of one attempt.
pub(crate) fn lines(attempt: &AttemptRow) -> Vec<String> {
    stored(attempt).iter().map(line).collect()
}

/// Formats one log line.
pub(crate) fn line(line: &LogLine) -> String {
    let (colour, level) = match line.level {
        LogLevel::Debug => ("\x1b[2m", "debug"),
        LogLevel::Info => ("\x1b[32m", "info "),
        LogLevel::Warn => ("\x1b[33m", "warn "),
        LogLevel::Error => ("\x1b[31m", "error"),
    };
    let fields = line.fields.as_ref().map_or_else(String::new, |fields| {
        format!(" \x1b[2m{}\x1b[0m", text::line(fields.get(), 400))
    });
    format!(
        "\x1b[2m{:>7.3}\x1b[0m {colour}{level}\x1b[0m {}{fields}",
        line.at_ms as f64 / 1e3,
        text::line(&line.message, 8_192)
    )
}
