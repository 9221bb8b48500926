//! The context of an attempt: its task and its capabilities.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::host::Host;
use crate::http::Client;
use crate::push::Task;
use crate::secret::Secret;
use crate::sql::Sql;
use crate::state::State;

/// The task being run, and the capabilities of its handler.
///
/// A handler takes `ctx: &Ctx` as its first parameter; a test makes one with
/// [`Ctx::test`].
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[handler]
/// fn charge(ctx: &Ctx, cents: u64) -> Result<String> {
///     if ctx.is_last_attempt() {
///         warn!(cents = cents, "last attempt");
///     }
///     Ok(ctx.idempotency_key())
/// }
///
/// let ctx = Ctx::test();
/// assert_eq!(charge(&ctx, 100), Ok("test-1".to_owned()));
/// ```
#[derive(Debug)]
pub struct Ctx {
    host: Host,
}

impl Ctx {
    /// The context of the running attempt.
    pub(crate) fn current() -> Self {
        Ctx {
            host: Host::current(),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of(host: Host) -> Self {
        Ctx { host }
    }

    /// The task's id. It is unique in its database and never reused.
    pub fn id(&self) -> u64 {
        self.host.id()
    }

    /// The number of this attempt, from 1. Snoozes and releases do not count.
    pub fn attempt(&self) -> u32 {
        self.host.attempt()
    }

    /// The maximum number of attempts; `None` means no limit.
    pub fn max_attempts(&self) -> Option<u32> {
        self.host.max_attempts()
    }

    /// Whether this is the last attempt, so that a failure is final.
    pub fn is_last_attempt(&self) -> bool {
        self.max_attempts().is_some_and(|max| self.attempt() >= max)
    }

    /// The name of the task's queue.
    pub fn queue(&self) -> String {
        self.host.queue()
    }

    /// A key that is the same for every attempt of this task and differs between
    /// tasks. Send it to services that support idempotency keys, so that a retry
    /// does not repeat an action.
    pub fn idempotency_key(&self) -> String {
        self.host.idempotency_key()
    }

    /// When the task was pushed, by the database's clock.
    pub fn pushed_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.host.pushed_at_ms())
    }

    /// When the task became due, by the database's clock.
    pub fn due_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.host.due_at_ms())
    }

    /// The time until the attempt times out, in whole milliseconds.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.host.remaining_ms())
    }

    /// The current time. In a test it is the fixed time of
    /// [`TestCtx::clock`](crate::TestCtx::clock).
    pub fn now(&self) -> SystemTime {
        self.host.now()
    }

    /// Whether cancellation of the task was requested.
    ///
    /// A handler that has called this during the attempt gets a few seconds to
    /// return after a request. A handler that has not is stopped at once. Return
    /// [`cancel(reason)`](crate::cancel()) to end the task as cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// SQL in the task's transaction. The handler must declare `needs(sql)`.
    pub fn sql(&self) -> Sql {
        Sql::new(self.host.clone())
    }

    /// An HTTP client. The handler must declare `needs(http = "...")`.
    pub fn http(&self) -> Client {
        Client::new(self.host.clone())
    }

    /// A secret, by name. The handler must declare `needs(secret = "...")`.
    /// Nothing is read before [`Secret::read`] or a request that uses it.
    pub fn secret(&self, name: impl Into<String>) -> Secret {
        Secret::new(self.host.clone(), name.into())
    }

    /// The task's checkpoint: a value saved by one attempt for the next.
    pub fn state(&self) -> State {
        State::new(self.host.clone())
    }

    /// Runs `work` once per task: if an earlier attempt has finished a step with
    /// this name, returns the saved result instead.
    ///
    /// The result is saved as JSON and counts towards the task's 1 MiB of state.
    /// If `work` ran SQL, its result is saved in the same transaction: a rollback
    /// undoes both, and the step runs again.
    ///
    /// A crash between the end of `work` and the saving of its result repeats the
    /// step. For calls to other services use an idempotency key as well.
    ///
    /// # Errors
    /// Those of `work`; nothing is saved then. Code `invalid` (fails the task) if
    /// the name is empty, is longer than 128 bytes, has control characters or was
    /// used before in this attempt. Code `limit` if the state would exceed 1 MiB,
    /// `json` if the result cannot be written as JSON, `state` if the saved
    /// result is not a `T`.
    ///
    /// ```
    /// use pgtq_sdk::prelude::*;
    ///
    /// # fn reserve() -> Result<u64> { Ok(7) }
    /// # fn pay(_: u64, _: &str) -> Result<()> { Ok(()) }
    /// #[handler]
    /// fn book(ctx: &Ctx) -> Result<()> {
    ///     let seat = ctx.step("reserve", || reserve())?;
    ///     ctx.step("pay", || pay(seat, &ctx.idempotency_key()))
    /// }
    /// # assert_eq!(book(&Ctx::test()), Ok(()));
    /// ```
    pub fn step<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        crate::state::step(&self.host, name, work)
    }

    /// Reports progress to operators; `pgtq show` prints the latest report.
    /// `fraction` is between 0.0 and 1.0.
    pub fn progress(&self, fraction: f64, message: impl AsRef<str>) {
        crate::host::progress(fraction, message.as_ref());
    }

    /// Pushes a task for a handler of another plugin. For handlers of this crate
    /// use the typed `handler_name::push(...)`, which the compiler checks.
    ///
    /// # Errors
    /// See [`Task::push`].
    pub fn push(&self, handler: impl Into<String>, payload: impl Serialize) -> Result<()> {
        Task::new(handler, payload).push()
    }
}
