//! The queues of a runner.

use pgtq_task::Name;

/// A queue and how many of its tasks may run at once in one runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSlots {
    /// `None` is every queue that is not named.
    pub queue: Option<Name>,
    /// `None` is the runner's whole concurrency.
    pub slots: Option<u32>,
}
