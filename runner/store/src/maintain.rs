//! What any runner does now and then for all, apart from rescue: promote, prune.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::connection::Role;
use super::sql::sql;
use super::timestamp::DbTimestamp;
use super::{Store, StoreError};

/// What [`Store::promote`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promoted {
    /// Tasks that became runnable.
    pub count: u64,
    /// Until the next one is due; zero when more are due now; `None` when nothing is scheduled.
    pub next_due: Option<Duration>,
    /// The call ended at its number of tasks or bytes: call again at once.
    pub more: bool,
}

/// What [`Store::tend`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tended {
    /// Leases of external workers that were taken back.
    pub expired: u64,
    /// The call ended at its number of tasks or bytes: call again at once.
    pub more: bool,
}

/// Where [`Store::promote_next`] continues. Under an old snapshot the index keeps an
/// entry for every task promoted since: they are read once, not once for each batch.
#[derive(Debug, Default)]
pub struct PromoteCursor {
    /// The due time and id of the last task promoted.
    last: Option<(jiff::Timestamp, i64)>,
    /// The last batch was full: more tasks are due behind it.
    is_burst: bool,
    /// When all due tasks are looked for again, from the first.
    full: Option<Instant>,
}

/// Tasks that become due this much earlier than those promoted already, because their
/// transaction committed late, are found at once; others at the next full look.
const LATE_COMMIT: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// Time between full looks at least, and in multiples of what one takes.
const FULL_LOOK: Duration = Duration::from_secs(1);
const FULL_LOOK_SHARE: u32 = 20;

impl PromoteCursor {
    /// Where to start now; `None` is at the first task.
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
        // A straggler does not lead back to what was passed.
        self.last = if is_full { last } else { self.last.max(last) };
    }
}

/// How long history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Of complete and cancelled tasks.
    pub history: Duration,
    /// Of failed tasks; as long as the others if it is shorter.
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

/// What [`Store::prune`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Partitions made ahead.
    pub created: u64,
    /// Partitions dropped.
    pub dropped: u64,
    /// Rows deleted one by one: expired keys, history without a partition, log lines
    /// that dead runners left, and values saved for tasks that are over.
    pub rows: u64,
    /// Partitions that stay because something failed, with the reason. Others were pruned.
    pub skipped: BTreeSet<String>,
}

/// Steps of one prune at most. What is left is done by the next.
const STEPS: u32 = 10_000;

impl Store {
    /// Makes up to `limit` due tasks runnable; of large ones 8 MiB, and one at least.
    pub async fn promote(&self, limit: u32) -> Result<Promoted, StoreError> {
        self.promote_next(limit, &mut PromoteCursor::default())
            .await
    }

    /// As [`Store::promote`], for a caller that does it again and again.
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
        // Without a task too: it was passed because it cannot be read.
        let has_last = promoted.count > 0 || promoted.more;
        let last = has_last.then(|| (row.get::<_, DbTimestamp>("last_due").0, row.get("last_id")));
        cursor.advance(last, promoted.more, started);
        Ok(promoted)
    }

    /// What external workers need each second: takes back up to `limit` leases that ended,
    /// of large tasks 8 MiB, and does what else `tend` does.
    pub async fn tend(&self, limit: u32) -> Result<Tended, StoreError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let verb = "take back the tasks of workers";
        let rows = self
            .run(Role::General, verb, sql!("tend"), &[&limit])
            .await?;
        Ok(Tended {
            expired: count(&rows[0], "expired"),
            more: rows[0].get("more"),
        })
    }

    /// Makes the next partitions and drops what is older than `retention`. Each step is a
    /// transaction of its own, and what others use is left for the next prune.
    pub async fn prune(&self, retention: impl Into<Retention>) -> Result<Pruned, StoreError> {
        let retention = retention.into();
        // At most a century: the interval type has an end.
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

pub(super) fn count(row: &tokio_postgres::Row, column: &str) -> u64 {
    row.get::<_, i64>(column).unsigned_abs()
}
