//! A claimed task, and one execution of it.

use std::sync::Arc;

use jiff::Timestamp;

use pgtq_contract::{Name, Retries};

use crate::database::Database;
use crate::ids::{ClaimId, TaskId};
use crate::signal::Signal;
use crate::traits::Traits;

/// A task as a runner holds it: what was pushed and its counters.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its queue.
    pub queue: Name,
    /// The handler that runs it.
    pub handler: Name,
    /// Lower values run earlier.
    pub priority: i32,
    /// JSON text, never parsed by the host.
    pub args: String,
    /// Attempts counted so far. Snoozed and released ones are not.
    pub attempts: u32,
    /// Runner crashes while it held this task.
    pub crashes: u32,
    /// Overrides the handler's policy.
    pub retries: Option<Retries>,
    /// When it was pushed, database time.
    pub pushed_at: Timestamp,
    /// When it last became due, database time.
    pub due_at: Timestamp,
    /// The idempotency key of its push.
    pub key: Option<String>,
    /// The task that pushed it.
    pub parent: Option<TaskId>,
    /// Rare optional properties.
    pub traits: Option<Traits>,
}

/// One execution of a task under one claim.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The task, owned: its arguments are passed to the guest.
    pub task: Arc<Task>,
    /// The claim that fences its writes.
    pub claim: ClaimId,
    /// How the runner stops the attempt and reads its progress.
    pub signal: Arc<Signal>,
    /// Its database access, for handlers that are granted one.
    pub database: Arc<dyn Database>,
}

impl Attempt {
    /// 1 for the first.
    pub fn number(&self) -> u32 {
        self.task.attempts + 1
    }

    /// The same text for every attempt of this task, and for no other task: pass it to payment
    /// providers and other external services. A child's key is not used here, since an
    /// application may use the same key.
    pub fn idempotency_key(&self) -> String {
        match (&self.task.key, self.task.parent) {
            (Some(key), None) => format!("{}:{key}", self.task.queue),
            _ => format!("pgtq:{}", self.task.id),
        }
    }
}
