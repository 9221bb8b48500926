//! What any runner does now and then for all: promote, rescue, prune.

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

/// What [`Store::rescue`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rescued {
    /// Runners whose lease had run out: id and name.
    pub runners: Vec<(i64, String)>,
    /// Tasks made runnable again.
    pub tasks: u64,
    /// Tasks failed because too many runners died under them.
    pub failed: u64,
    /// Tasks cancelled because somebody had asked for it.
    pub cancelled: u64,
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

    /// Takes back the claims of runners whose lease ran out, and expired
    /// `pop` claims; at most 100 claims of each kind in one call, so call
    /// again at once while it finds something.
    pub async fn rescue(&self) -> Result<Rescued, StoreError> {
        let orphans = self.look_for_orphans();
        let rows = self
            .run(
                // Apart from prune, which may take minutes.
                Role::Rescue,
                "rescue the tasks of dead runners",
                sql!("rescue"),
                &[&orphans],
            )
            .await?;
        let ids: Vec<i64> = rows[0].get("runner_ids");
        let names: Vec<String> = rows[0].get("runner_names");
        Ok(Rescued {
            runners: ids.into_iter().zip(names).collect(),
            tasks: count(&rows[0], "tasks"),
            failed: count(&rows[0], "failed"),
            cancelled: count(&rows[0], "cancelled"),
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

fn count(row: &tokio_postgres::Row, column: &str) -> u64 {
    row.get::<_, i64>(column).unsigned_abs()
}
