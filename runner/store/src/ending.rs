//! What a finished attempt hands to the store.

use std::sync::Arc;
use std::time::Instant;

use pgtq_task::{AttemptRecord, ClaimId, Task, TaskId, Transition};

/// The end of one attempt.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The claim it ran under.
    pub claim: ClaimId,
    /// The task as it was claimed.
    pub task: Arc<Task>,
    /// What becomes of the task.
    pub transition: Transition,
    /// What the attempt leaves behind. Its children are pushed only if the transition
    /// is `Complete`.
    pub record: AttemptRecord,
    /// It was committed already, with the task's own transaction: what is left
    /// is to close its claim.
    pub recorded: bool,
    /// The attempt saved or found values for later attempts; they go when the
    /// task completes.
    pub has_state: bool,
    /// When the attempt started, by the clock of this process.
    pub started: Instant,
    /// When it ended. The database's time of both is computed when they are stored.
    pub ended: Instant,
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
