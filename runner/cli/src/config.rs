//! The whole configuration: one table of keys, several layers, one answer.
//!
//! Owns which settings exist ([`keys::KEYS`]), how their values are written
//! ([`values`]), and the precedence: flag, `PGTQ_*`, `DATABASE_URL`, `PG*`,
//! `pgtq.toml` (searched upward), the user's file, the machine's file,
//! default. Every value remembers where it came from, for `config show
//! --origin` and for errors. Promises that a wrong key or value is refused
//! with file, line and a suggestion, and that passwords and secrets never leave
//! it in a printed form. Grants and secrets ([`Grants`]) are read again by
//! [`Config::reload`]. Does not connect to anything and does not watch files.

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

#[cfg(test)]
mod tests;
