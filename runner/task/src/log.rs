//! Log lines, and how others read those of an attempt that still runs.

use std::fmt::Debug;
use std::ops::Range;

/// How important a log line is.
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
    /// As it stands in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }

    /// The level of this text.
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
    /// How important it is.
    pub level: LogLevel,
    /// The line, control characters removed.
    pub message: String,
    /// Structured fields as a JSON object, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fields: Option<Box<serde_json::value::RawValue>>,
    /// Not a line of the handler: this many of its lines stood here and were
    /// dropped, because the log was over its limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dropped: Option<u64>,
}

impl LogLine {
    /// Stands for `dropped` lines that are not kept. The message is for those
    /// who read the lines as they are.
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

/// What an attempt under way has logged. The lines of an attempt are numbered
/// from 1, those that are not kept included.
pub trait LogTail: Debug + Send + Sync {
    /// The kept lines after number `after`, oldest first, as many as fit into
    /// `room`. Blocks for no longer than it takes to copy them.
    fn after(&self, after: u64, room: LogPageLimit) -> LogPage;
}

/// How much may be read at once.
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
    fn a_level_is_read_as_it_is_written() {
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
    fn a_line_of_a_guest_is_no_gap() {
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
