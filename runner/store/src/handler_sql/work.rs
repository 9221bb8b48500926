//! A handler's transaction, from its first statement to its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio_postgres::types::{ToSql, Type};

use crate::connect::config::Schema;
use crate::connect::connection::Store;
use crate::handler_sql::pool::Pool;
use crate::handler_sql::session::{HandlerSession, error_text, typed};
use crate::handler_sql::trouble::{Trouble, describe, is_outage, timeout};
use crate::sql::columns::List;
use crate::sql::outcomes::Outcomes;
use crate::sql::{Sql, sql};
use crate::verbs::outcome_record::OutcomeRecord;
use crate::verbs::push::PushColumns;
use pgtq_task::{ErrorKind, Failure, GuestError, Limits, RunnerId, SqlGrant};

/// Time limit for ending a transaction; the server's own limit is a little shorter.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
/// Time limit for opening a transaction.
const BEGIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait, after the statement's own timeout, for the server to report it.
const GRACE: Duration = Duration::from_millis(250);
/// `idle_in_transaction_session_timeout` of a handler's transaction: a runner that hangs loses
/// its lease, and its locks must be free by then. While the lease is held, the runner sends an
/// empty query now and then (see [`HeldConnection::keep_alive`]).
const MAX_IDLE: Duration = Store::LEASE;

/// Precedes every statement of ours that carries the ticket, to keep it out of the server's log.
const QUIET: &str = include_str!("../sql/attempt_quiet.sql");

/// The result of ending an attempt's transaction.
#[derive(Debug)]
pub enum Commit {
    /// There was no transaction: the outcome is stored the usual way.
    Nothing,
    /// Committed, with the outcome, its result and its children.
    Recorded,
    /// The claim is gone, and with it everything of this attempt.
    Stale,
    /// Rolled back: the database rejected it, or did not answer in time, before the commit was
    /// sent.
    Refused(Failure),
    /// Rolled back: another transaction holds a lock that the outcome needs, such as the key of
    /// a child.
    Locked(String),
    /// Rolled back: the connection was closed before the commit was sent, by the database or by
    /// the handler.
    Lost,
    /// The commit was sent and its answer was lost: query its [`CommitStatus`].
    Unknown,
}

/// The result of a commit that got no answer, according to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitStatus {
    /// It was committed.
    Committed,
    /// It was rolled back, and the claim still exists.
    RolledBack,
    /// It was rolled back, and the claim no longer exists.
    ClaimLost,
}

/// Why the statement that ends a transaction failed.
pub(super) enum Settle {
    Stale,
    Refused(String),
    Locked(String),
    Lost(String),
    Unknown,
}

/// A connection held by an attempt.
pub(super) struct HeldConnection {
    session: HandlerSession,
    pool: Arc<Pool>,
    /// A transaction is open.
    pub(super) begun: bool,
}

impl HeldConnection {
    pub(super) async fn take(pool: Arc<Pool>, patience: Duration) -> Result<Self, GuestError> {
        let session = pool.take(patience).await?;
        Ok(HeldConnection {
            session,
            pool,
            begun: false,
        })
    }

    /// Opens a transaction. On error, none is open.
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
        begun.map_err(error_text)?;
        self.begun = true;
        Ok(())
    }

    /// Resets the idle timeout. An error is left to the next statement.
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
        // The server's own timeout should come first: then the connection survives. It is only a
        // help, since any statement can change it.
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
                Some(db) if !is_outage(&error) => Err(Trouble::Failed(GuestError::new(
                    format!("sql:{}", db.code().code()),
                    describe(db),
                ))),
                _ => Err(Trouble::Broken(GuestError::new(
                    "unavailable",
                    format!(
                        "the connection to the database was lost: {}",
                        error_text(Some(error))
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
        // Done here, while the transaction still holds its server connection behind a pooler.
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

    /// Ends the task with this outcome.
    pub(super) async fn complete(
        &mut self,
        schema: &Schema,
        ticket: &[u8],
        runner: i64,
        ending: &OutcomeRecord,
    ) -> Result<(), Settle> {
        let endings = [ending];
        let outcomes = Outcomes::new(&endings);
        let children = PushColumns::new(&ending.record.children);
        let params = success(&runner, &ticket, &outcomes, &children);
        self.settle(schema, sql!("attempt_complete"), &params).await
    }

    /// Rolls back the open transaction in the background and returns the connection.
    pub(super) fn release(self) {
        self.pool.release(self.session);
    }

    /// Whether the next transaction may be on another server connection.
    pub(super) fn is_pooled(&self) -> bool {
        self.pool.is_pooled()
    }
}

/// Classifies an error of the statement that stores the outcome, which has a short lock timeout.
fn of_outcome(error: Option<tokio_postgres::Error>) -> Settle {
    let code = error.as_ref().and_then(tokio_postgres::Error::code);
    match code.is_some_and(|code| code.code() == "55P03") {
        true => Settle::Locked(error_text(error)),
        false => before_commit(error),
    }
}

fn before_commit(error: Option<tokio_postgres::Error>) -> Settle {
    match error {
        Some(error) if is_outage(&error) => Settle::Lost(error_text(Some(error))),
        // Most likely triggers that never return. If the network is down, the lease is lost,
        // too.
        other => Settle::Refused(error_text(other)),
    }
}

impl Settle {
    /// Converts it to the result of the attempt.
    pub(super) fn into_commit(self) -> Commit {
        match self {
            Settle::Stale => Commit::Stale,
            Settle::Lost(why) => {
                tracing::warn!(
                    why,
                    "the connection to the database was lost before a handler's SQL was committed"
                );
                Commit::Lost
            }
            Settle::Unknown => Commit::Unknown,
            Settle::Locked(why) => Commit::Locked(why),
            Settle::Refused(why) => Commit::Refused(Failure::new(
                ErrorKind::Sql,
                format!("its SQL could not be committed and was rolled back: {why}"),
            )),
        }
    }
}

/// The parameters of `attempt_complete.sql`: a success has no error.
pub(crate) fn success<'a>(
    runner: &'a i64,
    ticket: &'a &[u8],
    outcomes: &'a Outcomes<'_>,
    children: &'a PushColumns<'_>,
) -> Vec<&'a (dyn ToSql + Sync)> {
    let mut params: Vec<&(dyn ToSql + Sync)> =
        vec![runner, ticket, &outcomes.claim_id, &outcomes.id];
    params.extend(children.params());
    params.extend(List::Success.bind(outcomes));
    params
}
