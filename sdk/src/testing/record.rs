//! The settings of a test, and what its handler did.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use pgtq_contract::Needs;
use serde_json::Value;

use super::http::{Reply, Requested};
use super::recorded::{Logged, Pushed};
use super::sql::Statement;
use crate::error::{Error, Result};
use crate::host::types::Notes;
use crate::sql::rows::Rows;

/// A fake of a test. Shared, so that the record is not borrowed while it runs.
pub(crate) type Fake<In, Out> = Rc<RefCell<dyn FnMut(&In) -> Result<Out>>>;

/// The state of one test.
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) attempt: u32,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) queue: String,
    pub(crate) idempotency_key: String,
    pub(crate) pushed_at_ms: u64,
    pub(crate) due_at_ms: u64,
    pub(crate) remaining_ms: u64,
    pub(crate) cancelled: bool,
    pub(crate) clock: SystemTime,
    pub(crate) pushed: Vec<Pushed>,
    pub(crate) logs: Vec<Logged>,
    pub(crate) progress: Vec<(f64, String)>,
    pub(crate) secrets: BTreeMap<String, String>,
    /// By method and URL.
    pub(crate) servers: Vec<(String, String, Fake<Requested, Reply>)>,
    pub(crate) requests: Vec<Requested>,
    /// By part of the statement.
    pub(crate) tables: Vec<(String, Fake<Statement, Rows>)>,
    pub(crate) statements: Vec<Statement>,
    /// Committed values, which later attempts load.
    pub(crate) saved: BTreeMap<String, Value>,
    /// Values saved in the open transaction.
    pub(crate) saved_with_sql: BTreeMap<String, Value>,
    /// The failed statement that aborted the open transaction.
    pub(crate) aborted_by: Option<String>,
    pub(crate) notes: Notes,
    /// The needs of the handler under `run`; `None` outside `run`.
    pub(crate) needs: Option<Needs>,
    /// The first use of a capability that it does not declare.
    pub(crate) undeclared: Option<Error>,
    is_done: bool,
}

impl Default for Record {
    /// A first attempt with the runner's defaults, on 2026-01-01 00:00:00 UTC.
    fn default() -> Self {
        const START_MS: u64 = 1_767_225_600_000;
        Record {
            id: 1,
            attempt: 1,
            max_attempts: Some(21),
            queue: "default".to_owned(),
            idempotency_key: "test-1".to_owned(),
            pushed_at_ms: START_MS,
            due_at_ms: START_MS,
            remaining_ms: 30_000,
            cancelled: false,
            clock: SystemTime::UNIX_EPOCH + Duration::from_millis(START_MS),
            pushed: Vec::new(),
            logs: Vec::new(),
            progress: Vec::new(),
            secrets: BTreeMap::new(),
            servers: Vec::new(),
            requests: Vec::new(),
            tables: Vec::new(),
            statements: Vec::new(),
            saved: BTreeMap::new(),
            saved_with_sql: BTreeMap::new(),
            aborted_by: None,
            notes: Notes::default(),
            needs: None,
            undeclared: None,
            is_done: false,
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// Begins a new attempt; an open transaction is rolled back.
    pub(crate) fn begin(&mut self, needs: Option<Needs>) {
        // After a success the next attempt belongs to a new task, without state.
        if std::mem::take(&mut self.is_done) {
            self.saved.clear();
        }
        self.roll_back();
        self.notes = Notes::default();
        self.needs = needs;
    }

    /// Ends the attempt of `run`. Like the runner, it can turn a success into an
    /// error.
    pub(crate) fn end(&mut self, result: Result<String>) -> Result<String> {
        self.needs = None;
        let result = match (self.undeclared.take(), self.aborted_by.clone(), result) {
            (Some(undeclared), ..) => Err(undeclared),
            (None, Some(statement), Ok(_)) => Err(Error::new(format!(
                "the handler succeeded, but its transaction cannot be committed because a \
                 statement failed: `{statement}`; for expected conflicts write `ON CONFLICT`"
            ))
            .code("sql:25P02")),
            (.., result) => result,
        };
        match result.is_ok() {
            true => self.commit(),
            false => self.roll_back(),
        }
        self.is_done = result.is_ok();
        result
    }

    /// Commits the open transaction.
    pub(crate) fn commit(&mut self) {
        self.saved.append(&mut self.saved_with_sql);
    }

    fn roll_back(&mut self) {
        self.saved_with_sql.clear();
        self.aborted_by = None;
    }

    /// Denies a capability that the handler under `run` does not declare. In the
    /// sandbox only the call fails; in a test the run fails as well, even if the
    /// handler ignores the error.
    pub(crate) fn demand(
        &mut self,
        what: &str,
        need: &str,
        asks: impl FnOnce(&Needs) -> bool,
    ) -> Result<()> {
        if self.needs.as_ref().is_none_or(asks) {
            return Ok(());
        }
        let message = format!(
            "denied {what}: the handler does not ask for it: write #[handler(needs({need}))]"
        );
        let error = Error::from_host("denied", message);
        self.undeclared.get_or_insert(error.clone());
        Err(error)
    }
}
