//! Tasks with traits that this program does not know.
//!
//! A newer program pushed them: they may require an order, an expiry or a concurrency
//! limit. A runner that does not know how to honor a trait releases the task for one that
//! does.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::claim::backlog::Taken;
use crate::outcome::completer::{self, QueuedEnding};
use crate::state::core::Core;
use pgtq_task::Transition;

/// Delay until such a task is due again, randomly up to doubled: a newer runner takes it
/// at once, and the runners here do not loop on it.
const COMES_AGAIN: Duration = Duration::from_secs(5);
/// Time between two log lines about it.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Tasks that were seen and not logged yet.
#[derive(Debug, Default)]
pub(crate) struct UnknownTraits(Mutex<Met>);

#[derive(Debug, Default)]
struct Met {
    n_tasks: u64,
    said: Option<Instant>,
}

impl UnknownTraits {
    /// Counts a task. Returns the number since the last log line, if the next line is
    /// due.
    fn note(&self, now: Instant) -> Option<u64> {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.n_tasks += 1;
        let is_due = met
            .said
            .is_none_or(|said| now.duration_since(said) >= SAID_EVERY);
        is_due.then(|| {
            met.said = Some(now);
            std::mem::take(&mut met.n_tasks)
        })
    }
}

/// The task's traits that this program does not know, if any.
pub(crate) fn of(taken: &Taken) -> Option<Vec<String>> {
    let unknown = taken.task.traits.as_ref()?.unknown();
    (!unknown.is_empty()).then_some(unknown)
}

/// Releases the task without using an attempt, for another runner or a later time.
pub(crate) async fn put_back(core: &Core, taken: Taken, unknown: Vec<String>) {
    if let Some(n_tasks) = core.unknown_traits.note(Instant::now()) {
        tracing::warn!(
            task = taken.task.id.0,
            traits = unknown.join(", "),
            n_tasks,
            "released a task with traits that this version does not know; update this runner, or start a newer one beside it"
        );
    }
    let delay = COMES_AGAIN.mul_f64(1.0 + fastrand::f64());
    completer::hand_over(
        core,
        QueuedEnding::not_started(taken, Transition::Defer { delay }),
    )
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_counted_and_logged_once_a_minute() {
        let unknown = UnknownTraits::default();
        let start = Instant::now();
        assert_eq!(unknown.note(start), Some(1));
        for second in 1..60 {
            assert_eq!(unknown.note(start + Duration::from_secs(second)), None);
        }
        assert_eq!(unknown.note(start + SAID_EVERY), Some(60));
        assert_eq!(unknown.note(start + SAID_EVERY), None);
    }
}
