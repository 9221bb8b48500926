//! SQL in the task's transaction.
//!
//! The first statement opens the transaction, as the role that the operator
//! configures. It is committed together with the task's success, its result and
//! its child tasks, or rolled back with all of them: a handler's writes take effect
//! exactly once, even if a runner or the server crashes. If a statement fails, the
//! transaction is aborted and the attempt cannot succeed; for expected conflicts
//! write `ON CONFLICT`.
//!
//! ```
//! use pgtq_sdk::prelude::*;
//! use pgtq_sdk::sql::Rows;
//!
//! #[handler(needs(sql))]
//! fn total(ctx: &Ctx, customer: i64) -> Result<i64> {
//!     let row = ctx.sql().query_one(
//!         "SELECT coalesce(sum(amount), 0)::int8 AS total FROM orders WHERE customer = $1",
//!         (customer,),
//!     )?;
//!     row.get("total")
//! }
//!
//! let ctx = Ctx::test().on_sql("FROM orders", |_| Ok(Rows::of(["total"], [(90,)])));
//! assert_eq!(ctx.run("total", [7]), Ok(json!(90)));
//! ```

mod params;
pub(crate) mod rows;

use serde::Serialize;

pub use params::Params;
pub use rows::{ColumnName, Row, Rows};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::json;

/// The task's transaction. Returned by [`Ctx::sql`](crate::Ctx::sql).
#[derive(Debug, Clone)]
pub struct Sql {
    host: Host,
}

impl Sql {
    pub(crate) fn new(host: Host) -> Self {
        Sql { host }
    }

    /// Runs one statement and returns its rows. `$1`, `$2`, ... refer to the
    /// parameters: a tuple, an array, a slice or a `Vec`, `()` for none.
    ///
    /// # Errors
    /// With one of these codes:
    ///
    /// * `sql:` and a SQLSTATE, as in `sql:23505`: the database rejects the
    ///   statement;
    /// * `denied`: the handler does not declare `needs(sql)`, or no role is granted;
    /// * `limit`: too many rows or bytes;
    /// * `timeout`, `unavailable`: the database does not respond;
    /// * `lost`: the task belongs to another attempt, and nothing was committed;
    /// * `json`: a parameter cannot be written as JSON.
    pub fn query(&self, statement: &str, params: impl Params) -> Result<Rows> {
        let params = params.into_json()?;
        self.host.with_notes(|notes| notes.statements += 1);
        self.host.sql(statement, &params)
    }

    /// Runs one statement and returns the number of affected rows.
    ///
    /// # Errors
    /// As [`Sql::query`].
    pub fn execute(&self, statement: &str, params: impl Params) -> Result<u64> {
        Ok(self.query(statement, params)?.affected())
    }

    /// Runs one statement that returns exactly one row.
    ///
    /// # Errors
    /// As [`Sql::query`], and code `rows` if the number of rows is not one.
    pub fn query_one(&self, statement: &str, params: impl Params) -> Result<Row> {
        let row = self.query_opt(statement, params)?;
        row.ok_or_else(|| count(0, "exactly one"))
    }

    /// Runs one statement that returns at most one row.
    ///
    /// # Errors
    /// As [`Sql::query`], and code `rows` if it returns more than one row.
    pub fn query_opt(&self, statement: &str, params: impl Params) -> Result<Option<Row>> {
        let rows = self.query(statement, params)?;
        match rows.len() {
            0 | 1 => Ok(rows.into_iter().next()),
            several => Err(count(several, "at most one")),
        }
    }

    /// Saves the task's state and commits it together with all SQL so far. The
    /// next statement opens a new transaction. A later attempt reads the state
    /// with [`State::load`](crate::State::load) and continues from there.
    ///
    /// # Errors
    /// As [`Sql::query`], and code `limit` if the state would exceed its limit
    /// (1 MiB by default).
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
        "the statement returned {found} rows, expected {wanted}"
    ))
    .code("rows")
}
