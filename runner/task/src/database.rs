//! The interface through which an attempt uses the database: SQL in the task's transaction, and
//! the task's saved state. The engine implements it on the store; `pgtq call` and tests
//! implement it in memory.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use crate::grant::SqlGrant;
use crate::limits::Limits;

/// The error that a failed host call returns to the guest: a value, never a trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestError {
    /// A code for programs: `denied`, `limit`, `timeout`, `unavailable`, `lost`, `invalid`, or a
    /// SQLSTATE with the prefix `sql:`.
    pub code: String,
    /// For humans: what happened and, where there is one, the next step.
    pub message: String,
}

impl GuestError {
    /// A problem with this code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        GuestError {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// The return type of [`Database`].
pub type DatabaseFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, GuestError>> + Send + 'a>>;

/// Database access of one attempt. Every write is fenced by the attempt's claim. All futures may
/// be dropped at any time; a transaction whose future was dropped can only be rolled back.
pub trait Database: Debug + Send + Sync {
    /// Runs one statement in the attempt's transaction, which the first call
    /// opens. `params` is a JSON array; the answer is the JSON object of the
    /// contract's `sql.run`.
    fn sql<'a>(
        &'a self,
        grant: &'a SqlGrant,
        limits: &'a Limits,
        statement: &'a str,
        params: &'a str,
    ) -> DatabaseFuture<'a, String>;

    /// Saves the state named `""` and commits it together with all previous SQL. The next
    /// statement opens a new transaction.
    fn checkpoint<'a>(&'a self, limits: &'a Limits, value: &'a str) -> DatabaseFuture<'a, ()>;

    /// A saved value of this task, by name.
    fn load<'a>(&'a self, name: &'a str) -> DatabaseFuture<'a, Option<String>>;

    /// Saves a value for later attempts of this task: in the open transaction if `with_sql` and
    /// there is one, otherwise at once.
    fn save<'a>(
        &'a self,
        limits: &'a Limits,
        name: &'a str,
        value: &'a str,
        with_sql: bool,
    ) -> DatabaseFuture<'a, ()>;
}

/// No database: for `describe`, and for tests that need none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDatabase;

impl NoDatabase {
    fn none<T: Send + 'static>() -> DatabaseFuture<'static, T> {
        let problem = GuestError::new("unavailable", "no database is available here");
        Box::pin(std::future::ready(Err(problem)))
    }
}

impl Database for NoDatabase {
    fn sql<'a>(
        &'a self,
        _: &'a SqlGrant,
        _: &'a Limits,
        _: &'a str,
        _: &'a str,
    ) -> DatabaseFuture<'a, String> {
        NoDatabase::none()
    }

    fn checkpoint<'a>(&'a self, _: &'a Limits, _: &'a str) -> DatabaseFuture<'a, ()> {
        NoDatabase::none()
    }

    fn load<'a>(&'a self, _: &'a str) -> DatabaseFuture<'a, Option<String>> {
        NoDatabase::none()
    }

    fn save<'a>(
        &'a self,
        _: &'a Limits,
        _: &'a str,
        _: &'a str,
        _: bool,
    ) -> DatabaseFuture<'a, ()> {
        NoDatabase::none()
    }
}
