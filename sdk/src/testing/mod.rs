//! The test double of the runner: no sandbox, no database, no network.
//!
//! It does not simulate limits, traps or the commit of child tasks; `pgtq call`
//! runs the built file under the real ones. For SQL it simulates the transaction,
//! and the test supplies the responses.

pub(crate) mod http;
pub(crate) mod needs;
pub(crate) mod record;
pub(crate) mod recorded;
pub(crate) mod sql;

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::http::{Reply, Requested};
use self::record::Record;
pub use self::recorded::{Logged, Pushed};
pub use self::sql::Statement;

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::host::{self, Host, Shared};
use crate::push::millis;
use crate::sql::rows::Rows;

/// A [`Ctx`] for tests, made by [`Ctx::test`]: configure it, run the handler,
/// then check what the handler did.
///
/// It dereferences to [`Ctx`], so `&ctx` is accepted where a handler takes
/// `&Ctx`. It is current on its own thread only: what a handler does on other
/// threads is not recorded (the sandbox has one thread).
///
/// ```
/// use pgtq_sdk::prelude::*;
/// use pgtq_sdk::Reply;
///
/// #[handler(needs(http = "https://api.example.com"))]
/// fn ping(ctx: &Ctx) -> Result<u16> {
///     let response = ctx.http().get("https://api.example.com/ping").send()?;
///     info!("pinged");
///     Ok(response.status())
/// }
///
/// let ctx = Ctx::test()
///     .attempt(2)
///     .on_http("GET", "https://api.example.com/*", |_| Ok(Reply::status(204)));
/// assert_eq!(ctx.run("ping", ()), Ok(json!(204)));
/// assert_eq!(ctx.requests().len(), 1);
/// assert_eq!(ctx.logs()[0].message, "pinged");
/// ```
#[derive(Debug)]
pub struct TestCtx {
    ctx: Ctx,
    record: Shared,
}

impl Ctx {
    /// A context for unit tests, without sandbox, database or network.
    ///
    /// Until it is dropped, it is the current context of its thread and records
    /// pushes, log lines, progress, SQL statements and HTTP requests. See
    /// [`TestCtx`](crate::TestCtx).
    pub fn test() -> TestCtx {
        TestCtx::new()
    }
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

    /// Sets the task's id. The default is 1.
    #[must_use]
    pub fn id(self, id: u64) -> Self {
        self.set(|record| record.id = id)
    }

