//! The severity of a log line.

/// The severity of a log line, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}
