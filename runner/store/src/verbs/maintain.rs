//! Maintenance that any runner does for all, apart from rescue: promote, prune.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::sql;
use crate::sql::timestamp::DbTimestamp;

/// The result of [`Store::promote`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promoted {
    /// Tasks that became runnable.
    pub count: u64,
    /// Time until the next task is due; zero when more are due now; `None` when nothing is
    /// scheduled.
    pub next_due: Option<Duration>,
    /// The call reached its limit of tasks or bytes: call again at once.
    pub more: bool,
}

/// The result of [`Store::tend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tended {
    /// Expired leases of external workers.
    pub expired: u64,
    /// The call reached its limit of tasks or bytes: call again at once.
    pub more: bool,
}

/// Where [`Store::promote_next`] continues. Under an old snapshot the index keeps an entry for
/// every task promoted since: they are read once, not once for each batch.
#[derive(Debug, Default)]
pub struct PromoteCursor {
    /// The due time and id of the last task promoted.
    last: Option<(jiff::Timestamp, i64)>,
    /// The last batch was full: more tasks are due after it.
    is_burst: bool,
    /// When to scan all due tasks again, from the first.
    full: Option<Instant>,
}

/// Tasks that become due this much earlier than those promoted already, because their
/// transaction committed late, are found at once; others at the next full scan.
const LATE_COMMIT: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// Minimum time between full scans: this, or [`FULL_LOOK_SHARE`] times what the last one took.
const FULL_LOOK: Duration = Duration::from_secs(1);
const FULL_LOOK_SHARE: u32 = 20;

impl PromoteCursor {
    /// Where to start now; `None` starts at the first task.
    fn start(&self, now: Instant) -> Option<(jiff::Timestamp, i64)> {
        let (due, id) = self.last?;
        if self.is_burst {
            return Some((due, id));
        }
        let is_due = self.full.is_none_or(|full| now >= full);
        (!is_due).then(|| (due.checked_sub(LATE_COMMIT).unwrap_or(due), 0))
    }

    fn advance(&mut self, last: Option<(jiff::Timestamp, i64)>, is_full: bool, started: Instant) {
        if self.start(started).is_none() {
            let took = started.elapsed();
            self.full = Some(Instant::now() + FULL_LOOK.max(took * FULL_LOOK_SHARE));
        }
        self.is_burst = is_full;
        // A straggler does not move the cursor back.
        self.last = if is_full { last } else { self.last.max(last) };
    }
}

/// How long history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of complete and cancelled tasks.
    pub history: Duration,
    /// Of failed tasks; at least as long as `history`.
    pub failed: Duration,
}

impl From<Duration> for Retention {
    fn from(history: Duration) -> Self {
        Retention {
            history,
            failed: history,
        }
    }
}

/// The result of [`Store::prune`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Partitions created ahead of time.
    pub created: u64,
    /// Partitions dropped.
    pub dropped: u64,
    /// Rows deleted one by one: expired keys, history without a partition, log lines of crashed
    /// runners, and saved values of tasks that have ended.
    pub rows: u64,
    /// Partitions that stay because of an error, with the reason. Others were pruned.
    pub skipped: BTreeSet<String>,
}

/// Maximum steps of one prune. The next prune does the rest.
const STEPS: u32 = 10_000;

impl Store {
    /// Makes up to `limit` due tasks runnable, at most 8 MiB of large tasks, and at least one
    /// task.
    pub async fn promote(&self, limit: u32) -> Result<Promoted, StoreError> {
        self.promote_next(limit, &mut PromoteCursor::default())
            .await
    }

    /// As [`Store::promote`], for a caller that repeats it.
    pub async fn promote_next(
        &self,
        limit: u32,
        cursor: &mut PromoteCursor,
    ) -> Result<Promoted, StoreError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let started = Instant::now();
        let (due, id) = cursor.start(started).unzip();
        let due = due.map(DbTimestamp);
        let rows = self
            .run(
                Role::General,
                "promote due tasks",
                sql!("promote"),
                &[&limit, &due, &id],
            )
            .await?;
        let row = &rows[0];
        let promoted = Promoted {
            count: count(row, "count"),
            next_due: row
                .get::<_, Option<f64>>("next_due")
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            more: row.get("more"),
        };
        // Also without a promoted task: the last one was skipped because it is unreadable.
        let has_last = promoted.count > 0 || promoted.more;
        let last = has_last.then(|| (row.get::<_, DbTimestamp>("last_due").0, row.get("last_id")));
        cursor.advance(last, promoted.more, started);
        Ok(promoted)
    }

    /// Per-second maintenance for external workers: returns up to `limit` tasks with expired
    /// leases to the queue, at most 8 MiB of large tasks, and does the other work of `tend`.
    pub async fn tend(&self, limit: u32) -> Result<Tended, StoreError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let verb = "expire the leases of workers";
        let rows = self
            .run(Role::General, verb, sql!("tend"), &[&limit])
            .await?;
        Ok(Tended {
            expired: count(&rows[0], "expired"),
            more: rows[0].get("more"),
        })
    }

    /// Creates the next partitions and drops those older than `retention`. Each step is its own
    /// transaction, and a partition that is in use is left for the next prune.
    pub async fn prune(&self, retention: impl Into<Retention>) -> Result<Pruned, StoreError> {
        let retention = retention.into();
        // At most a century: the interval type has a maximum.
        let seconds = |time: Duration| time.as_secs_f64().min(3.2e9);
        let (history, failed) = (seconds(retention.history), seconds(retention.failed));
        let mut pruned = Pruned::default();
        for _ in 0..STEPS {
            let rows = self
                .run(
                    Role::Bulk,
                    "prune history",
                    sql!("prune"),
                    &[&history, &failed],
                )
                .await?;
            pruned.created += count(&rows[0], "created");
            pruned.dropped += count(&rows[0], "dropped");
            pruned.rows += count(&rows[0], "deleted");
            for reason in rows[0].get::<_, Vec<String>>("skipped") {
                if !pruned.skipped.contains(&reason) {
                    tracing::warn!(reason, "could not prune a partition; trying again later");
                    pruned.skipped.insert(reason);
                }
            }
            if !rows[0].get::<_, bool>("more") {
                break;
            }
        }
        pruned.rows += self.prune_log_lines(retention.history).await?;
        let states = self
            .run(
                Role::Bulk,
                "prune saved values",
                sql!("state_prune"),
                &[&history],
            )
            .await?;
        pruned.rows += count(&states[0], "deleted");
        Ok(pruned)
    }
}

pub(crate) fn count(row: &tokio_postgres::Row, column: &str) -> u64 {
    row.get::<_, i64>(column).unsigned_abs()
}
