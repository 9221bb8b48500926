//! A running call, and the connection that holds its transaction.

use std::cell::RefCell;
use std::collections::HashMap;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use crate::connect::error::StoreError;
use crate::tests::sched::verb::{Answer, Verb};

/// Where a transaction is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    Nowhere,
    AfterFirstWrite,
    BeforeCommit,
}

/// How a held transaction continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Commit,
    /// It commits, and its caller is gone.
    LoseAnswer,
    /// Its connection is killed.
    Kill,
    /// Its statement is cancelled.
    Interrupt,
}

/// The result of a call.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(Answer),
    /// An error that the caller retries after.
    Interrupted(String),
    /// The answer was lost.
    Lost,
}

/// A running call.
pub(super) struct Flight {
    pub(super) client: usize,
    pub(super) verb: Verb,
    pub(super) fate: Fate,
    /// The step at which it continues by itself.
    pub(super) until: usize,
    /// Other calls ran at the same time.
    pub(super) shared: bool,
    /// Held after its first write, not before its commit.
    pub(super) mid: bool,
    pub(super) pid: Option<i32>,
    pub(super) handle: JoinHandle<Result<Answer, StoreError>>,
    pub(super) heard: Option<Result<Result<Answer, StoreError>, tokio::task::JoinError>>,
}

/// The state of a running call.
pub(super) enum Doing {
    Ended,
    AtGate,
    /// Waits for a lock that these calls hold.
    Waits(Vec<usize>),
}

/// A read-only connection that holds the gates.
pub(super) struct Observer {
    pub(super) client: Client,
    pub(super) pid: i32,
    pub(super) statements: RefCell<HashMap<String, Statement>>,
}

impl Observer {
    pub(super) async fn text(&self, sql: &str) -> String {
        let known = self.statements.borrow().get(sql).cloned();
        let statement = match known {
            Some(statement) => statement,
            None => {
                let statement = self.client.prepare(sql).await.expect("prepare");
                self.statements
                    .borrow_mut()
                    .insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        self.client
            .query_one(&statement, &[])
            .await
            .expect("look")
            .get(0)
    }
}
