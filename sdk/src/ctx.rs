//! The task that is being run, as its handler sees it.

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

/// The facts about the task under way, and what a handler may tell its runner.
///
/// A handler gets one by naming `ctx: &Ctx` as its first parameter; a test
/// makes one with [`Ctx::test`].
#[derive(Debug)]
pub struct Ctx {
    host: Host,
}

impl Ctx {
    /// The context of the attempt under way.
    pub(crate) fn current() -> Self {
        Ctx {
            host: Host::current(),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of(host: Host) -> Self {
        Ctx { host }
    }

    /// A context for tests on this machine: no sandbox, no database. It is
    /// the current one of its thread until it is dropped, and records what is
    /// pushed, logged and reported meanwhile.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn test() -> crate::TestCtx {
        crate::TestCtx::new()
    }

    /// The task's id, unique in its database and never reused.
    pub fn id(&self) -> u64 {
        self.host.id()
    }

    /// 1 for the first attempt.
    pub fn attempt(&self) -> u32 {
        self.host.attempt()
    }

    /// How many attempts the task gets in all; `None` means no limit.
    pub fn max_attempts(&self) -> Option<u32> {
        self.host.max_attempts()
    }

    /// Whether a failure of this attempt is final.
    pub fn is_last_attempt(&self) -> bool {
        self.max_attempts().is_some_and(|max| self.attempt() >= max)
    }

    /// The queue that the task was pushed to.
    pub fn queue(&self) -> String {
        self.host.queue()
    }

    /// The same text for every attempt of this task: hand it to services that
    /// must not act twice.
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

    /// How long until the attempt is stopped.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.host.remaining_ms())
    }

    /// The time. In a test it stands still: [`TestCtx::clock`](crate::TestCtx::clock).
    pub fn now(&self) -> SystemTime {
        self.host.now()
    }

    /// Whether somebody asked to cancel the task. A handler that asks now and
    /// then is given a few seconds to end by itself when it happens; others are
    /// stopped at once.
    pub fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    /// SQL in the task's own transaction. Needs `sql`.
    pub fn sql(&self) -> Sql {
        Sql::new(self.host.clone())
    }

    /// Requests to servers. Needs `http = "..."`.
    pub fn http(&self) -> Client {
        Client::new(self.host.clone())
    }

    /// A value that the operator holds, by name. Needs `secret = "..."`.
    pub fn secret(&self, name: impl Into<String>) -> Secret {
        Secret::new(self.host.clone(), name.into())
    }

    /// The checkpoint of this task: what one attempt saves, the next one loads.
    pub fn state(&self) -> State {
        State::new(self.host.clone())
    }

    /// Runs `work` unless an earlier attempt of this task has finished a step of
    /// this name; then its result is returned. The result is kept as JSON,
    /// within the task's 1 MiB of state. Steps that ran SQL are kept together with that SQL: if it is
    /// rolled back, the step runs again.
    ///
    /// Between the end of `work` and the saving of its result a crash can still
    /// come: hand services that must not act twice an idempotency key, too.
    ///
    /// # Errors
    /// Those of `work`, which keep nothing; a name that this attempt has used
    /// before, that is empty or longer than 128 bytes; and what hinders saving.
    pub fn step<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        crate::state::step(&self.host, name, work)
    }

    /// Says how far the handler is, for people who watch; `fraction` is 0.0 to 1.0.
    pub fn progress(&self, fraction: f64, message: impl AsRef<str>) {
        crate::host::progress(fraction, message.as_ref());
    }

    /// Pushes a task for a handler of another plugin. For one of this crate
    /// the typed `its_name::push(...)` is checked by the compiler.
    ///
    /// # Errors
    /// See [`Task::push`].
    pub fn push(&self, handler: impl Into<String>, payload: impl Serialize) -> Result<()> {
        Task::new(handler, payload).push()
    }
}
