//! Classifies a failed statement, for the guest and for the transaction.

use std::time::Duration;

use tokio_postgres::error::DbError;

use crate::handler_sql::budget::ByteBudget;
use pgtq_task::GuestError;

/// The effect of a failed statement on its transaction.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was never run: the transaction is unchanged.
    Harmless(GuestError),
    /// It failed, and the transaction can only be rolled back.
    Failed(GuestError),
    /// The connection is closed or unusable.
    Broken(GuestError),
}

/// Maximum bytes of an error message that goes to the guest and the task's history.
const MESSAGE_BYTES: usize = 4_096;

impl Trouble {
    /// Classifies a driver error of a statement.
    pub(super) fn of(error: &tokio_postgres::Error, budget: &ByteBudget, bytes: u64) -> Self {
        if budget.is_spent() {
            return Trouble::Broken(GuestError::new(
                "limit",
                format!(
                    "the result has more than {bytes} bytes, the limit of one statement; ask for less at a time, or raise `limits.sql_bytes`"
                ),
            ));
        }
        match error.as_db_error() {
            Some(db) if closes_connection(db) => Trouble::Broken(lost(&describe(db))),
            Some(db) => Trouble::Failed(problem(db)),
            None => Trouble::Broken(lost(&text(error))),
        }
    }

    /// The statement timed out.
    pub(super) fn timeout(limit: Duration) -> Self {
        Trouble::Broken(timeout(limit))
    }
}

/// The guest's view of a server error.
fn problem(db: &DbError) -> GuestError {
    // The server's own statement timeout; a cancel request has the same code.
    if db.code().code() == "57014" && db.message().contains("timeout") {
        return GuestError::new("timeout", describe(db));
    }
    GuestError::new(format!("sql:{}", db.code().code()), describe(db))
}

pub(super) fn timeout(limit: Duration) -> GuestError {
    GuestError::new(
        "timeout",
        format!(
            "the statement timed out after {} ms; make it smaller, or raise `statement_timeout` of the grant or the handler's own timeout",
            limit.as_millis()
        ),
    )
}

fn lost(why: &str) -> GuestError {
    GuestError::new(
        "unavailable",
        format!("the connection to the database was lost: {why}"),
    )
}

/// Whether the server closes the connection after this error.
pub(super) fn closes_connection(db: &DbError) -> bool {
    let code = db.code().code();
    code.starts_with("57P") || code.starts_with("08") || code == "25P03"
}

/// Whether the database caused the error, as opposed to the statement.
pub(super) fn is_outage(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|db| {
        let code = db.code().code();
        ["57P", "08", "53"]
            .iter()
            .any(|class| code.starts_with(class))
    })
}

/// Message, detail and hint. Never the context: it may quote parameters.
pub(super) fn describe(db: &DbError) -> String {
    let mut error_text = db.message().to_owned();
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        error_text.push_str(": ");
        error_text.push_str(more);
    }
    if let Some(constraint) = db.constraint()
        && !error_text.contains(constraint)
    {
        error_text.push_str(&format!(" (constraint {constraint})"));
    }
    if error_text.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES)
            .rev()
            .find(|&at| error_text.is_char_boundary(at));
        error_text.truncate(end.unwrap_or(0));
        error_text.push('…');
    }
    error_text
}

/// The whole source chain of a driver error.
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", describe(db), db.code().code());
    }
    let mut error_text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        error_text.push_str(&format!(": {error}"));
        source = error.source();
    }
    error_text
}
