//! Stores outcomes in batches.
//!
//! A flush starts when the previous one has returned and takes every outcome that has
//! arrived since: batches grow under load, and when idle nothing waits for a timer.
//! Batches are bounded in size so that one statement stays small.
//!
//! A lost connection leaves the result of a flush unknown. The same outcomes are then
//! sent again in the store's `again` mode, which skips those already recorded, until the
//! database answers or the lease is lost. Outcomes that wait for a lock of another
//! transaction, and outcomes that the database rejects while it accepts others, are
//! [`parked`](super::parked).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::parked::ParkedOutcomes;
use super::required_locks::needs_more_than_claim;
use super::settle::{note_storing_works, settle};
use super::size::{n_bytes, n_bytes_without_args};
use crate::backoff::LoopBackoff;
use crate::state::core::Core;
use crate::state::parked_counts::ParkReason;
use crate::state::queued_outcome::{MAX_WAITING_KIB, QueuedOutcome};
use pgtq_store::{OutcomeRecord, StoreError};

/// Maximum number of outcomes in one flush.
const MAX_BATCH: usize = 1_000;
/// Approximate maximum of bytes of results, errors, logs and children in one flush.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How long a failure is blamed on the database alone before each outcome is tried on its
/// own.
const FAULT_PATIENCE: Duration = Duration::from_secs(10);
/// After a flush of at least this size, claimers may have been waiting for its bytes.
const LARGE_BYTES: usize = 1 << 20;

/// Sends an outcome to the completer; waits while its queue is full.
pub(crate) async fn hand_over(core: &Core, mut queued: QueuedOutcome) {
    let n_bytes = n_bytes_without_args(&queued.ending);
    let n_kib = u32::try_from(n_bytes / 1024)
        .unwrap_or(u32::MAX)
        .min(MAX_WAITING_KIB);
    if n_kib > 0 {
        let room = Arc::clone(&core.outcome_room).acquire_many_owned(n_kib);
        queued.room = room.await.ok();
    }
    // Fails only if the completer has ended, which outlives every slot.
    let _ = core.outcomes.send(queued).await;
}

/// Runs until every sender is dropped and every outcome is stored.
pub(crate) async fn complete(core: Arc<Core>, outcomes: mpsc::Receiver<QueuedOutcome>) {
    let parked = ParkedOutcomes::new(&core);
    tokio::select! {
        () = flush_loop(&core, &parked, outcomes) => {}
        () = parked.run() => {}
    }
}

async fn flush_loop(
    core: &Core,
    parked: &ParkedOutcomes<'_>,
    mut outcomes: mpsc::Receiver<QueuedOutcome>,
) {
    while let Some(first) = outcomes.recv().await {
        let first = first.into_ending();
        let mut batch_bytes = n_bytes(&first);
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH && batch_bytes < MAX_BATCH_BYTES {
            let Ok(next) = outcomes.try_recv() else {
                break;
            };
            let next = next.into_ending();
            batch_bytes += n_bytes(&next);
            batch.push(next);
        }
        let was_large = batch.len() >= MAX_BATCH / 2 || batch_bytes >= LARGE_BYTES;
        core.storing.store(true, SeqCst);
        let (waiting, batch) = parked.take_waiting(batch);
        parked.add(waiting, ParkReason::Locked, false);
        store(core, parked, batch).await;
        core.storing.store(false, SeqCst);
        if core.storing_fails.swap(false, SeqCst) {
            tracing::info!("outcomes can be stored again");
            core.wake_all();
        }
        note_storing_works(core);
        core.touch();
        if was_large {
            // Claimers may have been waiting for room.
            core.wake_all();
        }
    }
}

/// Stores a batch, retrying until it succeeds or the lease is lost.
async fn store(core: &Core, parked: &ParkedOutcomes<'_>, mut batch: Vec<OutcomeRecord>) {
    let mut again = false;
    let mut backoff = LoopBackoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut first_fault = None;
    while !batch.is_empty() {
        let error = match core.store.finish(core.runner(), &batch, again).await {
            Ok(finished) => {
                settle(core, &batch, &finished);
                batch.retain(|ending| finished.locked.contains(&(ending.claim, ending.task.id)));
                return parked.add(batch, ParkReason::Locked, again);
            }
            // Certainly rolled back.
            Err(StoreError::Locked { .. }) => {
                let (waiting, rest): (Vec<OutcomeRecord>, Vec<OutcomeRecord>) =
                    batch.into_iter().partition(needs_more_than_claim);
                if waiting.is_empty() {
                    return parked.add(rest, ParkReason::Locked, again);
                }
                parked.add(waiting, ParkReason::Locked, again);
                batch = rest;
                continue;
            }
            Err(error) => error,
        };
        again = true;
        let n_before = batch.len();
        let suspected = match &error {
            StoreError::Refused { .. } => true,
            StoreError::Fault { .. } => {
                first_fault.get_or_insert_with(Instant::now).elapsed() >= FAULT_PATIENCE
            }
            _ => false,
        };
        if suspected {
            batch = one_by_one(core, batch).await;
            // If no outcome can be stored, the database is at fault. For a single one the
            // cause is unknown, and others must not wait for it.
            let takes_others = batch.len() < n_before || n_before == 1;
            if takes_others || matches!(error, StoreError::Refused { .. }) {
                return park_rejected(parked, batch, &error);
            }
            first_fault = None;
        }
        // Not the held claims: they also drop a claim once its outcomes are stored.
        if !core.lease.is_held() {
            tracing::warn!(n_tasks = batch.len(), %error, "the lease was lost before the outcomes were stored: tasks without a stored outcome will run again");
            core.stats.stale.fetch_add(batch.len() as u64, Relaxed);
            return;
        }
        tracing::warn!(n_tasks = batch.len(), %error, hint = error.hint(), "could not store outcomes; retrying");
        core.stats.health.outcomes.failed(&error);
        core.storing_fails.store(true, SeqCst);
        tokio::time::sleep(backoff.failed()).await;
    }
}

fn park_rejected(parked: &ParkedOutcomes<'_>, batch: Vec<OutcomeRecord>, error: &StoreError) {
    for ending in &batch {
        tracing::error!(task = ending.task.id.0, %error, "the outcome of this task cannot be stored: the runner keeps and retries it, and the task stays claimed meanwhile");
    }
    parked.add(batch, ParkReason::Rejected, true);
}

/// Stores each on its own, in `again` mode; returns those that were not stored.
async fn one_by_one(core: &Core, batch: Vec<OutcomeRecord>) -> Vec<OutcomeRecord> {
    let mut left = Vec::new();
    let mut batch = batch.into_iter();
    for ending in batch.by_ref() {
        let one = std::slice::from_ref(&ending);
        match core.store.finish(core.runner(), one, true).await {
            Ok(finished) if finished.locked.is_empty() => settle(core, one, &finished),
            Ok(_)
            | Err(
                StoreError::Locked { .. } | StoreError::Refused { .. } | StoreError::Fault { .. },
            ) => left.push(ending),
            Err(_) => {
                left.push(ending);
                break;
            }
        }
    }
    left.extend(batch);
    left
}
