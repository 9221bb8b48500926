//! Claim: take runnable tasks for a runner.

use super::{Lanes, Store, StoreError};
use crate::task::{ClaimId, Name, RunnerId, Task, TaskId};

/// A claimed batch.
#[derive(Debug)]
pub struct Claimed {
    /// The fence that every ending of these tasks carries.
    pub claim: ClaimId,
    /// The tasks, the most urgent first.
    pub tasks: Vec<Task>,
    /// There may be more to take right now.
    pub more: bool,
}

impl Store {
    /// Takes up to `want` tasks of the loaded `handlers`, lowest priority
    /// number first, fairly over handlers and queues of one priority. `None`
    /// means that there is nothing to take now. Looks for new lanes and
    /// stragglers by itself, within 5 % of the time.
    pub async fn claim(
        &self,
        _runner: RunnerId,
        _lanes: &mut Lanes,
        _handlers: &[Name],
        _want: u32,
    ) -> Result<Option<Claimed>, StoreError> {
        todo!()
    }

    /// Moves one task into a claim of its own, so that a crash blames nobody
    /// else. `None`: the claim is lost.
    pub async fn isolate(
        &self,
        _runner: RunnerId,
        _claim: ClaimId,
        _task: TaskId,
    ) -> Result<Option<ClaimId>, StoreError> {
        todo!()
    }

    /// Gives back, unburnt, whatever of a claim has not ended. Returns how
    /// many tasks went back.
    pub async fn release_claim(
        &self,
        _runner: RunnerId,
        _claim: ClaimId,
    ) -> Result<u64, StoreError> {
        todo!()
    }
}
