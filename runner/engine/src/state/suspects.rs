//! Tasks that were running when a runner crashed: this runner runs one at a time, under
//! its own claim.
//!
//! If the runner crashes meanwhile, that task is to blame. Nothing else waits for it:
//! other tasks run beside it. Further suspects wait for a moment and are then released,
//! so that they neither fill the slots nor pile up here.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::claimed_task::ClaimedTask;

/// How long a suspect waits here for the running one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// Maximum number of suspects that wait here.
const MAX_WAITING: usize = 64;

/// The number of crashes that makes a task a suspect: one below the limit that fails it.
pub(crate) fn threshold(max_crashes: u32) -> u32 {
    max_crashes.saturating_sub(1).max(1)
}

/// What a slot does with a suspect.
#[derive(Debug)]
pub(crate) enum Offer {
    /// Run it; afterwards ask for the [next](Suspects::next).
    Run(ClaimedTask),
    /// Another suspect is running: this one waits.
    Waits,
    /// Too many wait: release it.
    Full(ClaimedTask),
}

#[derive(Debug, Default)]
struct SuspectQueue {
    runs: bool,
    waiting: VecDeque<(Instant, ClaimedTask)>,
}

/// The suspects of one engine.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<SuspectQueue>);

impl Suspects {
    /// Accepts a suspect from a slot.
    pub(crate) fn offer(&self, taken: ClaimedTask) -> Offer {
        let mut inner = self.lock();
        if !inner.runs {
            inner.runs = true;
            return Offer::Run(taken);
        }
        if inner.waiting.len() >= MAX_WAITING {
            return Offer::Full(taken);
        }
        inner.waiting.push_back((Instant::now(), taken));
        Offer::Waits
    }

    /// The next one, for the slot whose suspect has finished. After `None` no suspect is
    /// running.
    pub(crate) fn next(&self) -> Option<ClaimedTask> {
        let mut inner = self.lock();
        let next = inner.waiting.pop_front().map(|(_, taken)| taken);
        inner.runs = next.is_some();
        next
    }

    /// Those that have waited too long.
    pub(crate) fn overdue(&self) -> Vec<ClaimedTask> {
        let mut inner = self.lock();
        let n = inner
            .waiting
            .iter()
            .take_while(|(since, _)| since.elapsed() >= PATIENCE)
            .count();
        inner.waiting.drain(..n).map(|(_, taken)| taken).collect()
    }

    /// All waiting suspects: the engine stops.
    pub(crate) fn close(&self) -> Vec<ClaimedTask> {
        self.lock().waiting.drain(..).map(|(_, one)| one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, SuspectQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::state::held_bytes::Hold;
    use pgtq_task::{ClaimId, Name, Task, TaskId};

    fn taken(id: i64) -> ClaimedTask {
        ClaimedTask {
            claim: ClaimId(id),
            since: Instant::now(),
            task: Arc::new(Task {
                id: TaskId(id),
                queue: Name::default_queue(),
                handler: Name::default_queue(),
                priority: 0,
                args: "{}".to_owned(),
                attempts: 0,
                crashes: 2,
                retries: None,
                pushed_at: jiff::Timestamp::UNIX_EPOCH,
                due_at: jiff::Timestamp::UNIX_EPOCH,
                key: None,
                parent: None,
                traits: None,
            }),
            held: Hold::default(),
        }
    }

    fn id(taken: &ClaimedTask) -> i64 {
        taken.task.id.0
    }

    #[test]
    fn one_suspect_runs_at_a_time_and_the_next_follows_it() {
        let suspects = Suspects::default();
        assert!(matches!(suspects.offer(taken(1)), Offer::Run(one) if id(&one) == 1));
        assert!(matches!(suspects.offer(taken(2)), Offer::Waits));
        assert_eq!(suspects.next().as_ref().map(id), Some(2));
        assert!(matches!(suspects.offer(taken(3)), Offer::Waits));
        assert_eq!(suspects.next().as_ref().map(id), Some(3));
        assert!(suspects.next().is_none());
        assert!(matches!(suspects.offer(taken(4)), Offer::Run(_)));
    }

    #[test]
    fn waiting_suspects_are_released_after_a_second_and_beyond_the_limit() {
        let suspects = Suspects::default();
        assert!(matches!(suspects.offer(taken(0)), Offer::Run(_)));
        for id in 1..=64 {
            assert!(matches!(suspects.offer(taken(id)), Offer::Waits));
        }
        assert!(matches!(suspects.offer(taken(65)), Offer::Full(_)));
        assert!(suspects.overdue().is_empty());
        for (since, _) in &mut suspects.lock().waiting {
            *since = since.checked_sub(PATIENCE).expect("the clock is older");
        }
        assert_eq!(suspects.overdue().len(), 64);
        assert!(suspects.close().is_empty());
    }

    #[test]
    fn the_threshold_is_one_below_the_limit_and_at_least_one() {
        let found: Vec<u32> = [1, 2, 3, 10].into_iter().map(threshold).collect();
        assert_eq!(found, [1, 1, 2, 9]);
    }
}
