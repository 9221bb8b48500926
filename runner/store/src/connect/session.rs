//! One connection and its current user: statements, transactions, and whether it may be reused.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use crate::connect::config::{DatabaseConfig, Schema};
use crate::connect::error::{StoreError, classify};
use crate::connect::settings;
use crate::sql::Sql;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

pub(crate) struct Session {
    pub(crate) client: Client,
    /// Prepared statements by name; `None` behind a pooler, which may use a different server
    /// connection for each transaction.
    pub(crate) statements: Option<HashMap<&'static str, Statement>>,
    pub(crate) config: DatabaseConfig,
    /// When it was last returned.
    pub(crate) used: Instant,
}

/// A session, exclusively for one verb.
pub(crate) struct Lease<'a> {
    slot: MutexGuard<'a, Option<Session>>,
    session: Option<Session>,
    /// No statement is running.
    clean: bool,
    /// A transaction is open.
    open: bool,
    schema: &'a str,
    patience: Duration,
    verb: &'static str,
    /// SQLSTATE of the last statement, if it failed.
    code: Option<String>,
}

impl<'a> Lease<'a> {
    /// `slot` is where the session is returned to.
    pub(crate) fn new(
        slot: MutexGuard<'a, Option<Session>>,
        session: Session,
        schema: &'a str,
        patience: Duration,
        verb: &'static str,
    ) -> Self {
        Lease {
            slot,
            session: Some(session),
            clean: true,
            open: false,
            schema,
            patience,
            verb,
            code: None,
        }
    }
}

impl Lease<'_> {
    /// Runs a statement of `sql/`.
    pub(crate) async fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let session = self.session.as_mut().expect("taken only by drop");
        self.clean = false;
        let statement = async {
            match self.open {
                true => session.query(sql, params).await,
                false => session.query_alone(sql, params, self.patience).await,
            }
        };
        let outcome = tokio::time::timeout(self.patience, statement).await;
        self.settle(outcome)
    }

    /// Opens a transaction and runs its first statement, in one round trip.
    /// Dropping the lease before [`Lease::commit`] rolls back.
    pub(crate) async fn begin_with(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let session = self.session.as_mut().expect("taken only by drop");
        self.clean = false;
        self.open = true;
        let outcome = tokio::time::timeout(
            self.patience,
            session.begin_with(sql, params, self.patience),
        )
        .await;
        self.settle(outcome)
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Marks the session as unusable: the next verb of its role gets a new connection.
    pub(crate) fn close(&mut self) {
        self.clean = false;
    }

    /// A transaction is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the session keeps its settings: false behind a pooler.
    pub(crate) fn keeps_settings(&self) -> bool {
        self.may_copy()
    }

    /// Whether [`Lease::copy`] works: false behind a pooler, where statements have no names.
    pub(crate) fn may_copy(&self) -> bool {
        let session = self.session.as_ref().expect("taken only by drop");
        session.statements.is_some()
    }

    /// Sends rows to a `COPY … FROM STDIN (FORMAT binary)`.
    pub(crate) async fn copy<'r, R>(
        &mut self,
        sql: &Sql,
        types: &[Type],
        rows: R,
    ) -> Result<(), StoreError>
    where
        R: Iterator<Item = Vec<&'r (dyn ToSql + Sync)>>,
    {
        let session = self.session.as_mut().expect("taken only by drop");
        self.clean = false;
        let outcome = tokio::time::timeout(self.patience, session.copy(sql, types, rows)).await;
        self.settle(outcome)
    }

    /// Runs SQL text without parameters.
    pub(crate) async fn batch(&mut self, text: &str) -> Result<(), StoreError> {
        let session = self.session.as_mut().expect("taken only by drop");
        self.clean = false;
        let outcome = tokio::time::timeout(self.patience, session.client.batch_execute(text)).await;
        self.settle(outcome)
    }

    /// As [`Lease::batch`], for a statement outside a transaction, with its own time limit.
    pub(crate) async fn batch_for(
        &mut self,
        text: &str,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let usual = std::mem::replace(&mut self.patience, patience);
        let (long, short) = (within(patience), within(usual));
        self.batch(&format!("SET statement_timeout = '{long}ms'"))
            .await?;
        let done = self.batch(text).await;
        self.patience = usual;
        let reset = self
            .batch(&format!("SET statement_timeout = '{short}ms'"))
            .await;
        done.and(reset)
    }

    /// Opens a transaction. Dropping the lease before [`Lease::commit`] rolls back.
    pub(crate) async fn begin(&mut self) -> Result<(), StoreError> {
        self.open = true;
        let begin = self.begin_text(self.patience);
        self.batch(&begin).await
    }

    /// Opens a transaction with this lock timeout.
    pub(crate) async fn begin_waiting(&mut self, lock_wait: Duration) -> Result<(), StoreError> {
        self.open = true;
        let lock_ms = lock_wait.as_millis();
        let begin = self.begin_text(self.patience);
        let text = format!("{begin}; SET LOCAL lock_timeout = '{lock_ms}ms'");
        self.batch(&text).await
    }

    /// Opens a transaction with this timeout for each statement.
    pub(crate) async fn begin_for(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.patience = patience;
        self.open = true;
        let timeout = within(patience);
        let begin = self.begin_text(patience);
        let text = format!("{begin}; SET LOCAL statement_timeout = '{timeout}ms'");
        self.batch(&text).await
    }

    /// Runs a statement in its own transaction, which is `READ COMMITTED` regardless of the
    /// database's default.
    pub(crate) async fn query_alone(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.begin_with(sql, params).await?;
        self.commit().await?;
        Ok(rows)
    }

    fn begin_text(&self, patience: Duration) -> String {
        let session = self.session.as_ref().expect("taken only by drop");
        session.begin_text(patience)
    }

    /// Commits. After an error it is unknown whether the transaction was committed.
    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        self.batch("COMMIT").await?;
        self.open = false;
        Ok(())
    }

    /// Rolls back, to keep the connection after a rejected statement.
    pub(crate) async fn rollback(&mut self) -> Result<(), StoreError> {
        self.batch("ROLLBACK").await?;
        self.open = false;
        Ok(())
    }

    fn settle<T>(
        &mut self,
        outcome: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        self.code = None;
        match outcome {
            Ok(Ok(value)) => {
                self.clean = true;
                Ok(value)
            }
            Ok(Err(error)) => {
                self.clean = error
                    .as_db_error()
                    .is_some_and(|db| is_reusable_after(db.code().code()));
                self.code = error.code().map(|code| code.code().to_owned());
                Err(classify(self.verb, self.schema, &error))
            }
            Err(_) => Err(StoreError::Transient {
                verb: self.verb,
                message: format!("no answer within {:?}", self.patience),
                hint: None,
            }),
        }
    }
}

