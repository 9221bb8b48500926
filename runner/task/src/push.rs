//! The data needed to push a task.

use std::sync::Arc;
use std::time::Duration;

use pgtq_contract::{Name, Retries};

use crate::ids::TaskId;

/// Maximum bytes of a task's arguments as JSON text. The database enforces the same limit with a
/// CHECK.
pub const MAX_ARGS_BYTES: usize = 1 << 20;

/// A task that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// The handler that will run it.
    pub handler: Name,
    /// JSON text, opaque to the host, at most [`MAX_ARGS_BYTES`].
    pub args: String,
    /// `None` means the queue `default`.
    pub queue: Option<Name>,
    /// Lower values run earlier; 0 is the default.
    pub priority: i32,
    /// Run no earlier than this long after the push commits.
    pub delay: Option<Duration>,
    /// Run no earlier than this time. Takes precedence over `delay`.
    pub run_at: Option<jiff::Timestamp>,
    /// Overrides the handler's policy.
    pub retries: Option<Retries>,
    /// Idempotency key: one task per queue, key and scope for as long as its history is kept.
    pub key: Option<String>,
    /// The plugin whose key scope this key is in; `None` is the applications' scope.
    pub key_scope: Option<Arc<str>>,
    /// The task whose handler pushed this one.
    pub parent: Option<TaskId>,
}

impl NewTask {
    /// A task with only a handler and arguments.
    pub fn new(handler: Name, args: impl Into<String>) -> Self {
        NewTask {
            handler,
            args: args.into(),
            queue: None,
            priority: 0,
            delay: None,
            run_at: None,
            retries: None,
            key: None,
            key_scope: None,
            parent: None,
        }
    }
}
