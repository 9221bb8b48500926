//! What became of a commit that nobody heard of.
//!
//! Who sends a commit holds the row of its claim, shared, from before it sent it until
//! the server has ended the transaction. So whoever gets that row for himself
//! knows that no such commit is still to come, and what it did is there to see.
//! Until then the task must not be handed on: its next attempt would not find
//! the checkpoint, and do again what is then committed twice.

use super::database::AttemptDatabase;
use super::work::CommitStatus;
use crate::StoreError;
use crate::connection::Role;
use crate::sql::sql;

impl AttemptDatabase {
    /// Whether a checkpoint was sent and left, or its answer lost: ask for the
    /// [`CommitStatus`] before the task goes to anybody else.
    pub async fn is_in_doubt(&self) -> bool {
        self.is_used() && self.inner.lock().await.in_doubt
    }

    /// What became of the commit, when it got no answer. Waits for its transaction, if the server still has it.
    pub async fn commit_status(&self) -> Result<CommitStatus, StoreError> {
        let (claims, tasks) = (vec![self.claim.0], vec![self.task.0]);
        let mut lease = self
            .store
            .lease(Role::CommitStatus, "ask for a commit")
            .await?;
        lease.begin().await?;
        let held = lease
            .query(sql!("finish_hold_alone"), &[&self.runner.0, &claims])
            .await?;
        let recorded = lease
            .query(sql!("finish_recorded"), &[&claims, &tasks])
            .await?;
        lease.rollback().await?;
        Ok(match (recorded.is_empty(), held.is_empty()) {
            (false, _) => CommitStatus::Committed,
            (true, false) => CommitStatus::RolledBack,
            (true, true) => CommitStatus::ClaimLost,
        })
    }
}
