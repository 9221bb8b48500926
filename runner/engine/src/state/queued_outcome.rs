//! An outcome on its way to the completer.

use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::claimed_task::ClaimedTask;
use super::held_bytes::HeldBytesGuard;
use pgtq_store::OutcomeRecord;
use pgtq_task::{AttemptRecord, Transition};

/// Maximum number of queued outcomes; beyond it the slots wait.
pub(crate) const MAX_WAITING: usize = 4_096;
/// Maximum size of their results, errors, logs and children, in KiB.
pub(crate) const MAX_WAITING_KIB: u32 = 64 << 10;

/// An outcome on its way to the completer, with the resources it holds meanwhile.
#[derive(Debug)]
pub(crate) struct QueuedOutcome {
    pub(crate) ending: OutcomeRecord,
    /// The bytes of the task's arguments.
    held: HeldBytesGuard,
    /// Its share of the queue's size limit.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl QueuedOutcome {
    pub(crate) fn new(ending: OutcomeRecord, held: HeldBytesGuard) -> Self {
        QueuedOutcome {
            ending,
            held,
            room: None,
        }
    }

    /// The outcome of a task that no slot has started.
    pub(crate) fn not_started(claimed: ClaimedTask, transition: Transition) -> Self {
        let now = Instant::now();
        let ending = OutcomeRecord {
            claim: claimed.claim,
            task: claimed.task,
            transition,
            record: AttemptRecord::default(),
            recorded: false,
            has_state: false,
            started: now,
            ended: now,
        };
        QueuedOutcome::new(ending, claimed.held)
    }

    /// Releases a task that no slot has started, without using an attempt. If its
    /// cancellation was requested, the store cancels it.
    pub(crate) fn released(claimed: ClaimedTask) -> Self {
        QueuedOutcome::not_started(claimed, Transition::Release)
    }

    /// The outcome, taken off the queue.
    pub(crate) fn into_ending(self) -> OutcomeRecord {
        drop((self.held, self.room));
        self.ending
    }
}
