//! A private server that could not be started, reached or stopped.

use std::io;
use std::path::PathBuf;

use super::programs::NoPostgres;

/// A private server that could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The programs are missing.
    #[error(transparent)]
    Missing(#[from] NoPostgres),
    /// The directory cannot be used.
    #[error("cannot use {} for a private Postgres: {why}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The reason, and what to do instead.
        why: String,
    },
    /// `initdb` or `postgres` failed.
    #[error("cannot start a private Postgres: {what}\n{output}")]
    Failed {
        /// The step that failed.
        what: String,
        /// The last lines of the program's output.
        output: String,
    },
    /// The server rejected a statement.
    #[error("{what}: {message}")]
    Rejected {
        /// The step that failed.
        what: String,
        /// The server's error message.
        message: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// The step that failed.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

pub(super) fn system(what: &str) -> impl FnOnce(io::Error) -> PostgresError + '_ {
    move |source| PostgresError::System {
        what: what.to_owned(),
        source,
    }
}
