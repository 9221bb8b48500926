//! Log lines, and access to those of a running attempt.

use std::fmt::Debug;
use std::ops::Range;

/// The severity of a log line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// Its stable text in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }

    /// Parses the text of a level.
    pub fn parse(text: &str) -> Option<Self> {
        use LogLevel::{Debug, Error, Info, Warn};
        [Debug, Info, Warn, Error]
            .into_iter()
            .find(|level| level.as_str() == text)
    }
}

/// One line that a handler logged.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct LogLine {
    /// Milliseconds since the attempt started.
    pub at_ms: u64,
    /// Its severity.
    pub level: LogLevel,
    /// The message, with control characters removed.
    pub message: String,
    /// Structured fields as a JSON object, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fields: Option<Box<serde_json::value::RawValue>>,
    /// This entry is not a line of the handler: it replaces this many of its lines, which were
    /// dropped because the log was over its limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dropped: Option<u64>,
}

impl LogLine {
    /// Stands for `dropped` lines that were not kept. The message is for readers that show the
    /// lines unchanged.
    pub fn gap(dropped: u64, at_ms: u64) -> Self {
        let lines = if dropped == 1 { "line" } else { "lines" };
        LogLine {
            at_ms,
            level: LogLevel::Warn,
            message: format!("… {dropped} {lines} dropped here, over the log limit"),
            fields: None,
            dropped: Some(dropped),
        }
    }
}

/// The log of a running attempt. The lines of an attempt are numbered from 1, including dropped
/// lines.
pub trait LogTail: Debug + Send + Sync {
    /// The kept lines after number `after`, oldest first, as many as fit into `room`. Blocks
    /// only while it copies them.
    fn after(&self, after: u64, room: LogPageLimit) -> LogPage;
}

/// Maximum size of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPageLimit {
    /// Lines.
    pub lines: usize,
    /// Bytes of messages and fields.
    pub bytes: usize,
}

/// Some lines of an attempt's log.
#[derive(Debug, Clone, Default)]
pub struct LogPage {
    /// Lines with their numbers.
    pub lines: Vec<(u64, LogLine)>,
    /// The numbers of lines that were dropped so far. Grows at its end.
    pub dropped: Range<u64>,
    /// Milliseconds since the attempt started.
    pub now_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_round_trips_through_text() {
        for level in [
            LogLevel::Debug,
            LogLevel::Info,
            LogLevel::Warn,
            LogLevel::Error,
        ] {
            assert_eq!(LogLevel::parse(level.as_str()), Some(level));
        }
        assert_eq!(LogLevel::parse("loud"), None);
    }

    #[test]
    fn a_line_of_a_guest_is_not_a_gap() {
        let line = r#"{"at_ms":1,"level":"warn","message":"x","fields":{"dropped":5}}"#;
        let line: LogLine = serde_json::from_str(line).expect("a line");
        assert_eq!(line.dropped, None);
        let gap = serde_json::to_string(&LogLine::gap(1, 7)).expect("text");
        assert_eq!(
            gap,
            r#"{"at_ms":7,"level":"warn","message":"… 1 line dropped here, over the log limit","dropped":1}"#
        );
    }
}
