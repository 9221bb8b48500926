//! Database errors, classified by what the caller does next.

/// An error of the store. Stale claims, empty queues and unknown ids are
/// values, not errors.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server does not answer. Try again later, with back-off.
    #[error("reach the database at {place}: {message}")]
    Unreachable {
        /// Host, port and database, without a password.
        place: String,
        /// The error of the attempt.
        message: String,
        /// What to do about it, where that is known.
        hint: Option<&'static str>,
    },
    /// The server rejected the user, the password, the database or the certificate.
    #[error("log in to the database at {place}: {message}")]
    Auth {
        /// Host, port and database, without a password.
        place: String,
        /// What the server said.
        message: String,
    },
    /// There is no pgtq schema: `pgtq migrate` creates it.
    #[error("find the schema {schema:?} in this database: run `pgtq migrate`")]
    SchemaMissing {
        /// Its name.
        schema: String,
    },
    /// The schema is older than this program: `pgtq migrate` upgrades it.
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
        "use the schema {schema:?}: it is at version {found}, which supports programs for schema version {serves} or later, and this pgtq is for version {wanted}; update this pgtq"
    )]
    SchemaNewer {
        /// Its name.
        schema: String,
        /// The version found.
        found: i32,
        /// The oldest program version that it supports.
        serves: i32,
        /// The version this program is written for.
        wanted: i32,
    },
    /// Interrupted: retry with back-off. The connection was dropped, the server is restarting or
    /// read-only, or is out of a resource.
    #[error("{verb}: {message}")]
    Transient {
        /// Which verb was interrupted.
        verb: &'static str,
        /// What the server or the connection said.
        message: String,
        /// What to do about it, where that is known.
        hint: Option<&'static str>,
    },
    /// Another transaction holds a lock for longer than the lock timeout. Nothing was changed;
    /// try again.
    #[error("{verb}: {message}")]
    Locked {
        /// Which verb failed.
        verb: &'static str,
        /// What the server said.
        message: String,
    },
    /// The request is invalid. Retrying is pointless.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do instead, where that is known.
        hint: Option<String>,
    },
    /// This user lacks a privilege. The same call works as soon as an admin has granted it.
    #[error("{verb}: {message}")]
    Denied {
        /// Which verb was denied.
        verb: &'static str,
        /// What the server said.
        message: String,
        /// How to grant the privilege.
        hint: &'static str,
    },
    /// A bug in pgtq, or a fault of the database.
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
            StoreError::Unreachable { .. }
                | StoreError::Transient { .. }
                | StoreError::Locked { .. }
        )
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            StoreError::Unreachable { hint, .. } | StoreError::Transient { hint, .. } => *hint,
            StoreError::Refused { hint, .. } => hint.as_deref(),
            StoreError::Denied { hint, .. } => Some(hint),
            _ => None,
        }
    }

    /// The server has no connection left for this user.
    pub(crate) fn is_shortage(&self) -> bool {
        self.hint() == Some(NO_CONNECTION)
    }
}

/// Classifies an error of a statement.
pub(crate) fn classify(
    verb: &'static str,
    schema: &str,
    error: &tokio_postgres::Error,
) -> StoreError {
    let Some(db) = error.as_db_error() else {
        let message = chain(error);
        // Encoding and decoding errors are pgtq's own; everything else is the connection's.
        return if error.is_closed() || source_is_io(error) {
            StoreError::Transient {
                verb,
                message,
                hint: None,
            }
        } else {
            StoreError::Fault { verb, message }
        };
    };
    let code = db.code().code();
    let message = db.message().to_owned();
    match code {
        // Undefined function, table, column or schema.
        "42883" | "42P01" | "42703" | "3F000" => StoreError::SchemaMissing {
            schema: schema.to_owned(),
        },
        "42501" => StoreError::Denied {
            verb,
            hint: match is_row_security(db) {
                true => ROW_SECURITY,
                false => {
                    "an admin grants privileges with `pgtq roles KIND ROLE`, for example `pgtq roles runner app`; only the owner of the schema migrates"
                }
            },
            message,
        },
        "55P03" => StoreError::Locked { verb, message },
        _ if is_transient(code) => StoreError::Transient {
            verb,
            message,
            hint: advice(code),
        },
        // Of the class of program limits, only the codes that a value can exceed.
        _ if ["22", "23", "54"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            let (known, hint) = match code {
                "22P02" if is_json(db) => (None, Some(JSON_HINT)),
                _ => db.constraint().map_or((None, None), explain),
            };
            let message = match db.detail() {
                Some(detail) if hint == Some(JSON_HINT) => format!("{message}: {detail}"),
                _ => message,
            };
            StoreError::Refused {
                message: known.map_or(message, ToOwned::to_owned),
                hint: hint
                    .map(ToOwned::to_owned)
                    .or_else(|| db.hint().map(ToOwned::to_owned))
                    .or_else(|| db.detail().map(ToOwned::to_owned)),
            }
        }
        _ => StoreError::Fault {
            verb,
            message: format!("{message} (SQLSTATE {code})"),
        },
    }
}

