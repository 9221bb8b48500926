//! Work that every runner does for all of them, without a leader: promote due tasks,
//! rescue the claims of dead runners, maintain the partitions of the history. Each round
//! is one short statement that skips rows locked by another runner.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use crate::backoff::LoopBackoff;
use crate::state::core::Core;
use pgtq_store::{PromoteCursor, Rescued, Tended};

/// Normal batch size for promotes and for expired leases of external workers.
const MOST: u32 = 1_000;
/// Time between checks for dead runners. With the 15 s lease a task of a killed runner
/// starts again within 20 s.
const RESCUE_INTERVAL: Duration = Duration::from_secs(3);
/// Time between checks for expired leases of external workers.
const TEND_INTERVAL: Duration = Duration::from_secs(1);
/// Average time between prunes.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// Smaller after an error, which may be a statement timeout.
struct BatchSize(u32);

impl BatchSize {
    fn note(&mut self, succeeded: bool) {
        self.0 = match succeeded {
            true => (self.0 * 2).min(MOST),
            false => (self.0 / 4).max(1),
        };
    }
}

/// Promotes until its future is dropped.
pub(crate) async fn promote(core: Arc<Core>) {
    let mut backoff = LoopBackoff::new(Duration::from_millis(500), Duration::from_secs(5));
    let mut cursor = PromoteCursor::default();
    let mut batch = BatchSize(MOST);
    loop {
        while_unserved(&core).await;
        let promoted = core.store.promote_next(batch.0, &mut cursor).await;
        batch.note(promoted.is_ok());
        let wait = match promoted {
            Ok(promoted) => {
                backoff.reset();
                if promoted.count > 0 {
                    core.expect_work();
                    core.wake_all();
                } else {
                    core.empty_promotes.fetch_add(1, SeqCst);
                }
                if promoted.more {
                    continue;
                }
                let next = promoted.next_due.unwrap_or(core.config.poll_interval);
                // Due but skipped: another transaction holds the row, perhaps for long.
                let held_elsewhere = promoted.count == 0 && next.is_zero();
                let least = Duration::from_millis(if held_elsewhere { 50 } else { 2 });
                next.max(least).min(core.config.poll_interval)
            }
            Err(error) => {
                tracing::warn!(%error, "could not promote due tasks; retrying");
                let wait = backoff.failed();
                tokio::time::sleep(wait).await;
                Duration::ZERO
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = core.promote_now.notified() => {}
        }
    }
}

/// Rescues until its future is dropped.
pub(crate) async fn rescue(core: Arc<Core>) {
    loop {
        while_unserved(&core).await;
        match core.store.rescue_with(core.config.max_crashes).await {
            Ok(rescued) if rescued == Rescued::default() => {}
            Ok(rescued) => {
                tracing::warn!(
                    runners = ?rescued.runners,
                    n_tasks = rescued.tasks,
                    n_failed = rescued.failed,
                    n_cancelled = rescued.cancelled,
                    "rescued the tasks of dead runners"
                );
                core.stats.rescued.fetch_add(rescued.tasks, Relaxed);
                if rescued.tasks + rescued.failed + rescued.cancelled > 0 {
                    core.expect_work();
                    core.wake_all();
                    // One call rescues a bounded number of claims: there may be more.
                    continue;
                }
                // A dead runner whose claims are locked by its last statement is reported
                // at every call: do not retry without a pause.
            }
            Err(error) => tracing::warn!(%error, "could not check for dead runners; retrying"),
        }
        tokio::time::sleep(RESCUE_INTERVAL).await;
    }
}

/// Rescues tasks whose external workers let their lease expire, until its future is
/// dropped.
pub(crate) async fn tend(core: Arc<Core>) {
    let mut batch = BatchSize(MOST);
    loop {
        while_unserved(&core).await;
        let tended = core.store.tend(batch.0).await;
        batch.note(tended.is_ok());
        let tended = tended.unwrap_or_else(|error| {
            tracing::warn!(%error, "could not rescue the tasks of external workers; retrying");
            Tended::default()
        });
        if tended.expired > 0 {
            tracing::info!(
                n_tasks = tended.expired,
                "rescued tasks of external workers whose lease expired"
            );
        }
        if !tended.more {
            tokio::time::sleep(TEND_INTERVAL).await;
        }
    }
}

/// Prunes until its future is dropped.
pub(crate) async fn prune(core: Arc<Core>) {
    loop {
        while_unserved(&core).await;
        match core.store.prune(core.config.retention).await {
            Ok(pruned) => tracing::debug!(?pruned, "pruned history"),
            Err(error) => tracing::warn!(%error, "could not prune history; will retry"),
        }
        // At other times than the other runners, which find nothing left to do.
        tokio::time::sleep(PRUNE_INTERVAL.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
    }
}

/// Waits while the schema does not serve this program; other runners do the maintenance.
async fn while_unserved(core: &Core) {
    while !core.schema.is_compatible() {
        tokio::time::sleep(RESCUE_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_shrinks_to_one_row_with_each_error_and_grows_again() {
        let mut batch = BatchSize(MOST);
        let mut seen = Vec::new();
        for succeeded in [false, false, false, false, false, false, true, true] {
            batch.note(succeeded);
            seen.push(batch.0);
        }
        assert_eq!(seen, [250, 62, 15, 3, 1, 1, 2, 4]);
        for _ in 0..10 {
            batch.note(true);
        }
        assert_eq!(batch.0, MOST);
    }
}
