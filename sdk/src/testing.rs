//! Tests of handlers on the author's machine: no sandbox, no database.
//!
//! Does not imitate limits, traps or the commit of children: `pgtq call` runs
//! the built file under the real ones.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::host::{self, Facts, Shared};
use crate::log::Level;
use crate::push::{Retries, millis};

/// A task that a handler pushed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pushed {
    /// The handler it is for.
    pub handler: String,
    /// Its arguments.
    pub payload: Value,
    /// Its queue, if one was named.
    pub queue: Option<String>,
    /// Its priority, if one was given.
    pub priority: Option<i32>,
    /// Its delay, if one was given.
    pub delay: Option<Duration>,
    /// Its retries, if they were given.
    pub retries: Option<Retries>,
    /// Its idempotency key, if it has one.
    pub key: Option<String>,
}

/// A line that a handler logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// How important it is.
    pub level: Level,
    /// The text.
    pub message: String,
    /// The structured fields, an object.
    pub fields: Value,
}

/// What a test sets and what it saw.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) attempt: u32,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) queue: String,
    pub(crate) idempotency_key: String,
    pub(crate) pushed_at_ms: u64,
    pub(crate) due_at_ms: u64,
    pub(crate) remaining_ms: u64,
    pub(crate) pushed: Vec<Pushed>,
    pub(crate) logs: Vec<Logged>,
    pub(crate) progress: Vec<(f64, String)>,
}

impl Default for Record {
    /// A first attempt with the runner's defaults, at a fixed time.
    fn default() -> Self {
        Record {
            id: 1,
            attempt: 1,
            max_attempts: Some(21),
            queue: "default".to_owned(),
            idempotency_key: "test-1".to_owned(),
            pushed_at_ms: 1_767_225_600_000,
            due_at_ms: 1_767_225_600_000,
            remaining_ms: 30_000,
            pushed: Vec::new(),
            logs: Vec::new(),
            progress: Vec::new(),
        }
    }
}

/// A [`Ctx`] for tests, made by [`Ctx::test`]: settings first, then the
/// handler, then a look at what it did.
///
/// It is current on its own thread only; code that a handler runs on other
/// threads is not recorded (a sandbox has one thread).
#[derive(Debug)]
pub struct TestCtx {
    ctx: Ctx,
    record: Shared,
}

impl TestCtx {
    pub(crate) fn new() -> Self {
        let record: Shared = Rc::new(RefCell::new(Record::default()));
        host::enter(&record);
        TestCtx {
            ctx: Ctx::from_facts(Facts::of(&record)),
            record,
        }
    }

    fn set(self, change: impl FnOnce(&mut Record)) -> Self {
        change(&mut self.record.borrow_mut());
        self
    }

    /// Sets the task's id.
    #[must_use]
    pub fn id(self, id: u64) -> Self {
        self.set(|record| record.id = id)
    }

    /// Sets the number of the attempt; 1 is the first.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        self.set(|record| record.attempt = attempt)
    }

    /// Sets how many attempts there are in all; `None` means no limit.
    #[must_use]
    pub fn max_attempts(self, max: impl Into<Option<u32>>) -> Self {
        let max = max.into();
        self.set(|record| record.max_attempts = max)
    }

    /// Sets the queue.
    #[must_use]
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.set(|record| record.queue = queue.into())
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.set(|record| record.idempotency_key = key.into())
    }

    /// Sets the moments of push and of becoming due, in Unix milliseconds.
    #[must_use]
    pub fn times(self, pushed_at_ms: u64, due_at_ms: u64) -> Self {
        self.set(|record| {
            record.pushed_at_ms = pushed_at_ms;
            record.due_at_ms = due_at_ms;
        })
    }

    /// Sets the time that is left.
    #[must_use]
    pub fn remaining(self, remaining: Duration) -> Self {
        self.set(|record| record.remaining_ms = millis(remaining))
    }

    /// Runs a handler of this crate by name, through the same decoding of
    /// arguments and encoding of results as in a sandbox.
    ///
    /// # Errors
    /// What the handler answers, an error of code `arguments`, or that there is no such handler.
    pub fn run(&self, handler: &str, args: impl Serialize) -> Result<Value> {
        let args = serde_json::to_string(&args)?;
        let result = crate::registry::run(handler, &args)?;
        serde_json::from_str(&result).map_err(Error::from)
    }

    /// The manifest that the built plugin describes itself with.
    pub fn manifest(&self) -> Value {
        serde_json::from_str(&crate::registry::describe()).expect("a manifest is JSON")
    }

    /// The tasks pushed for one handler, in order.
    pub fn pushed(&self, handler: &str) -> Vec<Pushed> {
        let mut pushed = self.all_pushed();
        pushed.retain(|task| task.handler == handler);
        pushed
    }

    /// All tasks pushed, in order.
    pub fn all_pushed(&self) -> Vec<Pushed> {
        self.record.borrow().pushed.clone()
    }

    /// The lines logged, in order.
    pub fn logs(&self) -> Vec<Logged> {
        self.record.borrow().logs.clone()
    }

    /// The progress reported, in order: fraction and message.
    pub fn progress_reports(&self) -> Vec<(f64, String)> {
        self.record.borrow().progress.clone()
    }
}

impl Drop for TestCtx {
    fn drop(&mut self) {
        host::leave(&self.record);
    }
}

impl Deref for TestCtx {
    type Target = Ctx;

    fn deref(&self) -> &Ctx {
        &self.ctx
    }
}
