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

mod error;
pub mod grants;
pub mod keys;
mod layers;
pub mod origin;
mod queues;
mod settings;
mod toml_file;
pub mod values;

pub use error::ConfigError;
pub use grants::Grants;
pub use keys::SettingKey;
pub use layers::Layers;
pub use origin::{Flag, Origin, Setting};
pub use queues::QueueSlots;
pub use settings::{Config, DatabaseSource, MigrateWhen, RunSettings, WatchMode};

#[cfg(test)]
mod tests;
