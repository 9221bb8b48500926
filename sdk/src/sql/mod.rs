//! SQL in the task's own transaction.
//!
//! The first statement opens it, under the role that the operator named. It is
//! committed together with the task's success, its result and its child tasks,
//! or rolled back with everything else: what a handler writes has happened
//! exactly once, whatever crashes when. A statement that fails dooms the
//! transaction: the attempt cannot succeed any more. Where a conflict is
//! expected, write `ON CONFLICT`.

mod params;
mod rows;

use serde::Serialize;

pub use params::Params;
pub use rows::{ColumnName, Row, Rows};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::json;

/// The task's transaction: `ctx.sql()`.
#[derive(Debug, Clone)]
pub struct Sql {
    host: Host,
}

impl Sql {
    pub(crate) fn new(host: Host) -> Self {
        Sql { host }
    }

    /// Runs one statement and returns its rows. `$1`, `$2`, ... stand for the
    /// parameters: a tuple, an array, a slice or a `Vec`, `()` for none.
    ///
    /// # Errors
    /// `sql:` and a SQLSTATE if the database refuses it, `denied` if the handler
    /// does not need `sql` or has no role, `limit` for too many rows or bytes,
    /// `timeout` and `unavailable`.
    pub fn query(&self, statement: &str, params: impl Params) -> Result<Rows> {
        let params = params.into_json()?;
        self.host.with_notes(|notes| notes.statements += 1);
        self.host.sql(statement, &params)
    }

    /// Runs one statement and returns how many rows it touched.
    ///
    /// # Errors
    /// As [`Sql::query`].
    pub fn execute(&self, statement: &str, params: impl Params) -> Result<u64> {
        Ok(self.query(statement, params)?.affected())
    }

    /// The only row of a statement's answer.
    ///
    /// # Errors
    /// As [`Sql::query`], and of code `rows` if there is not exactly one.
    pub fn query_one(&self, statement: &str, params: impl Params) -> Result<Row> {
        let row = self.query_opt(statement, params)?;
        row.ok_or_else(|| count(0, "exactly one"))
    }

    /// The only row of a statement's answer, if it has one.
    ///
    /// # Errors
    /// As [`Sql::query`], and of code `rows` if there are several.
    pub fn query_opt(&self, statement: &str, params: impl Params) -> Result<Option<Row>> {
        let rows = self.query(statement, params)?;
        match rows.len() {
            0 | 1 => Ok(rows.into_iter().next()),
            several => Err(count(several, "at most one")),
        }
    }

    /// Saves the task's state and commits it together with all SQL so far; the
    /// next statement opens a new transaction. A later attempt continues from
    /// here: [`State::load`](crate::State::load).
    ///
    /// # Errors
    /// As [`Sql::query`]. After an error of code `lost` the task belongs to
    /// another attempt, and nothing was committed.
    pub fn checkpoint<T: Serialize + ?Sized>(&self, state: &T) -> Result<()> {
        let state = json::text(state).map_err(|fault| fault.about("the state"))?;
        self.host.checkpoint(&state)?;
        self.host
            .with_notes(|notes| notes.committed = notes.statements);
        Ok(())
    }
}

fn count(found: usize, wanted: &str) -> Error {
    Error::new(format!(
        "the statement answered {found} rows, {wanted} was expected"
    ))
    .code("rows")
}
