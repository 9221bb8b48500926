//! Checks whether a private server is ready, and runs statements on it.
//!
//! Trust authentication only: only the server's user has access to the directory of
//! the socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::error::DbError;
use tokio_postgres::{Config, NoTls};

use super::error::PostgresError;

/// The file name of a server's socket in its directory.
pub(super) const SOCKET: &str = ".s.PGSQL.5432";

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum StatementError {
    /// Connection failed, connection lost, or timeout.
    Io(io::Error),
    /// The server rejected the login or the statement.
    Rejected(Box<DbError>),
}

impl From<tokio_postgres::Error> for StatementError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(why) => StatementError::Rejected(Box::new(why.clone())),
            None => StatementError::Io(io::Error::other(error)),
        }
    }
}

impl StatementError {
    /// Converts the error, for the step `what`.
    pub(super) fn during(self, what: String) -> PostgresError {
        match self {
            StatementError::Io(source) => PostgresError::System { what, source },
            StatementError::Rejected(why) => PostgresError::Rejected {
                what,
                message: why.message().to_owned(),
            },
        }
    }
}

/// Whether the server with its socket in `dir` accepts connections to `database`.
pub(super) fn is_ready(dir: &Path, database: &str, timeout: Duration) -> bool {
    run(dir, database, "", timeout).is_ok()
}

/// Runs `statement` as the user `pgtq`, without returning rows. Fails at once if the
/// server does not accept connections.
pub(super) fn run(
    dir: &Path,
    database: &str,
    statement: &str,
    timeout: Duration,
) -> Result<(), StatementError> {
    let task = async {
        let mut config = Config::new();
        config.host_path(dir).user("pgtq").dbname(database);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client.batch_execute(statement).await?)
    };
    let in_time = async { tokio::time::timeout(timeout, task).await };
    // On a separate thread: the caller may be in an async runtime, which cannot block
    // on a second one.
    let finished = std::thread::scope(|scope| {
        let own = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(in_time).map_err(io::Error::from)
        });
        own.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    finished.map_err(StatementError::Io)?
}

/// `name` as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_a_name_are_doubled() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[tokio::test]
    async fn a_missing_server_is_an_error_inside_a_runtime() {
        let empty = tempfile::tempdir().unwrap();
        let result = run(empty.path(), "pgtq", "", Duration::from_secs(5));
        assert!(matches!(result, Err(StatementError::Io(_))), "{result:?}");
    }
}
