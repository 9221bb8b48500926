//! One connection for handlers' SQL: logged in, checked, with limits on time and bytes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use crate::handler_sql::dialer::{Dialer, OWN_BYTES};
use crate::handler_sql::statement::may_make_a_table;
use crate::handler_sql::stop::CancellableConnection;
use crate::handler_sql::trouble::{Trouble, text};
use crate::handler_sql::{answer, params};
use crate::sql::{Sql, sql};
use pgtq_task::{GuestError, Limits, SqlGrant};

/// Time limit for a cheap statement of pgtq's own.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of composite types that a role may own and whose columns have types of other
/// tables. The driver reads a row type by reading the types of its columns, recursively, and
/// `SELECT INTO` can nest them. Each takes two levels if an array is between, and a level takes
/// 1.4 KiB of the 1.5 MiB of stack that a guest leaves.
const MAX_NESTED: i64 = 200;
/// Statements between two counts of these types, if none of them could create a table.
const LOOK_EVERY: u32 = 100;
/// Statements kept prepared within one transaction.
const MAX_PREPARED: usize = 100;
/// Bytes allowed for messages around the rows: row descriptions, command completion.
const AROUND_BYTES: u64 = 64 << 10;
/// A connection older than this is not reused for another attempt, so that changes of the role's
/// privileges take effect.
const MAX_AGE: Duration = Duration::from_secs(600);

/// A connection. Dropping it cancels a running statement and then closes the connection; its
/// permit is released when both are done.
pub(super) struct HandlerSession {
    line: Option<CancellableConnection>,
    prepared: HashMap<String, Statement>,
    /// A statement is running; the connection is unusable if it was abandoned.
    busy: bool,
    opened: Instant,
    /// Number of statements prepared, to know when to count the role's types.
    n_prepared: u32,
    /// The permit for one of the grant's connections, while an attempt holds it.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl HandlerSession {
    /// Logs in and checks that the role is suitable for handlers' SQL.
    pub(super) async fn open(dialer: &Dialer, grant: &SqlGrant) -> Result<Self, GuestError> {
        let line = dialer.connect(grant).await?;
        let mut session = HandlerSession {
            line: Some(line),
            prepared: HashMap::new(),
            busy: false,
            opened: Instant::now(),
            n_prepared: 0,
            permit: None,
        };
        let schema = &dialer.config.schema;
        let question = sql!("attempt_role");
        let trouble: Option<String> = session
            .ask(
                &schema.render(&question.text),
                &[(&grant.role, Type::TEXT), (&schema.as_str(), Type::TEXT)],
            )
            .await
            .map_err(|error| GuestError::new("unavailable", error))?
            .get("trouble");
        match trouble {
            None => Ok(session),
            Some(trouble) => {
                let role = &grant.role;
                tracing::warn!(role, trouble, "this role is not suitable for handlers' SQL");
                Err(GuestError::new(
                    "denied",
                    format!("handlers' SQL cannot run as the role {role}: {trouble}"),
                ))
            }
        }
    }

    /// Whether another attempt may use it.
    pub(super) fn is_fit(&self) -> bool {
        let alive = self
            .line
            .as_ref()
            .is_some_and(|line| !line.client.is_closed());
        alive && !self.busy && self.opened.elapsed() < MAX_AGE
    }

    /// Drops the prepared statements, which also deallocates them on the server.
    pub(super) fn forget_prepared(&mut self) {
        self.prepared.clear();
    }

    /// Runs pgtq's own statements, without parameters.
    pub(super) async fn batch(
        &mut self,
        text: &str,
        patience: Duration,
    ) -> Result<(), Option<tokio_postgres::Error>> {
        let line = line(&mut self.line)?;
        line.budget.allow(OWN_BYTES);
        self.busy = true;
        let result = tokio::time::timeout(patience, line.client.batch_execute(text)).await;
        self.settle(result)
    }

    /// Runs one of pgtq's own statements and returns its only row.
    pub(super) async fn one(
        &mut self,
        text: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
        patience: Duration,
    ) -> Result<Row, Option<tokio_postgres::Error>> {
        let line = line(&mut self.line)?;
        line.budget.allow(OWN_BYTES);
        self.busy = true;
        let asking = line.client.query_typed(text, params);
        let result = tokio::time::timeout(patience, asking).await;
        self.settle(result)?.into_iter().next().ok_or(None)
    }

