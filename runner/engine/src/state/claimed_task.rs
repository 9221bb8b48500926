//! A claimed task on its way to a slot.

use std::sync::Arc;
use std::time::Instant;

use super::held_bytes::HeldBytesGuard;
use pgtq_task::{ClaimId, Task};

/// A task of a claim that this runner holds.
#[derive(Debug)]
pub(crate) struct ClaimedTask {
    /// The claim, as the fence checks it.
    pub(crate) claim: ClaimId,
    /// The task.
    pub(crate) task: Arc<Task>,
    /// Counts the bytes of its arguments until dropped.
    pub(crate) held: HeldBytesGuard,
    /// When it was claimed.
    pub(crate) since: Instant,
}