/// Classifies an error of an attempt to connect.
pub(crate) fn classify_connect(place: String, error: &tokio_postgres::Error) -> StoreError {
    let message = error
        .as_db_error()
        .map_or_else(|| chain(error), |db| db.message().to_owned());
    match error.code().map(|code| code.code()) {
        Some(code) if is_transient(code) => StoreError::Unreachable {
            place,
            message,
            hint: advice(code),
        },
        Some(_) => StoreError::Auth { place, message },
        None if message.contains("certificate") || message.contains("password") => {
            StoreError::Auth { place, message }
        }
        None => StoreError::Unreachable {
            place,
            message,
            hint: None,
        },
    }
}

/// Advice about row security. pgtq's sessions set `row_security` off, so that a policy is an
/// error instead of hiding rows.
const ROW_SECURITY: &str = "pgtq does not work with row-level security: ALTER TABLE ... DISABLE ROW LEVEL SECURITY for the tables of its schema (`pgtq doctor` names them), or ALTER ROLE ... BYPASSRLS for its role";

/// Whether policies are the reason. Decided by the location in the server's source, which does
/// not depend on the language of its messages: of a query, and of a row that is written.
fn is_row_security(db: &tokio_postgres::error::DbError) -> bool {
    ["check_enable_rls", "ExecWithCheckOptions"]
        .iter()
        .any(|routine| db.routine() == Some(routine))
}

/// Advice about arguments that are not JSON.
const JSON_HINT: &str =
    "write JSON: {\"name\": value} for parameters by name, [value] for parameters by position";

/// Whether the server could not parse a text as JSON: the message contains the name of the type
/// in every language.
fn is_json(db: &tokio_postgres::error::DbError) -> bool {
    db.message().contains("json")
}

fn is_transient(code: &str) -> bool {
    // Connection, resources, shutdown and statement timeouts, conflicts, a primary that became
    // read-only, a lock or idle timeout, a prepared statement that is gone or whose name is
    // taken.
    ["08", "53", "57"]
        .iter()
        .any(|class| code.starts_with(class))
        || [
            "40001", "40P01", "25006", "25P03", "55P03", "26000", "42P05",
        ]
        .contains(&code)
}

/// Advice about a server that has no connection left.
pub(crate) const NO_CONNECTION: &str = "no connection is left for this user, and a runner needs at least 3: raise max_connections or the role's CONNECTION LIMIT, close idle connections, or use a connection pooler";

/// Advice about a server in trouble, by SQLSTATE.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "53100" => "the server's disk is full: free space on it; no task is lost meanwhile",
        "53200" => "the server is out of memory: lower work_mem or the number of connections",
        "53300" => NO_CONNECTION,
        "25006" => {
            "this server is read-only: list all hosts in the database URL (`host1,host2`), and pgtq connects to the one that accepts writes"
        }
        "40P01" => "deadlock with another transaction; the server's log names both",
        "57014" => {
            "the statement was cancelled, by statement_timeout or by an admin: raise the role's statement_timeout if it is too short"
        }
        "26000" | "42P05" => {
            "several clients share this session, as behind a connection pooler: add `?pgbouncer=true` to the database URL"
        }
        "57P03" => "the server is starting, stopping or recovering",
        _ => return None,
    })
}

fn explain(constraint: &str) -> (Option<&'static str>, Option<&'static str>) {
    match constraint {
        "args_size" => (
            Some("the arguments have more than 1048576 bytes"),
            Some("store the data elsewhere and push a reference to it"),
        ),
        "queue_name" | "handler_name" | "pause_name" => (
            Some("a queue or handler name is not allowed"),
            Some("1 to 128 of the characters A-Z a-z 0-9 _ . : - are allowed"),
        ),
        "key_size" => (
            Some("an idempotency key is empty or longer than 512 bytes"),
            Some("use a short key, for example a hash of a long one"),
        ),
        "run_at_finite" | "run_at_sane" => (
            Some("a task's time to run is infinite or too far away"),
            Some("give a time within 100 years"),
        ),
        "expires_at_sane" => (
            Some("a lease is infinite or too long"),
            Some("give the time that the worker needs, for example interval '5 minutes'"),
        ),
        _ => (None, None),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn source_is_io(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<std::io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}