/// The server's statement timeout in milliseconds, for this client-side limit. The server times
/// out first: an abandoned statement that still waits there could take effect after its
/// repetition did.
pub(crate) fn within(patience: Duration) -> u128 {
    patience.as_millis() * 9 / 10
}

/// Whether a session is usable after this error. It is not if the server closes the connection
/// after it, or has become read-only, so that another server is the primary, or if prepared
/// statements are those of an older schema or are gone.
fn is_reusable_after(code: &str) -> bool {
    let hangs_up = code.starts_with("57P") || code.starts_with("08") || code == "25P03";
    !hangs_up && !["25006", "0A000", "26000"].contains(&code)
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.clean && !self.open {
            *self.slot = self.session.take();
            if let Some(session) = self.slot.as_mut() {
                session.used = Instant::now();
            }
        }
    }
}

impl Session {
    pub(crate) async fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let schema = &self.config.schema;
        let Some(statements) = &mut self.statements else {
            let typed: Vec<_> = params.iter().copied().zip(sql.types()).collect();
            return self
                .client
                .query_typed(&schema.render(&sql.text), &typed)
                .await;
        };
        let statement = prepared(&self.client, statements, schema, sql).await?;
        self.client.query(&statement, params).await
    }

    /// A statement outside a transaction. Behind a pooler, where sessions do not keep pgtq's
    /// settings, it gets a transaction that has them, in one round trip.
    pub(crate) async fn query_alone(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        patience: Duration,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        if self.statements.is_some() {
            return self.query(sql, params).await;
        }
        let begin = self.begin_text(patience);
        let text = self.config.schema.render(&sql.text);
        let typed: Vec<_> = params.iter().copied().zip(sql.types()).collect();
        // Sent in this order; after an error the last one rolls back.
        let (began, rows, ended) = tokio::join!(
            biased;
            self.client.batch_execute(&begin),
            self.client.query_typed(&text, &typed),
            self.client.batch_execute("COMMIT")
        );
        began?;
        let rows = rows?;
        ended.map(|()| rows)
    }

    /// The statement that opens a transaction: behind a pooler it includes pgtq's settings.
    fn begin_text(&self, patience: Duration) -> String {
        match self.statements {
            Some(_) => BEGIN.to_owned(),
            None => format!("{BEGIN}; {}", settings::for_transaction(within(patience))),
        }
    }

    async fn begin_with(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        patience: Duration,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let schema = &self.config.schema;
        let Some(statements) = &mut self.statements else {
            let begin = self.begin_text(patience);
            self.client.batch_execute(&begin).await?;
            return self.query(sql, params).await;
        };
        let statement = prepared(&self.client, statements, schema, sql).await?;
        // The future that is polled first is sent first; neither waits for the other's answer.
        let begin = self.client.batch_execute(BEGIN);
        let first = self.client.query(&statement, params);
        let (began, rows) = tokio::join!(biased; begin, first);
        began.and(rows)
    }

    async fn copy<'r, R>(
        &mut self,
        sql: &Sql,
        types: &[Type],
        rows: R,
    ) -> Result<(), tokio_postgres::Error>
    where
        R: Iterator<Item = Vec<&'r (dyn ToSql + Sync)>>,
    {
        let schema = &self.config.schema;
        let statements = self.statements.as_mut().expect("may_copy is true");
        let statement = prepared(&self.client, statements, schema, sql).await?;
        let sink = self.client.copy_in(&statement).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, types));
        for row in rows {
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await.map(drop)
    }
}

async fn prepared(
    client: &Client,
    statements: &mut HashMap<&'static str, Statement>,
    schema: &Schema,
    sql: &Sql,
) -> Result<Statement, tokio_postgres::Error> {
    if let Some(statement) = sql.name.and_then(|name| statements.get(name)) {
        return Ok(statement.clone());
    }
    let statement = client.prepare(&schema.render(&sql.text)).await?;
    if let Some(name) = sql.name {
        statements.insert(name, statement.clone());
    }
    Ok(statement)
}
