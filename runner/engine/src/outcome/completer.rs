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
//! [`parked`](crate::outcome::parked).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::backoff::Backoff;
use crate::claim::backlog::Taken;
use crate::outcome::parked::Reason;
use crate::outcome::required_locks::needs_others;
use crate::state::core::Core;
use crate::state::held_bytes::Hold;
use pgtq_store::{Ending, Finished, StoreError};
use pgtq_task::{AttemptRecord, Failure, LogLine, Transition};

/// Maximum number of outcomes in one flush.
const MAX_BATCH: usize = 1_000;
/// Approximate maximum of bytes of results, errors, logs and children in one flush.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How long a failure is blamed on the database alone before each outcome is tried on its
/// own.
const FAULT_PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of queued outcomes; beyond it the slots wait.
pub(crate) const MAX_WAITING: usize = 4_096;
/// Maximum size of their results, errors, logs and children, in KiB.
pub(crate) const MAX_WAITING_KIB: u32 = 64 << 10;
/// After a flush of at least this size, claimers may have been waiting for its bytes.
const LARGE_BYTES: usize = 1 << 20;

/// Shown by `/readyz`.
pub(crate) const FULL: &str = "too many outcomes wait for locks of other transactions, or are rejected by the database; look for open transactions in pg_stat_activity and for errors in the log";

/// An outcome on its way to the completer, with the resources it holds meanwhile.
#[derive(Debug)]
pub(crate) struct QueuedEnding {
    ending: Ending,
    /// The bytes of the task's arguments.
    held: Hold,
    /// Its share of the queue's size limit.
    room: Option<OwnedSemaphorePermit>,
}

impl QueuedEnding {
    pub(crate) fn new(ending: Ending, held: Hold) -> Self {
        QueuedEnding {
            ending,
            held,
            room: None,
        }
    }

    /// The outcome of a task that no slot has started.
    pub(crate) fn not_started(taken: Taken, transition: Transition) -> Self {
        let now = Instant::now();
        let ending = Ending {
            claim: taken.claim,
            task: taken.task,
            transition,
            record: AttemptRecord::default(),
            recorded: false,
            has_state: false,
            started: now,
            ended: now,
        };
        QueuedEnding::new(ending, taken.held)
    }

    /// The outcome, taken off the queue.
    fn into_ending(self) -> Ending {
        drop((self.held, self.room));
        self.ending
    }
}

/// Approximate size of an outcome in a statement, in bytes.
pub(crate) fn weight(ending: &Ending) -> usize {
    let args = ending.task.args.len();
    args + weight_without_args(ending)
}

/// As [`weight`], without the task's arguments.
fn weight_without_args(ending: &Ending) -> usize {
    let failure = |failure: &Failure| {
        let backtrace: usize = failure.backtrace.iter().map(String::len).sum();
        failure.message.len() + failure.details.as_ref().map_or(0, String::len) + backtrace
    };
    let transition = match &ending.transition {
        Transition::Complete { result } => result.len(),
        Transition::Fail { failure: of } | Transition::Retry { failure: of, .. } => failure(of),
        _ => 0,
    };
    let fields = |line: &LogLine| line.fields.as_ref().map_or(0, |json| json.get().len());
    let log = |line: &LogLine| line.message.len() + fields(line) + 64;
    let logs: usize = ending.record.logs.iter().map(log).sum();
    let children = ending.record.children.iter();
    let children: usize = children.map(|child| child.args.len() + 128).sum();
    256 + transition + logs + children
}

/// Sends an outcome to the completer; waits while its queue is full.
pub(crate) async fn hand_over(core: &Core, mut queued: QueuedEnding) {
    let n_bytes = weight_without_args(&queued.ending);
    let n_kib = u32::try_from(n_bytes / 1024)
        .unwrap_or(u32::MAX)
        .min(MAX_WAITING_KIB);
    if n_kib > 0 {
        let room = Arc::clone(&core.ending_room).acquire_many_owned(n_kib);
        queued.room = room.await.ok();
    }
    // Fails only if the completer has ended, which outlives every slot.
    let _ = core.endings.send(queued).await;
}

