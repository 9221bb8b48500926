//! The heartbeat: keeps the lease, and tells the runner what the database thinks.

use std::time::Duration;

use super::{Store, StoreError};
use crate::task::{ClaimId, Progress, RunnerId, TaskId};

/// What a runner says every few seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Beat {
    /// Slots in use.
    pub busy: u32,
    /// It takes no more tasks.
    pub draining: bool,
    /// How far running tasks are; only the ones that said something.
    pub progress: Vec<(TaskId, Progress)>,
    /// The state of each plugin file, free form, for people.
    pub plugins: serde_json::Value,
}

/// What the database answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BeatReply {
    /// False: the lease ran out and the runner was removed. Stop all attempts,
    /// register again.
    pub alive: bool,
    /// The claims the database holds for this runner. One that the engine
    /// does not know came from a claim whose answer was lost: release it with
    /// [`Store::release_claim`]. One that the engine knows and that is not
    /// here was rescued: stop its attempts.
    pub claims: Vec<ClaimId>,
    /// Running tasks that somebody asked to cancel.
    pub cancelled: Vec<(ClaimId, TaskId)>,
}

impl Store {
    /// How long a runner is trusted after its last beat.
    pub const LEASE: Duration = Duration::from_secs(15);

    /// Renews the lease.
    pub async fn beat(&self, _runner: RunnerId, _beat: &Beat) -> Result<BeatReply, StoreError> {
        todo!()
    }

    /// What of a beat cannot wait: cancellations of this runner's tasks.
    pub async fn cancelled(&self, _runner: RunnerId) -> Result<Vec<(ClaimId, TaskId)>, StoreError> {
        todo!()
    }
}
