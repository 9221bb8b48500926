//! Endings to the store, in batches.
//!
//! A flush starts when the last one returned and takes everything that came in
//! meanwhile: under load batches grow by themselves, when idle nothing waits
//! for a timer. Size-bounded, so that one statement stays small.
//!
//! A lost connection leaves the outcome of a flush unknown. The same endings
//! are then sent again in the store's `again` mode, which skips what was
//! already recorded, until the database answers or the lease is gone. An
//! ending that the database refuses is stored as a failure instead: a task is
//! never lost to its own bad output.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::core::Core;
use crate::store::{Ending, Finished, StoreError};
use crate::task::{ClaimId, Digest, ErrorKind, Failure, LogLine, NewTask, Task, Transition, Usage};

/// Endings in one flush at most.
const MAX_BATCH: usize = 1_000;
/// Bytes of results, errors, logs and children in one flush, roughly.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How often a fault of the database is tried again before the ending is taken
/// for its cause.
const MAX_FAULTS: u32 = 3;
/// Endings that may wait; more make the slots wait.
pub(crate) const MAX_WAITING: usize = 4_096;

/// An attempt that ended, with process-local instants.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) claim: ClaimId,
    pub(crate) task: Arc<Task>,
    pub(crate) transition: Transition,
    pub(crate) usage: Usage,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) logs_dropped: u64,
    pub(crate) children: Vec<NewTask>,
    /// Committed already with the task's own transaction.
    pub(crate) recorded: bool,
    /// There are saved values of the task.
    pub(crate) has_state: bool,
    pub(crate) digest: Option<Digest>,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
}

impl Ended {
    /// Bytes it will cost in a statement, roughly.
    fn weight(&self) -> usize {
        let transition = match &self.transition {
            Transition::Complete { result } => result.len(),
            Transition::Fail { failure } | Transition::Retry { failure, .. } => {
                failure.message.len() + failure.details.as_ref().map_or(0, String::len)
            }
            _ => 0,
        };
        let logs: usize = self.logs.iter().map(|line| line.message.len() + 64).sum();
        let children: usize = self
            .children
            .iter()
            .map(|child| child.args.len() + 128)
            .sum();
        256 + transition + logs + children
    }

    fn into_ending(self) -> Ending {
        Ending {
            claim: self.claim,
            task: self.task,
            transition: self.transition,
            usage: self.usage,
            logs: self.logs,
            logs_dropped: self.logs_dropped,
            children: self.children,
            recorded: self.recorded,
            has_state: self.has_state,
            digest: self.digest,
            since_start: self.started.elapsed(),
            since_end: self.ended.elapsed(),
        }
    }
}

/// Runs until every sender is gone and everything is stored.
pub(crate) async fn complete(core: Arc<Core>, mut endings: mpsc::Receiver<Ended>) {
    let mut batch: Vec<Ended> = Vec::with_capacity(MAX_BATCH);
    while let Some(first) = endings.recv().await {
        let mut n_bytes = first.weight();
        batch.push(first);
        while batch.len() < MAX_BATCH && n_bytes < MAX_BATCH_BYTES {
            let Ok(next) = endings.try_recv() else { break };
            n_bytes += next.weight();
            batch.push(next);
        }
        let flush: Vec<Ending> = batch.drain(..).map(Ended::into_ending).collect();
        let was_large = flush.len() >= MAX_BATCH / 2;
        core.storing.store(true, SeqCst);
        store(&core, flush).await;
        core.storing.store(false, SeqCst);
        if core.storing_fails.swap(false, SeqCst) {
            tracing::info!("endings can be stored again");
            core.wake_all();
        }
        core.touch();
        if was_large {
            // Claimers may have waited for room in the channel.
            core.wake_all();
        }
    }
}

/// Stores a batch whatever it takes, unless the lease is lost on the way.
async fn store(core: &Core, batch: Vec<Ending>) {
    let mut again = false;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut n_faults = 0;
    loop {
        match core.store.finish(core.runner(), &batch, again).await {
            Ok(finished) => return settle(core, &batch, &finished),
            // None of these is the task's fault: a full disk or a revoked
            // password must not turn a result into a failure.
            Err(error) if !is_final(&error, &mut n_faults) => {
                // Not the ledger: a claim is gone, too, whose endings were stored.
                if !core.lease.is_held() {
                    tracing::warn!(n_tasks = batch.len(), %error, "the lease was lost before the endings were stored: what is not stored will run again");
                    core.stats.stale.fetch_add(batch.len() as u64, Relaxed);
                    return;
                }
                tracing::warn!(n_tasks = batch.len(), %error, "could not store endings; trying again");
                again = true;
                core.storing_fails.store(true, SeqCst);
                tokio::time::sleep(backoff.failed()).await;
            }
            Err(error) if batch.len() > 1 => {
                tracing::error!(n_tasks = batch.len(), %error, "a batch of endings was refused; storing them one by one");
                for one in batch {
                    Box::pin(store(core, vec![one])).await;
                }
                return;
            }
            Err(error) => return store_as_failure(core, batch, &error).await,
        }
    }
}

/// Whether storing the same again is pointless.
fn is_final(error: &StoreError, n_faults: &mut u32) -> bool {
    match error {
        StoreError::Refused { .. } => true,
        StoreError::Fault { .. } => {
            *n_faults += 1;
            *n_faults > MAX_FAULTS
        }
        _ => false,
    }
}

/// The last resort for one ending that the database refuses.
async fn store_as_failure(core: &Core, batch: Vec<Ending>, error: &StoreError) {
    for mut ending in batch {
        let already_plain = ending.logs.is_empty() && ending.children.is_empty();
        if already_plain
            && matches!(&ending.transition, Transition::Fail { failure } if failure.kind == ErrorKind::Internal)
        {
            tracing::error!(task = ending.task.id.0, %error, "the outcome cannot be stored; the task stays claimed until this runner stops");
            core.ledger.ended([(ending.claim, ending.task.id)]);
            continue;
        }
        let text = format!("the outcome could not be stored: {error}");
        ending.transition = Transition::Fail {
            failure: Failure::new(ErrorKind::Internal, text),
        };
        ending.logs.clear();
        ending.children.clear();
        Box::pin(store(core, vec![ending])).await;
    }
}

fn settle(core: &Core, batch: &[Ending], finished: &Finished) {
    for ending in batch {
        let key = (ending.claim, ending.task.id);
        if finished.stale.contains(&key) {
            core.stats.stale.fetch_add(1, Relaxed);
        } else if finished.refused.contains(&key) {
            tracing::error!(
                task = ending.task.id.0,
                "the database refused the outcome; stored the task as failed"
            );
            core.stats.failed.fetch_add(1, Relaxed);
        } else {
            core.stats.count(&ending.transition);
        }
    }
    // Before the ledger is empty: an ending may have made tasks runnable.
    core.look_again();
    core.ledger
        .ended(batch.iter().map(|ending| (ending.claim, ending.task.id)));
}
