//! What can go wrong with the database, sorted by what the caller does next.

/// An error of the store. Stale claims, empty queues and unknown ids are
/// values, not errors.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody answers there. Try again later, with back-off.
    #[error("reach the database at {place}: {message}")]
    Unreachable {
        /// Host, port and database, without a password.
        place: String,
        /// What the attempt said.
        message: String,
    },
    /// The server refused the user, the password, the database or the certificate.
    #[error("log in to the database at {place}: {message}")]
    Auth {
        /// Host, port and database, without a password.
        place: String,
        /// What the server said.
        message: String,
    },
    /// There is no pgtq schema: `pgtq migrate` makes it.
    #[error("find the schema {schema:?} in this database: run `pgtq migrate`")]
    SchemaMissing {
        /// Its name.
        schema: String,
    },
    /// The schema is older than this program: `pgtq migrate` brings it up.
    #[error(
        "use the schema {schema:?}: it is at version {found} and this pgtq needs {wanted}; run `pgtq migrate`"
    )]
    SchemaOlder {
        /// Its name.
        schema: String,
        /// The version found.
        found: i32,
        /// The version this program is written for.
        wanted: i32,
    },
    /// The schema is newer than this program: update the program.
    #[error(
        "use the schema {schema:?}: it is at version {found} and this pgtq knows {wanted}; update this pgtq"
    )]
    SchemaNewer {
        /// Its name.
        schema: String,
        /// The version found.
        found: i32,
        /// The version this program is written for.
        wanted: i32,
    },
    /// Interrupted: try the same again with back-off. The connection was
    /// dropped, the server is restarting or read-only, or is out of a resource.
    #[error("{verb}: {message}")]
    Transient {
        /// Which verb was interrupted.
        verb: &'static str,
        /// What the server or the connection said.
        message: String,
    },
    /// The caller asked for something that is not allowed. Trying again is pointless.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do instead, where that is known.
        hint: Option<String>,
    },
    /// A fault of pgtq itself, or of the database.
    #[error("{verb}: {message}")]
    Fault {
        /// Which verb failed.
        verb: &'static str,
        /// What the server said, with its SQLSTATE.
        message: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            StoreError::Unreachable { .. } | StoreError::Transient { .. }
        )
    }
}
