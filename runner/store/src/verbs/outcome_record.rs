//! What a finished attempt hands to the store.

use std::sync::Arc;
use std::time::Instant;

use pgtq_task::{AttemptRecord, ClaimId, Task, TaskId, Transition};

/// The outcome of one attempt.
#[derive(Debug, Clone)]
pub struct OutcomeRecord {
    /// The claim it ran under.
    pub claim: ClaimId,
    /// The task as it was claimed.
    pub task: Arc<Task>,
    /// The task's transition.
    pub transition: Transition,
    /// What the attempt leaves behind. Its children are pushed only if the transition is
    /// `Complete`.
    pub record: AttemptRecord,
    /// It was committed already, with the task's own transaction: only its claim is left to
    /// close.
    pub recorded: bool,
    /// The attempt saved or found values for later attempts; they are deleted when the task
    /// completes.
    pub has_state: bool,
    /// When the attempt started, by this process's clock.
    pub started: Instant,
    /// When it ended. The database's times of both are computed when they are stored.
    pub ended: Instant,
}

/// What [`crate::connect::connection::Store::finish`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FinishResult {
    /// Outcomes that changed nothing because their claim is gone: the task belongs to another
    /// attempt now.
    pub stale: Vec<(ClaimId, TaskId)>,
    /// Outcomes whose result, error or children the database rejected: they were stored as
    /// failed instead.
    pub refused: Vec<(ClaimId, TaskId)>,
    /// Outcomes that are certainly not stored, because another transaction holds a lock that
    /// they need. Try them again later.
    pub locked: Vec<(ClaimId, TaskId)>,
}

/// Outcomes that came too late.
pub(crate) type Stale = Vec<(ClaimId, TaskId)>;
