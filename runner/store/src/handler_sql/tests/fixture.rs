//! A running task whose handler may run SQL, with helpers for tests.

use std::sync::Arc;
use std::time::Duration;

use crate::connect::connection::Store;
use crate::handler_sql::database::AttemptDatabase;
use crate::testdb::*;
use crate::verbs::outcome_record::{FinishResult, OutcomeRecord};
use pgtq_task::{Database as _, GuestError, Limits, NewTask, SqlGrant};

/// One claimed task, a role for its SQL, and a table that the role may write.
pub(super) struct Fixture {
    pub(super) store: Store,
    pub(super) runner: TestRunner,
    pub(super) ending: OutcomeRecord,
    pub(super) database: Arc<AttemptDatabase>,
    pub(super) grant: SqlGrant,
    pub(super) limits: Limits,
    /// A connection of the owner, to inspect everything.
    pub(super) sql: tokio_postgres::Client,
    /// The schema of the role's own tables.
    pub(super) theirs: String,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let store = store().await;
        Fixture::on(store).await
    }

    pub(super) async fn on(store: Store) -> Self {
        let sql = psql(&store).await;
        let schema = store.config().schema.to_string();
        let (role, theirs) = (format!("{schema}_role"), format!("{schema}_app"));
        sql.batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; SELECT allow_sql('{role}');
             CREATE SCHEMA {theirs} AUTHORIZATION {role};
             CREATE TABLE {theirs}.rows (n bigint PRIMARY KEY, note text);
             ALTER TABLE {theirs}.rows OWNER TO {role};
             ALTER ROLE {role} SET search_path = {theirs}"
        ))
        .await
        .expect("a role is made");
        let mut runner = TestRunner::new(&store, &["a"]).await;
        store.push(&[new_task("a")]).await.expect("push");
        let ending = runner.claim(1).await.remove(0);
        Fixture {
            database: runner
                .store
                .attempt(runner.id, ending.claim, ending.task.id),
            grant: SqlGrant {
                role,
                password: None,
                statement_timeout: Duration::from_secs(5),
                connections: 2,
            },
            limits: Limits::default(),
            store,
            runner,
            ending,
            sql,
            theirs,
        }
    }

    /// Runs a statement of the handler.
    pub(super) async fn run(&self, statement: &str) -> Result<String, GuestError> {
        self.run_with(statement, "[]").await
    }

    pub(super) async fn run_with(
        &self,
        statement: &str,
        params: &str,
    ) -> Result<String, GuestError> {
        let running = self
            .database
            .sql(&self.grant, &self.limits, statement, params);
        running.await
    }

    /// The value of the first column of the first row, as JSON.
    pub(super) async fn value(&self, statement: &str) -> String {
        let answer = self.run(statement).await;
        let answer = answer.unwrap_or_else(|problem| panic!("{statement}: {problem:?}"));
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        answer["rows"][0][0].to_string()
    }

    /// The code of the problem that a statement causes.
    pub(super) async fn error_code(&self, statement: &str) -> String {
        match self.run(statement).await {
            Ok(answer) => panic!("{statement} gave {answer}"),
            Err(problem) => problem.code,
        }
    }

    /// Another attempt of the same task under the same claim.
    pub(super) fn again(&mut self) {
        self.database =
            self.runner
                .store
                .attempt(self.runner.id, self.ending.claim, self.ending.task.id);
    }

    /// Stores the outcome, as the completer would.
    pub(super) async fn finish(&self, recorded: bool) -> FinishResult {
        let endings = [OutcomeRecord {
            recorded,
            has_state: self.database.has_state().await,
            ..self.ending.clone()
        }];
        let finishing = self.runner.store.finish(self.runner.id, &endings, false);
        finishing.await.expect("finish")
    }

    /// One value that the owner sees, as text.
    pub(super) async fn ask(&self, sql: &str) -> String {
        ask(&self.sql, sql).await
    }

    /// Rows in the role's table.
    pub(super) async fn n_rows(&self) -> String {
        self.ask(&format!("SELECT count(*) FROM {}.rows", self.theirs))
            .await
    }

    /// Waits until the owner's query returns this value.
    pub(super) async fn wait(&self, sql: &str, wanted: &str) {
        let began = std::time::Instant::now();
        while self.ask(sql).await != wanted {
            assert!(began.elapsed() < Duration::from_secs(60), "{sql}: {wanted}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Connections of the role.
    pub(super) fn connections(&self) -> String {
        format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
            self.grant.role
        )
    }
}

/// A child task with a key.
pub(super) fn child() -> NewTask {
    NewTask {
        key: Some("child".into()),
        ..new_task("b")
    }
}
