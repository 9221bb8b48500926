//! What follows when outcomes are stored.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::state::core::Core;
use pgtq_store::{FinishResult, OutcomeRecord};

/// Shown by `/readyz`.
pub(crate) const FULL: &str = "too many outcomes wait for locks of other transactions, or are rejected by the database; look for open transactions in pg_stat_activity and for errors in the log";

/// Marks storing as healthy, unless it fails at the moment or too many outcomes are
/// parked.
pub(crate) fn note_storing_works(core: &Core) {
    match (core.storing_fails.load(SeqCst), core.parked.is_full()) {
        (true, _) => {}
        (false, true) => core.stats.health.outcomes.record_failure(FULL.to_owned()),
        (false, false) => core.stats.health.outcomes.record_success(),
    }
}

/// Counts stored outcomes and removes their tasks from the held claims.
pub(crate) fn settle(core: &Core, batch: &[OutcomeRecord], finished: &FinishResult) {
    let key = |ending: &OutcomeRecord| (ending.claim, ending.task.id);
    let is_stored = |ending: &&OutcomeRecord| !finished.locked.contains(&key(ending));
    for ending in batch.iter().filter(is_stored) {
        let key = key(ending);
        if finished.stale.contains(&key) {
            core.stats.stale.fetch_add(1, Relaxed);
        } else if finished.refused.contains(&key) {
            tracing::error!(
                task = ending.task.id.0,
                "the database rejected the outcome; stored the task as failed"
            );
            core.stats.failed.fetch_add(1, Relaxed);
        } else {
            core.stats.count(&ending.transition);
        }
    }
    // Before the last held task is removed: an outcome may have made tasks runnable.
    core.expect_work();
    core.claims.remove(batch.iter().filter(is_stored).map(key));
}
