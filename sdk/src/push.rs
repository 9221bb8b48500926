//! Child tasks: pushed by a handler, committed together with its success.

use std::time::Duration;

use pgtq_contract::Retries;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::Argument;
use crate::error::{Error, Result};
use crate::host;
use crate::json;

/// What a push may say besides handler and arguments: the JSON of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retries: Option<Retries>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// A task that is not pushed yet. `greet::task("Ada")` makes a checked one,
/// [`Task::new`] one for a handler of another plugin.
#[derive(Debug, Clone)]
#[must_use = "a task exists once it is pushed"]
pub struct Task {
    handler: String,
    payload: Result<Value>,
    options: Options,
}

impl Task {
    /// A task for the handler called `handler`, with any payload.
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

    /// Where a typed push starts.
    #[doc(hidden)]
    pub fn typed(handler: &str) -> Self {
        Task::new(handler, Map::new())
    }

    /// Runs it no earlier than this long after the push is committed. Whole milliseconds.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay_ms = Some(millis(delay));
        self
    }

    /// Lower runs earlier; what the handler declares is the default, and 0 if it declares
    /// nothing. One that is more urgent than the default has to be granted.
    pub fn priority(mut self, priority: i32) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// The queue it goes to; what the handler declares is the default, and `default` if it
    /// declares nothing. Any other has to be granted.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.queue = Some(queue.into());
        self
    }

    /// How many attempts may follow the first, instead of the handler's policy.
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = Some(Retries::Limited(retries));
        self
    }

    /// Retries as long as the task exists.
    pub fn retry_forever(mut self) -> Self {
        self.options.retries = Some(Retries::Forever);
        self
    }

    /// Idempotency key: of all pushes by this plugin to one queue with the same key one
    /// makes a task. Applications' keys are others, unless the operator shares them.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// Hands the task to the host, which commits it together with this
    /// attempt's success; if the attempt does not succeed, it never exists.
    ///
    /// # Errors
    /// Of code `json` when the payload is not JSON: a NaN, a map whose keys are not
    /// texts. Of code `denied` when it needs a grant. Of code `push` when the host
    /// refuses the push otherwise: a bad name, more than 1 MiB, too many children. Outside of a handler and of
    /// [`Ctx::test`](crate::Ctx::test) there is nobody to push to, which is an error too.
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

/// Whole milliseconds; values that do not fit become the maximum.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
