//! What any runner does now and then for all, apart from rescue: promote, prune.

use std::time::Duration;

use super::connection::Role;
use super::sql::sql;
use super::{Store, StoreError};

/// What [`Store::promote`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promoted {
    /// Tasks that became runnable.
    pub count: u64,
    /// Until the next one is due; zero when more are due now; `None` when nothing is scheduled.
    pub next_due: Option<Duration>,
}

/// What [`Store::prune`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Partitions made ahead.
    pub created: u64,
    /// Partitions dropped.
    pub dropped: u64,
    /// Rows deleted one by one: old keys, history without a partition, log lines
    /// that dead runners left, and values saved for tasks that are over.
    pub rows: u64,
}

impl Store {
    /// Makes up to `limit` due tasks runnable.
    pub async fn promote(&self, limit: u32) -> Result<Promoted, StoreError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let rows = self
            .run(
                Role::General,
                "promote due tasks",
                sql!("promote"),
                &[&limit],
            )
            .await?;
        Ok(Promoted {
            count: count(&rows[0], "count"),
            next_due: rows[0]
                .get::<_, Option<f64>>("next_due")
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    /// Makes the next days' partitions and drops what is older than `retention`.
    pub async fn prune(&self, retention: Duration) -> Result<Pruned, StoreError> {
        // A century stands for ever; the interval type ends somewhere.
        let seconds = retention.as_secs_f64().min(3.2e9);
        let rows = self
            .run(Role::Bulk, "prune history", sql!("prune"), &[&seconds])
            .await?;
        let lines = self.prune_log_lines(retention).await?;
        let states = self
            .run(
                Role::Bulk,
                "prune saved values",
                sql!("state_prune"),
                &[&seconds],
            )
            .await?;
        Ok(Pruned {
            created: count(&rows[0], "created"),
            dropped: count(&rows[0], "dropped"),
            rows: count(&rows[0], "deleted") + lines + count(&states[0], "deleted"),
        })
    }
}

pub(super) fn count(row: &tokio_postgres::Row, column: &str) -> u64 {
    row.get::<_, i64>(column).unsigned_abs()
}
