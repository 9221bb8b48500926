//! Releases tasks for another runner or a later time.
//!
//! Suspects that wait too long for the running one, and tasks with traits that this
//! program does not know. A newer program pushed the latter: they may require an order,
//! an expiry or a concurrency limit. A runner that does not know how to honor a trait
//! releases the task for one that does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::outcome::completer;
use crate::state::claimed_task::ClaimedTask;
use crate::state::core::Core;
use crate::state::queued_outcome::QueuedOutcome;
use crate::state::suspects::PATIENCE;
use pgtq_task::Transition;

/// Delay until such a task is due again, randomly up to doubled: another runner takes it
/// at once, and the runners here do not loop on it.
const DELAY: Duration = Duration::from_secs(5);

/// Releases the task without using an attempt; it is due again after a delay.
pub(crate) async fn defer(core: &Core, claimed: ClaimedTask) {
    let delay = DELAY.mul_f64(1.0 + fastrand::f64());
    let queued = QueuedOutcome::not_started(claimed, Transition::Defer { delay });
    completer::hand_over(core, queued).await;
}

/// Defers suspects that have waited too long, until its future is dropped.
pub(crate) async fn defer_overdue_suspects(core: Arc<Core>) {
    loop {
        tokio::time::sleep(PATIENCE / 4).await;
        for claimed in core.suspects.overdue() {
            defer(&core, claimed).await;
        }
    }
}

/// The task's traits that this program does not know, if any.
pub(crate) fn unknown_traits(claimed: &ClaimedTask) -> Option<Vec<String>> {
    let unknown = claimed.task.traits.as_ref()?.unknown();
    (!unknown.is_empty()).then_some(unknown)
}

/// Defers a task that has these traits.
pub(crate) async fn defer_unknown(core: &Core, claimed: ClaimedTask, unknown: Vec<String>) {
    if let Some(n_tasks) = core.unknown_traits.note(Instant::now()) {
        tracing::warn!(
            task = claimed.task.id.0,
            traits = unknown.join(", "),
            n_tasks,
            "released a task with traits that this version does not know; update this runner, or start a newer one beside it"
        );
    }
    defer(core, claimed).await;
}
