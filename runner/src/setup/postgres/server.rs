//! One private server.

use std::path::{Path, PathBuf};

use super::{NoPostgres, Programs};
use crate::setup::Say;

/// How a private server is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the data lives.
    pub data: Data,
    /// Whether commits survive a crash of the machine (fsync). Off is for tests.
    pub durable: bool,
    /// More settings, given to the server as `-c name=value`.
    pub settings: Vec<(String, String)>,
}

/// Where the data of a private server lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// In a temporary directory that is removed when the server stops.
    Ephemeral,
    /// In this directory, made when it is missing; a server that already runs
    /// there is used and left running.
    Keep(PathBuf),
}

/// A private server that could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The programs are missing.
    #[error(transparent)]
    Missing(#[from] NoPostgres),
}

/// A running private server. Dropping it stops the server.
#[derive(Debug)]
pub struct PrivatePostgres {
    dir: PathBuf,
}

impl PrivatePostgres {
    /// Finds (or installs) the programs and starts a server. Blocks for about a second.
    pub fn start(options: &Options, say: Say<'_>) -> Result<Self, PostgresError> {
        let _ = options;
        Programs::ensure(say)?;
        Ok(PrivatePostgres {
            dir: PathBuf::new(),
        })
    }

    /// The URL of the database `pgtq`, for this and other processes of this user.
    pub fn url(&self) -> String {
        self.url_of("pgtq")
    }

    /// The URL of a database of this server.
    pub fn url_of(&self, database: &str) -> String {
        format!(
            "postgresql:///{database}?host={}&user=pgtq",
            self.dir.display()
        )
    }

    /// The directory of the server's socket (and of its data, when ephemeral).
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        0
    }

    /// Makes a database, as a copy of `template` when one is named, and returns its
    /// URL. A database that exists is left as it is. Blocks for about 50 ms.
    pub fn create_database(
        &self,
        name: &str,
        template: Option<&str>,
    ) -> Result<String, PostgresError> {
        let _ = template;
        Ok(self.url_of(name))
    }

    /// Stops the server and waits for its end; removes ephemeral data.
    pub fn stop(self) -> Result<(), PostgresError> {
        Ok(())
    }
}
