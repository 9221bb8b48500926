//! How to run a private server.

use std::path::PathBuf;

/// How to run a private server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The data directory.
    pub data: Data,
    /// Whether commits survive a crash of the machine (fsync). Set to false in tests.
    pub durable: bool,
    /// Additional settings, passed to the server as `-c name=value`.
    pub settings: Vec<(String, String)>,
}

/// The data directory of a private server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A temporary directory, removed when the server stops.
    Ephemeral,
    /// This directory, created if missing. If a server already runs there, it is used
    /// and left running.
    Keep(PathBuf),
}

impl ServerOptions {
    /// A temporary server that is not durable, for a demo or a test run.
    pub fn ephemeral() -> Self {
        ServerOptions {
            data: Data::Ephemeral,
            durable: false,
            settings: Vec::new(),
        }
    }

    pub(super) fn is_standby(&self) -> bool {
        matches!(&self.data, Data::Keep(dir) if dir.join("data/standby.signal").exists())
    }

    /// A durable server with its data in `dir`. If `dir/data` is a base backup with a
    /// `standby.signal`, the server starts as a standby.
    pub fn keep(dir: impl Into<PathBuf>) -> Self {
        ServerOptions {
            data: Data::Keep(dir.into()),
            durable: true,
            settings: Vec::new(),
        }
    }
}
