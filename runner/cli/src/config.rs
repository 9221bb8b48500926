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
pub use keys::Key;
pub use layers::Layers;
pub use origin::{Flag, Origin, Setting};
pub use queues::QueueSlots;
pub use settings::{Config, DatabaseSource, MigrateWhen, RunSettings, WatchMode};

#[cfg(test)]
mod tests;
