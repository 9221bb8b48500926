//! The port through which an attempt reaches the database: SQL in the task's
//! transaction, and the task's saved state. The engine implements it on the
//! store; `pgtq call` and tests implement it in memory.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use super::{Limits, SqlGrant};

/// What a host call that did not work tells the guest: a value, never a trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A word for programs: `denied`, `limit`, `timeout`, `unavailable`,
    /// `lost`, `invalid`, or a SQLSTATE with `sql:` before it.
    pub code: String,
    /// For people: what happened and, where there is one, the next step.
    pub message: String,
}

impl Problem {
    /// A problem of this code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Problem {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// What the port's verbs return.
pub type DatabaseFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// One attempt's way to the database. Every verb is fenced by the attempt's
/// claim where it writes. All futures may be dropped at any time; a transaction
/// whose verb was dropped can only be rolled back.
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

    /// Saves the state called `""` and commits it together with everything that
    /// SQL did so far. The next statement opens a new transaction.
    fn checkpoint<'a>(&'a self, limits: &'a Limits, value: &'a str) -> DatabaseFuture<'a, ()>;

    /// A saved value of this task, by name.
    fn load<'a>(&'a self, name: &'a str) -> DatabaseFuture<'a, Option<String>>;

    /// Saves a value for later attempts of this task: in the open transaction
    /// if `with_sql` and there is one, else at once.
    fn save<'a>(
        &'a self,
        limits: &'a Limits,
        name: &'a str,
        value: &'a str,
        with_sql: bool,
    ) -> DatabaseFuture<'a, ()>;
}

/// No database: `describe`, and tests that need none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDatabase;

impl NoDatabase {
    fn none<T: Send + 'static>() -> DatabaseFuture<'static, T> {
        let problem = Problem::new("unavailable", "there is no database here");
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
