//! Child tasks: pushed by a handler, committed together with the attempt's success.

use std::time::Duration;

use pgtq_contract::Retries;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::Argument;
use crate::error::{Error, Result};
use crate::host;
use crate::json;
use crate::push_options::Options;

/// A task to be pushed. For a handler `greet` of this crate, `greet::task("Ada")`
/// makes one whose arguments the compiler checks; [`Task::new`] makes one for a
/// handler of another plugin.
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[handler]
/// fn greet(name: &str) -> String {
///     format!("Hello, {name}!")
/// }
///
/// #[handler]
/// fn sign_up(ctx: &Ctx, name: &str) -> Result<()> {
///     greet::task(name)
///         .delay(secs(60))
///         .key(format!("greet-{}", ctx.id()))
///         .push()
/// }
///
/// let ctx = Ctx::test();
/// assert_eq!(sign_up(&ctx, "Ada"), Ok(()));
/// assert_eq!(ctx.pushed("greet")[0].delay, Some(secs(60)));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a task is not created until it is pushed"]
pub struct Task {
    handler: String,
    payload: Result<Value>,
    options: Options,
}

impl Task {
    /// A task for the handler named `handler`. The payload is an object (arguments
    /// by name) or an array (arguments by position).
    pub fn new(handler: impl Into<String>, payload: impl Serialize) -> Self {
        Task {
            handler: handler.into(),
            payload: json::value(&payload).map_err(|fault| fault.about("the payload")),
            options: Options::default(),
        }
    }

    /// Adds one argument by name.
    #[doc(hidden)]
    pub fn arg<T: Argument>(mut self, name: &str, value: &T) -> Self {
        self.payload = self.payload.and_then(|mut payload| {
            let value =
                json::value(value).map_err(|fault| fault.about(&format!("argument `{name}`")))?;
            payload
                .as_object_mut()
                .expect("a typed push starts from an empty object")
                .insert(name.to_owned(), value);
            Ok(payload)
        });
        self
    }

    /// A task without arguments, for typed pushes.
    #[doc(hidden)]
    pub fn typed(handler: &str) -> Self {
        Task::new(handler, Map::new())
    }

    /// Sets how long after the commit of the push the task becomes due, in whole
    /// milliseconds. The default is no delay.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay_ms = Some(millis(delay));
        self
    }

    /// Sets the priority; lower values run earlier. The default is the priority
    /// that the handler declares, or 0. A value below the default needs a grant.
    pub fn priority(mut self, priority: i32) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Sets the queue. The default is the queue that the handler declares, or
    /// `default`. Any other queue needs a grant.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.queue = Some(queue.into());
        self
    }

    /// Sets the maximum number of retries, instead of the handler's policy.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(Retries::Limited(retries));
        self
    }

    /// Retries without limit, instead of the handler's policy.
    pub fn retry_forever(mut self) -> Self {
        self.options.retries = Some(Retries::Forever);
        self
    }

    /// Sets an idempotency key: all pushes by this plugin to one queue with the
    /// same key create one task. The keys of applications and other plugins are
    /// separate, unless the operator's grant has `keys=shared`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// Pushes the task. It is committed together with this attempt's success; if
    /// the attempt does not succeed, the task is never created.
    ///
    /// # Errors
    /// With one of these codes:
    ///
    /// * `json`: the payload cannot be written as JSON (NaN, a map whose keys are
    ///   not strings);
    /// * `denied`: the push needs a grant;
    /// * `push`: the host rejects the push for another reason: an invalid name,
    ///   arguments over 1 MiB, too many child tasks; or there is no host, because
    ///   this was called outside a handler and without a
    ///   [`Ctx::test`](crate::Ctx::test).
    pub fn push(self) -> Result<()> {
        let what = format!("push of `{}`", self.handler);
        let payload = self.payload.map_err(|error| error.within(&what))?;
        let payload = payload.to_string();
        host::push(&self.handler, &payload, &self.options).map_err(|reason| {
            match reason.starts_with("denied ") {
                true => Error::from_host("denied", reason),
                false => Error::new(reason).within(&what).code("push"),
            }
        })
    }
}

/// Whole milliseconds, at most `u64::MAX`.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
