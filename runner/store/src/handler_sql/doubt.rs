//! Resolves a commit whose result is unknown.
//!
//! A session that sends a commit holds a shared lock on the row of its claim from before the
//! commit until the server has ended the transaction. A session that gets an exclusive lock on
//! that row therefore knows that no such commit is pending, and that its effects are visible.
//! Until then the task must not be handed on: its next attempt would not find the checkpoint and
//! would repeat work that is then committed twice.

use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::handler_sql::database::AttemptDatabase;
use crate::handler_sql::work::CommitStatus;
use crate::sql::sql;

impl AttemptDatabase {
    /// Whether a checkpoint was sent and abandoned, or its answer was lost: query the
    /// [`CommitStatus`] before the task goes to another attempt.
    pub async fn is_in_doubt(&self) -> bool {
        self.is_used() && self.inner.lock().await.in_doubt
    }

    /// The result of a commit that got no answer. Waits for its transaction if the server still
    /// runs it.
    pub async fn commit_status(&self) -> Result<CommitStatus, StoreError> {
        let (claims, tasks) = (vec![self.claim.0], vec![self.task.0]);
        let mut lease = self
            .store
            .lease(Role::CommitStatus, "query the status of a commit")
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
