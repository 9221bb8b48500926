//! SQL statements recorded in a test.

use serde_json::Value;

/// A statement that a handler ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text, as written.
    pub text: String,
    /// The values of `$1`, `$2`, ...
    pub params: Vec<Value>,
}

impl Statement {
    /// Whether the text contains `part`; whitespace between words is ignored.
    pub(crate) fn contains(&self, part: &str) -> bool {
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        one_line(&self.text).contains(&one_line(part))
    }
}