/// Runs until every sender is dropped and every outcome is stored.
pub(crate) async fn complete(core: Arc<Core>, endings: mpsc::Receiver<QueuedEnding>) {
    tokio::select! {
        () = flush_loop(&core, endings) => {}
        () = core.parked.run(&core) => {}
    }
}

async fn flush_loop(core: &Core, mut endings: mpsc::Receiver<QueuedEnding>) {
    while let Some(first) = endings.recv().await {
        let first = first.into_ending();
        let mut n_bytes = weight(&first);
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH && n_bytes < MAX_BATCH_BYTES {
            let Ok(next) = endings.try_recv() else { break };
            let next = next.into_ending();
            n_bytes += weight(&next);
            batch.push(next);
        }
        let was_large = batch.len() >= MAX_BATCH / 2 || n_bytes >= LARGE_BYTES;
        core.storing.store(true, SeqCst);
        let (waiting, batch) = core.parked.take_waiting(batch);
        core.parked.add(waiting, Reason::Locked, false);
        store(core, batch).await;
        core.storing.store(false, SeqCst);
        if core.storing_fails.swap(false, SeqCst) {
            tracing::info!("outcomes can be stored again");
            core.wake_all();
        }
        storing_works(core);
        core.touch();
        if was_large {
            // Claimers may have been waiting for room.
            core.wake_all();
        }
    }
}

/// Marks storing as healthy, unless it fails at the moment or too many outcomes are
/// parked.
pub(crate) fn storing_works(core: &Core) {
    match (core.storing_fails.load(SeqCst), core.parked.is_full()) {
        (true, _) => {}
        (false, true) => core.stats.health.endings.note(FULL.to_owned()),
        (false, false) => core.stats.health.endings.works(),
    }
}

/// Stores a batch, retrying until it succeeds or the lease is lost.
async fn store(core: &Core, mut batch: Vec<Ending>) {
    let mut again = false;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut first_fault = None;
    while !batch.is_empty() {
        let error = match core.store.finish(core.runner(), &batch, again).await {
            Ok(finished) => {
                settle(core, &batch, &finished);
                batch.retain(|ending| finished.locked.contains(&(ending.claim, ending.task.id)));
                return core.parked.add(batch, Reason::Locked, again);
            }
            // Certainly rolled back.
            Err(StoreError::Locked { .. }) => {
                let (waiting, rest): (Vec<Ending>, Vec<Ending>) =
                    batch.into_iter().partition(needs_others);
                if waiting.is_empty() {
                    return core.parked.add(rest, Reason::Locked, again);
                }
                core.parked.add(waiting, Reason::Locked, again);
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
                return park_rejected(core, batch, &error);
            }
            first_fault = None;
        }
        // Not the ledger: it also drops a claim once its outcomes are stored.
        if !core.lease.is_held() {
            tracing::warn!(n_tasks = batch.len(), %error, "the lease was lost before the outcomes were stored: tasks without a stored outcome will run again");
            core.stats.stale.fetch_add(batch.len() as u64, Relaxed);
            return;
        }
        tracing::warn!(n_tasks = batch.len(), %error, hint = error.hint(), "could not store outcomes; retrying");
        core.stats.health.endings.failed(&error);
        core.storing_fails.store(true, SeqCst);
        tokio::time::sleep(backoff.failed()).await;
    }
}

fn park_rejected(core: &Core, batch: Vec<Ending>, error: &StoreError) {
    for ending in &batch {
        tracing::error!(task = ending.task.id.0, %error, "the outcome of this task cannot be stored: it is kept and retried until it can, and the task stays claimed meanwhile");
    }
    core.parked.add(batch, Reason::Refused, true);
}

/// Stores each on its own, in `again` mode; returns those that were not stored.
async fn one_by_one(core: &Core, batch: Vec<Ending>) -> Vec<Ending> {
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

/// Counts stored outcomes and removes their tasks from the ledger.
pub(crate) fn settle(core: &Core, batch: &[Ending], finished: &Finished) {
    let key = |ending: &Ending| (ending.claim, ending.task.id);
    let is_stored = |ending: &&Ending| !finished.locked.contains(&key(ending));
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
    // Before the ledger is empty: an outcome may have made tasks runnable.
    core.look_again();
    core.ledger.ended(batch.iter().filter(is_stored).map(key));
}
