//! A handler's transaction, from its first statement to its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio_postgres::types::{ToSql, Type};

use super::pool::Pool;
use super::session::{Session, told, typed};
use super::trouble::{Trouble, describe, is_outage, timeout};
use crate::sql::{Sql, sql};
use crate::{Ending, Schema, Store};
use pgtq_task::{ErrorKind, Failure, Limits, Problem, RunnerId, SqlGrant};

/// Time for what ends a transaction; the server gives up a little earlier.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
/// Time for opening a transaction.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);
/// How much longer than the statement's own timeout we wait for the server to say so.
const GRACE: Duration = Duration::from_millis(250);
/// How long the server lets a handler's transaction stand idle: a runner that stands
/// still loses its lease, and others are to have its locks by then. While the lease is
/// held the runner asks for nothing now and then (see [`Work::keep_alive`]).
const MAX_IDLE: Duration = Store::LEASE;

/// Before every statement of ours that carries the ticket: nobody is to read it in
/// the server's log.
const QUIET: &str = include_str!("../sql/attempt_quiet.sql");

/// What became of an attempt's transaction at its end.
#[derive(Debug)]
pub enum Commit {
    /// There was none: the outcome is stored as always.
    Nothing,
    /// Committed, with the outcome, its result and its children.
    Recorded,
    /// The claim is gone, and with it everything of this attempt.
    Stale,
    /// Rolled back: the database refused it, or did not answer in time, before the
    /// commit was sent.
    Refused(Failure),
    /// Rolled back: somebody else's transaction holds a lock that the outcome needs, such
    /// as the key of a child.
    Locked(String),
    /// Rolled back: the connection was gone before the commit was sent, by the
    /// database's doing or by the handler's.
    Lost,
    /// The commit was sent and its answer lost: ask for its [`CommitStatus`].
    Unknown,
}

/// What the database says about an attempt whose commit got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitStatus {
    /// It was committed.
    Committed,
    /// It was rolled back, and the claim still exists.
    RolledBack,
    /// It was rolled back, and the claim no longer exists.
    ClaimLost,
}

/// Why the statement that ends a transaction did not end it.
pub(super) enum Settle {
    Stale,
    Refused(String),
    Locked(String),
    Lost(String),
    Unknown,
}

/// A connection that an attempt holds.
pub(super) struct Work {
    session: Session,
    pool: Arc<Pool>,
    /// A transaction is open.
    pub(super) begun: bool,
}

impl Work {
    pub(super) async fn take(pool: Arc<Pool>, patience: Duration) -> Result<Self, Problem> {
        let session = pool.take(patience).await?;
        Ok(Work {
            session,
            pool,
            begun: false,
        })
    }

    /// Opens a transaction. An error leaves nothing behind.
    pub(super) async fn begin(
        &mut self,
        runner: RunnerId,
        schema: &Schema,
        grant: &SqlGrant,
        left: Duration,
    ) -> Result<(), String> {
        let statement = grant
            .statement_timeout
            .as_millis()
            .clamp(1, i32::MAX as u128);
        let mut text = include_str!("../sql/attempt_begin.sql")
            .replace("{{statement_ms}}", &statement.to_string())
            .replace("{{idle_ms}}", &MAX_IDLE.as_millis().to_string())
            .replace("{{runner}}", &runner.0.to_string());
        text = schema.render(&text);
        if self.is_pooled() {
            text = format!("{text};\n{}", include_str!("../sql/attempt_forget.sql"));
        }
        let begun = self.session.batch(&text, BEGIN_PATIENCE.min(left)).await;
        begun.map_err(told)?;
        self.begun = true;
        Ok(())
    }

    /// Tells the server that somebody is there. An error is left to the next statement.
    pub(super) async fn keep_alive(&mut self) {
        if self.begun {
            self.session.batch("", BEGIN_PATIENCE).await.ok();
        }
    }

    /// Runs one statement of the handler.
    pub(super) async fn run(
        &mut self,
        statement: &str,
        values: &[&RawValue],
        limits: &Limits,
        grant: &SqlGrant,
        left: Duration,
    ) -> Result<String, Trouble> {
        // The server's own timeout comes first: then the connection lives. It is
        // no more than a help, since any statement can change it.
        let patience = (grant.statement_timeout + GRACE).min(left);
        self.session.run(statement, values, limits, patience).await
    }

