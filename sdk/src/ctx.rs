//! The task that is being run, as its handler sees it.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::error::Result;
use crate::host::Facts;
use crate::push::Task;

/// The facts about the task under way, and what a handler may tell its runner.
///
/// A handler gets one by naming `ctx: &Ctx` as its first parameter; a test
/// makes one with [`Ctx::test`].
#[derive(Debug)]
pub struct Ctx {
    facts: Facts,
}

impl Ctx {
    /// The context of the attempt under way.
    pub(crate) fn current() -> Self {
        Ctx {
            facts: Facts::current(),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn from_facts(facts: Facts) -> Self {
        Ctx { facts }
    }

    /// A context for tests on this machine: no sandbox, no database. It is
    /// the current one of its thread until it is dropped, and records what is
    /// pushed, logged and reported meanwhile.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn test() -> crate::TestCtx {
        crate::TestCtx::new()
    }

    /// The task's id, unique in its database for ever.
    pub fn id(&self) -> u64 {
        self.facts.id()
    }

    /// 1 for the first attempt.
    pub fn attempt(&self) -> u32 {
        self.facts.attempt()
    }

    /// How many attempts the task gets in all; `None` means no limit.
    pub fn max_attempts(&self) -> Option<u32> {
        self.facts.max_attempts()
    }

    /// Whether a failure of this attempt is final.
    pub fn is_last_attempt(&self) -> bool {
        self.max_attempts().is_some_and(|max| self.attempt() >= max)
    }

    /// The queue that the task was pushed to.
    pub fn queue(&self) -> String {
        self.facts.queue()
    }

    /// The same text for every attempt of this task: hand it to services that
    /// must not act twice.
    pub fn idempotency_key(&self) -> String {
        self.facts.idempotency_key()
    }

    /// When the task was pushed, by the database's clock.
    pub fn pushed_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.facts.pushed_at_ms())
    }

    /// When the task became due, by the database's clock.
    pub fn due_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.facts.due_at_ms())
    }

    /// How long until the attempt is stopped.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.facts.remaining_ms())
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
