//! What a finished attempt hands to the store.

use std::sync::Arc;
use std::time::Duration;

use pgtq_task::{ClaimId, Digest, LogLine, NewTask, Task, TaskId, Transition, Usage};

/// The end of one attempt.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The claim it ran under.
    pub claim: ClaimId,
    /// The task as it was claimed.
    pub task: Arc<Task>,
    /// What becomes of the task.
    pub transition: Transition,
    /// What the attempt used.
    pub usage: Usage,
    /// The kept log lines.
    pub logs: Vec<LogLine>,
    /// How many lines were dropped.
    pub logs_dropped: u64,
    /// Tasks it pushed; they exist only if the transition is `Complete`.
    pub children: Vec<NewTask>,
    /// It was committed already, with the task's own transaction: what is left
    /// is to close its claim.
    pub recorded: bool,
    /// The attempt saved or found values for later attempts; they go when the
    /// task completes.
    pub has_state: bool,
    /// The plugin version that ran.
    pub digest: Option<Digest>,
    /// How long ago the attempt started, at the moment of the call.
    pub since_start: Duration,
    /// How long ago it ended, at the moment of the call.
    pub since_end: Duration,
}

/// What [`super::Store::finish`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finished {
    /// Endings that changed nothing because their claim is gone: the task
    /// belongs to somebody else now.
    pub stale: Vec<(ClaimId, TaskId)>,
    /// Endings whose result, error or children the database did not accept:
    /// they were stored as failed instead.
    pub refused: Vec<(ClaimId, TaskId)>,
    /// Endings that are not stored, for certain, because somebody else's transaction
    /// holds a lock that they need. Try them again later.
    pub locked: Vec<(ClaimId, TaskId)>,
}