    /// Saves a value in the transaction. `Ok(false)`: the claim is gone.
    pub(super) async fn save(
        &mut self,
        schema: &Schema,
        params: [&(dyn ToSql + Sync); 6],
        left: Duration,
    ) -> Result<bool, Trouble> {
        let text = schema.render(&sql!("attempt_save").text);
        let types = [
            Type::BYTEA,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::TEXT,
            Type::TEXT,
        ];
        let params: Vec<_> = params.into_iter().zip(types).collect();
        let row = match self.session.batch(QUIET, left).await {
            Ok(()) => self.session.one(&text, &params, left).await,
            Err(error) => Err(error),
        };
        match row {
            Ok(row) => Ok(row.get("held")),
            Err(None) => Err(Trouble::Broken(timeout(left))),
            Err(Some(error)) => match error.as_db_error() {
                Some(db) if !is_outage(&error) => Err(Trouble::Failed(Problem::new(
                    format!("sql:{}", db.code().code()),
                    describe(db),
                ))),
                _ => Err(Trouble::Broken(Problem::new(
                    "unavailable",
                    format!(
                        "the connection to the database was lost: {}",
                        told(Some(error))
                    ),
                ))),
            },
        }
    }

    /// Runs the statement that ends the transaction, and commits.
    pub(super) async fn settle(
        &mut self,
        schema: &Schema,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<(), Settle> {
        // Now, while the transaction still keeps its connection behind a pooler.
        self.session.forget_prepared();
        let prepare = [include_str!("../sql/attempt_settle.sql"), QUIET].concat();
        let prepared = self.session.batch(&prepare, SETTLE_PATIENCE).await;
        prepared.map_err(before_commit)?;
        let text = schema.render(&sql.text);
        let params = typed(sql, params);
        let row = self.session.one(&text, &params, SETTLE_PATIENCE).await;
        if !row.map_err(of_outcome)?.get::<_, bool>("held") {
            return Err(Settle::Stale);
        }
        match self.session.batch("COMMIT", SETTLE_PATIENCE).await {
            Ok(()) => {
                self.begun = false;
                Ok(())
            }
            Err(Some(error)) if !is_outage(&error) => Err(before_commit(Some(error))),
            Err(_) => Err(Settle::Unknown),
        }
    }

    /// Ends the task with this ending.
    pub(super) async fn complete(
        &mut self,
        schema: &Schema,
        ticket: &[u8],
        runner: i64,
        ending: &Ending,
    ) -> Result<(), Settle> {
        let endings = [ending];
        let columns = crate::columns::FinalColumns::new(&endings);
        let children = crate::push::PushColumns::new(&ending.record.children);
        let mut params = columns.success(&runner);
        params.push(&ticket);
        params.extend(children.params());
        self.settle(schema, sql!("attempt_complete"), &params).await
    }

    /// Rolls back what is open, in the background, and frees the connection.
    pub(super) fn give_back(self) {
        self.pool.give_back(self.session);
    }

    /// Whether the next transaction may be on another server connection.
    pub(super) fn is_pooled(&self) -> bool {
        self.pool.is_pooled()
    }
}

/// Of the statement that stores the outcome, which waits for no lock for long.
fn of_outcome(error: Option<tokio_postgres::Error>) -> Settle {
    let code = error.as_ref().and_then(tokio_postgres::Error::code);
    match code.is_some_and(|code| code.code() == "55P03") {
        true => Settle::Locked(told(error)),
        false => before_commit(error),
    }
}

fn before_commit(error: Option<tokio_postgres::Error>) -> Settle {
    match error {
        Some(error) if is_outage(&error) => Settle::Lost(told(Some(error))),
        // Triggers that never end, most likely. If the network is gone, the lease is, too.
        other => Settle::Refused(told(other)),
    }
}

impl Settle {
    /// As the end of an attempt.
    pub(super) fn into_commit(self) -> Commit {
        match self {
            Settle::Stale => Commit::Stale,
            Settle::Lost(why) => {
                tracing::warn!(
                    why,
                    "the database went away before a handler's SQL was committed"
                );
                Commit::Lost
            }
            Settle::Unknown => Commit::Unknown,
            Settle::Locked(why) => Commit::Locked(why),
            Settle::Refused(why) => Commit::Refused(Failure::new(
                ErrorKind::Sql,
                format!("its SQL could not be committed, and nothing of it was: {why}"),
            )),
        }
    }
}
