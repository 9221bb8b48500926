//! The configuration: its keys, their values and the precedence of their sources.
//!
//! Owns the list of settings ([`keys::KEYS`]), the syntax of their values ([`values`]), and
//! the precedence: command line option, `PGTQ_*`, `DATABASE_URL`, `PG*`, `pgtq.toml` (in
//! the current directory or the nearest parent that has one), the user's file, the
//! machine's file, default. Every value keeps its origin for `config show --origin` and for
//! errors. Guarantees that an unknown key or invalid value is rejected with the file, the
//! line and a suggestion, and that passwords and secrets are never printed.
//! [`Config::reload`] reads grants and secrets ([`Grants`]) again. Does not connect to
//! anything and does not watch files.

pub mod grants;
pub mod keys;
mod layers;
mod settings;
mod toml_file;
pub mod values;

pub use grants::Grants;
pub use keys::Key;
pub use layers::{Flag, Layers, Origin, Setting};
pub use settings::{Config, DatabaseSource, MigrateWhen, QueueSlots, RunSettings, WatchMode};

use std::path::PathBuf;

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

#[cfg(test)]
mod tests;
