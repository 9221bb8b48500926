//! Why there is no usable configuration.

use std::path::PathBuf;

use super::origin::Origin;

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was asked for, or found, cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not TOML.
    #[error("`{}` line {line} is not TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A key that no version of this program knows.
    #[error("unknown setting `{key}` in `{}` line {line}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// A known key that looks like it.
        suggestion: Option<String>,
    },
    /// A value that its key does not take.
    #[error("setting `{key}` ({origin}) is wrong: {reason}")]
    Value {
        /// The key.
        key: String,
        /// Where the value stands.
        origin: Origin,
        /// What is wrong, and what to write.
        reason: String,
    },
}
