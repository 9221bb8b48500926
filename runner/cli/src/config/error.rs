//! Why there is no usable configuration.

use std::path::PathBuf;

use super::origin::Origin;

/// Why the configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not valid TOML.
    #[error("`{}` line {line} is not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The parser's error.
        reason: String,
    },
    /// A file contains an unknown key.
    #[error("unknown setting `{key}` in `{}` line {line}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// The known key that is most similar.
        suggestion: Option<String>,
    },
    /// A value is invalid for its key.
    #[error("invalid setting `{key}` ({origin}): {reason}")]
    Value {
        /// The key.
        key: String,
        /// Where the value is set.
        origin: Origin,
        /// What is wrong, and what to write instead.
        reason: String,
    },
}