    async fn ask(
        &mut self,
        text: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Row, String> {
        self.one(text, params, PATIENCE).await.map_err(error_text)
    }

    /// Runs a statement of a handler.
    pub(super) async fn run(
        &mut self,
        statement: &str,
        values: &[&RawValue],
        limits: &Limits,
        patience: Duration,
    ) -> Result<String, Trouble> {
        self.busy = true;
        let result =
            match tokio::time::timeout(patience, self.answer(statement, values, limits)).await {
                Ok(result) => result,
                Err(_) => Err(Trouble::timeout(patience)),
            };
        self.busy = matches!(result, Err(Trouble::Broken(_)));
        result
    }

    /// Rejects a role that has nested types so deeply that reading them could crash the runner.
    /// Sessions that check at the same time may each add one more.
    async fn check_nested_types(&mut self) -> Result<(), Trouble> {
        let look = self.one(&sql!("attempt_nested").text, &[], PATIENCE).await;
        let row = look
            .map_err(|error| Trouble::Broken(GuestError::new("unavailable", error_text(error))))?;
        // The guest's statement runs next.
        self.busy = true;
        if row.get::<_, i64>("n_nested") <= MAX_NESTED {
            return Ok(());
        }
        Err(Trouble::Broken(GuestError::new(
            "denied",
            format!(
                "the role, with those that it is a member of, owns more than {MAX_NESTED} tables and types with columns of other tables' types; drop them or grant another role, and do not make such tables in handlers"
            ),
        )))
    }

    async fn answer(
        &mut self,
        statement: &str,
        values: &[&RawValue],
        limits: &Limits,
    ) -> Result<String, Trouble> {
        if !self.prepared.contains_key(statement) {
            if self.n_prepared.is_multiple_of(LOOK_EVERY) || may_make_a_table(statement) {
                self.check_nested_types().await?;
            }
            self.n_prepared += 1;
        }
        let line = self.line.as_ref().ok_or_else(gone)?;
        let budget = &line.budget;
        budget.allow(limits.sql_bytes.saturating_add(AROUND_BYTES));
        let sorted = |error| Trouble::of(&error, budget, limits.sql_bytes);
        let prepared = match self.prepared.get(statement) {
            Some(prepared) => prepared.clone(),
            None => {
                let prepared = line.client.prepare(statement).await.map_err(sorted)?;
                if self.prepared.len() >= MAX_PREPARED {
                    self.prepared.clear();
                }
                self.prepared.insert(statement.to_owned(), prepared.clone());
                prepared
            }
        };
        let params = params::convert(values, prepared.params()).map_err(Trouble::Harmless)?;
        answer::check(&prepared).map_err(Trouble::Harmless)?;
        let rows = line.client.query_raw(&prepared, params).await;
        answer::read(&prepared, rows.map_err(sorted)?, limits, budget).await
    }

    fn settle<T>(
        &mut self,
        result: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Option<tokio_postgres::Error>> {
        match result {
            Ok(result) => {
                self.busy = false;
                result.map_err(Some)
            }
            Err(_) => Err(None),
        }
    }
}

fn line(
    line: &mut Option<CancellableConnection>,
) -> Result<&CancellableConnection, Option<tokio_postgres::Error>> {
    line.as_ref().ok_or(None)
}

fn gone() -> Trouble {
    Trouble::Broken(GuestError::new("unavailable", "the connection is gone"))
}

/// The text for an error of pgtq's own statement; `None` means that no answer came in time.
pub(super) fn error_text(error: Option<tokio_postgres::Error>) -> String {
    error.map_or_else(|| "no answer in time".to_owned(), |error| text(&error))
}

/// The text of a statement of `sql`, with the types of its parameters.
pub(super) fn typed<'a>(
    sql: &Sql,
    params: &[&'a (dyn ToSql + Sync)],
) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    params.iter().copied().zip(sql.types()).collect()
}

impl Drop for HandlerSession {
    fn drop(&mut self) {
        let Some(line) = self.line.take() else { return };
        match tokio::runtime::Handle::try_current() {
            // The server notices a closed connection only at its next write: a statement that
            // sleeps or computes must be cancelled.
            Ok(runtime) if self.busy => {
                let permit = self.permit.take();
                runtime.spawn(async move {
                    line.stop().await;
                    drop(permit);
                });
            }
            _ => line.driver.abort(),
        }
    }
}
