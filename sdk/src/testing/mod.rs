//! Tests of handlers on the author's machine: no sandbox, no database, no network.
//!
//! Does not imitate limits, traps or the commit of children: `pgtq call` runs
//! the built file under the real ones. Of SQL it imitates the transaction, but
//! no statement: answers are the test's.

mod http;
mod needs;
mod record;
mod sql;

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use pgtq_contract::Retries;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::http::{Reply, Requested};
pub(crate) use self::needs::{info, rule_for};
pub(crate) use self::record::Record;
pub use self::sql::Statement;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::host::{self, Host, Shared};
use crate::log::Level;
use crate::push::millis;
use crate::sql::Rows;

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
            ctx: Ctx::of(Host::of(&record)),
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

    /// Sets the time that [`Ctx::now`] says. It stands still.
    #[must_use]
    pub fn clock(self, now: SystemTime) -> Self {
        self.set(|record| record.clock = now)
    }

    /// Lets time pass: the clock advances, and less time remains.
    pub fn advance(&self, time: Duration) {
        let mut record = self.record.borrow_mut();
        record.clock += time;
        record.remaining_ms = record.remaining_ms.saturating_sub(millis(time));
    }

    /// Sets whether somebody asked to cancel the task.
    #[must_use]
    pub fn cancelled(self, cancelled: bool) -> Self {
        self.set(|record| record.cancelled = cancelled)
    }

    /// Sets a secret.
    #[must_use]
    pub fn secret(self, name: &str, value: &str) -> Self {
        self.set(|record| {
            record.secrets.insert(name.to_owned(), value.to_owned());
        })
    }

    /// Sets the state that an earlier attempt saved.
    ///
    /// # Panics
    /// If it cannot be written as JSON.
    #[must_use]
    pub fn state(self, value: impl Serialize) -> Self {
        let value = crate::json::value(&value).expect("a state is JSON");
        self.set(|record| {
            record.saved.insert(String::new(), value);
        })
    }

    /// Answers requests to a URL. The first answer that fits counts.
    ///
    /// `method` may be `*`. A `url` without a query fits all queries, and one
    /// that ends with `*` all that begins like it. An `Err` stands for a
    /// request that got no answer.
    #[must_use]
    pub fn on_http(
        self,
        method: &str,
        url: &str,
        answer: impl FnMut(&Requested) -> Result<Reply> + 'static,
    ) -> Self {
        let server = (
            method.to_owned(),
            url.to_owned(),
            Rc::new(RefCell::new(answer)) as record::Fake<Requested, Reply>,
        );
        self.set(|record| record.servers.push(server))
    }

    /// Answers statements that contain a text, whatever the blanks between its
    /// words; `""` fits all. The first answer that fits counts. An `Err` dooms
    /// the transaction: the attempt cannot succeed any more.
    #[must_use]
    pub fn on_sql(
        self,
        part: &str,
        answer: impl FnMut(&Statement) -> Result<Rows> + 'static,
    ) -> Self {
        let table = (
            part.to_owned(),
            Rc::new(RefCell::new(answer)) as record::Fake<Statement, Rows>,
        );
        self.set(|record| record.tables.push(table))
    }

    /// Runs a handler of this crate by name, through the same decoding of
    /// arguments and encoding of results as in a sandbox.
    ///
    /// After an error the next run is a retry: state and steps are there. After
    /// a success it is a new task.
    ///
    /// # Errors
    /// What the handler answers, an error of code `arguments`, or that there is
    /// no such handler. Of code `denied`, whatever the handler made of it, if it
    /// used something that is not in its `needs(...)`, and of code `sql:25P02` if it
    /// succeeded in spite of a failed statement.
    pub fn run(&self, handler: &str, args: impl Serialize) -> Result<Value> {
        let args = crate::json::text(&args).map_err(|fault| fault.about("the arguments"))?;
        let needs = needs::info(handler).map(|info| info.needs);
        self.record.borrow_mut().begin(needs);
        let result = crate::registry::run(handler, &args);
        let result = self.record.borrow_mut().end(result)?;
        serde_json::from_str(&result).map_err(Error::from)
    }

    /// Ends the attempt as failed and begins the next one: SQL and what was
    /// saved with it are rolled back, all else that was saved is there.
    pub fn next_attempt(&self) {
        let mut record = self.record.borrow_mut();
        record.attempt += 1;
        record.begin(None);
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

    /// The requests made, in order, answered or not.
    pub fn requests(&self) -> Vec<Requested> {
        self.record.borrow().requests.clone()
    }

    /// The statements run, in order, answered or not.
    pub fn statements(&self) -> Vec<Statement> {
        self.record.borrow().statements.clone()
    }

    /// The state that the next attempt would load.
    ///
    /// # Panics
    /// If it is not a `T`.
    pub fn saved<T: DeserializeOwned>(&self) -> Option<T> {
        self.kept("")
    }

    /// The result of a finished step that the next attempt would not run again.
    ///
    /// # Panics
    /// If it is not a `T`.
    pub fn step_result<T: DeserializeOwned>(&self, step: &str) -> Option<T> {
        self.kept(&format!("step/{step}"))
    }

    fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = self.record.borrow().saved.get(name).cloned()?;
        Some(serde_json::from_value(value).expect("what was saved is of this type"))
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