    /// Sets the number of the attempt. The default is 1, the first.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        self.set(|record| record.attempt = attempt)
    }

    /// Sets the maximum number of attempts; `None` means no limit. The default is
    /// 21.
    #[must_use]
    pub fn max_attempts(self, max: impl Into<Option<u32>>) -> Self {
        let max = max.into();
        self.set(|record| record.max_attempts = max)
    }

    /// Sets the queue. The default is `default`.
    #[must_use]
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.set(|record| record.queue = queue.into())
    }

    /// Sets the idempotency key. The default is `test-1`.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.set(|record| record.idempotency_key = key.into())
    }

    /// Sets the times of [`Ctx::pushed_at`] and [`Ctx::due_at`], in milliseconds
    /// since the Unix epoch. The default of both is 2026-01-01 00:00:00 UTC.
    #[must_use]
    pub fn times(self, pushed_at_ms: u64, due_at_ms: u64) -> Self {
        self.set(|record| {
            record.pushed_at_ms = pushed_at_ms;
            record.due_at_ms = due_at_ms;
        })
    }

    /// Sets the time until the timeout, in whole milliseconds. The default is 30 s.
    #[must_use]
    pub fn remaining(self, remaining: Duration) -> Self {
        self.set(|record| record.remaining_ms = millis(remaining))
    }

    /// Sets the time that [`Ctx::now`] returns. It changes only by
    /// [`TestCtx::advance`]. The default is 2026-01-01 00:00:00 UTC.
    #[must_use]
    pub fn clock(self, now: SystemTime) -> Self {
        self.set(|record| record.clock = now)
    }

    /// Advances the clock, and reduces the time until the timeout.
    pub fn advance(&self, time: Duration) {
        let mut record = self.record.borrow_mut();
        record.clock += time;
        record.remaining_ms = record.remaining_ms.saturating_sub(millis(time));
    }

    /// Sets whether cancellation was requested. The default is no.
    #[must_use]
    pub fn cancelled(self, cancelled: bool) -> Self {
        self.set(|record| record.cancelled = cancelled)
    }

    /// Sets the value of a secret. Secrets that are not set are denied.
    #[must_use]
    pub fn secret(self, name: &str, value: &str) -> Self {
        self.set(|record| {
            record.secrets.insert(name.to_owned(), value.to_owned());
        })
    }

    /// Sets the state that an earlier attempt saved.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    #[must_use]
    pub fn state(self, value: impl Serialize) -> Self {
        let value = crate::json::value(&value).expect("the state cannot be written as JSON");
        self.set(|record| {
            record.saved.insert(String::new(), value);
        })
    }

    /// Adds a fake server. The first one that matches a request handles it;
    /// requests without a match are denied.
    ///
    /// `method` may be `*` for any method. A `url` without a query matches any
    /// query, and one that ends with `*` matches any URL with that prefix. Return
    /// `Err` to simulate a request without a response.
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

    /// Adds a fake for SQL statements that contain `part`. The first one that
    /// matches a statement handles it; statements without a match are denied.
    ///
    /// Whitespace between words is ignored, and `""` matches every statement. An
    /// `Err` aborts the transaction, so the attempt cannot succeed.
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

    /// Runs a handler of this crate by name. Arguments and results are decoded and
    /// encoded as in the sandbox.
    ///
    /// A run after an error is a retry: it finds saved state and results of steps.
    /// A run after a success is a new task.
    ///
    /// # Errors
    /// The error of the handler; code `arguments` for invalid arguments; an error
    /// if the crate has no such handler. Code `denied` if the handler used a
    /// capability that it does not declare in `needs(...)`, even if the handler
    /// ignored the error, and `sql:25P02` if it succeeded despite a failed
    /// statement.
    pub fn run(&self, handler: &str, args: impl Serialize) -> Result<Value> {
        let args = crate::json::text(&args).map_err(|fault| fault.about("the arguments"))?;
        let needs = needs::info(handler).map(|info| info.needs);
        self.record.borrow_mut().begin(needs);
        let result = crate::registry::run(handler, &args);
        let result = self.record.borrow_mut().end(result)?;
        serde_json::from_str(&result).map_err(Error::from)
    }

    /// Ends the attempt as failed and begins the next one. SQL and values saved in
    /// its transaction are rolled back; other saved values remain.
    pub fn next_attempt(&self) {
        let mut record = self.record.borrow_mut();
        record.attempt += 1;
        record.begin(None);
    }

    /// The manifest of the plugin: its handlers, their arguments and needs.
    pub fn manifest(&self) -> Value {
        serde_json::from_str(&crate::registry::describe()).expect("a manifest is JSON")
    }

    /// The tasks pushed for one handler, in the order of the pushes.
    pub fn pushed(&self, handler: &str) -> Vec<Pushed> {
        let mut pushed = self.all_pushed();
        pushed.retain(|task| task.handler == handler);
        pushed
    }

    /// All pushed tasks, in the order of the pushes.
    pub fn all_pushed(&self) -> Vec<Pushed> {
        self.record.borrow().pushed.clone()
    }

    /// The log lines, in order.
    pub fn logs(&self) -> Vec<Logged> {
        self.record.borrow().logs.clone()
    }

    /// The requests made, in order, including those without a matching fake.
    pub fn requests(&self) -> Vec<Requested> {
        self.record.borrow().requests.clone()
    }

    /// The statements run, in order, including those without a matching fake.
    pub fn statements(&self) -> Vec<Statement> {
        self.record.borrow().statements.clone()
    }

    /// The state that the next attempt would load.
    ///
    /// # Panics
    /// If the state is not a `T`.
    pub fn saved<T: DeserializeOwned>(&self) -> Option<T> {
        self.kept("")
    }

    /// The saved result of a step, which the next attempt would not run again.
    ///
    /// # Panics
    /// If the result is not a `T`.
    pub fn step_result<T: DeserializeOwned>(&self, step: &str) -> Option<T> {
        self.kept(&format!("step/{step}"))
    }

    fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = self.record.borrow().saved.get(name).cloned()?;
        Some(serde_json::from_value(value).expect("the saved value has this type"))
    }

    /// The progress reports, in order: fraction and message.
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
