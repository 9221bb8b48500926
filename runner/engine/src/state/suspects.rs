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
pub(crate) enum Admission {
    /// Run it; afterwards ask for the [next](Suspects::next).
    Run(ClaimedTask),
    /// Another suspect is running: this one waits.
    Wait,
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
    pub(crate) fn admit(&self, claimed: ClaimedTask) -> Admission {
        let mut inner = self.lock();
        if !inner.runs {
            inner.runs = true;
            return Admission::Run(claimed);
        }
        if inner.waiting.len() >= MAX_WAITING {
            return Admission::Full(claimed);
        }
        inner.waiting.push_back((Instant::now(), claimed));
        Admission::Wait
    }

    /// The next one, for the slot whose suspect has finished. After `None` no suspect is
    /// running.
    pub(crate) fn next(&self) -> Option<ClaimedTask> {
        let mut inner = self.lock();
        let next = inner.waiting.pop_front().map(|(_, claimed)| claimed);
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
        inner
            .waiting
            .drain(..n)
            .map(|(_, claimed)| claimed)
            .collect()
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
    use crate::state::held_bytes::HeldBytesGuard;
    use pgtq_task::{ClaimId, Name, Task, TaskId};

    fn claimed(id: i64) -> ClaimedTask {
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
            held: HeldBytesGuard::default(),
        }
    }

    fn id(claimed: &ClaimedTask) -> i64 {
        claimed.task.id.0
    }

    #[test]
    fn one_suspect_runs_at_a_time_and_the_next_follows_it() {
        let suspects = Suspects::default();
        assert!(matches!(suspects.admit(claimed(1)), Admission::Run(one) if id(&one) == 1));
        assert!(matches!(suspects.admit(claimed(2)), Admission::Wait));
        assert_eq!(suspects.next().as_ref().map(id), Some(2));
        assert!(matches!(suspects.admit(claimed(3)), Admission::Wait));
        assert_eq!(suspects.next().as_ref().map(id), Some(3));
        assert!(suspects.next().is_none());
        assert!(matches!(suspects.admit(claimed(4)), Admission::Run(_)));
    }

    #[test]
    fn waiting_suspects_are_released_after_a_second_and_beyond_the_limit() {
        let suspects = Suspects::default();
        assert!(matches!(suspects.admit(claimed(0)), Admission::Run(_)));
        for id in 1..=64 {
            assert!(matches!(suspects.admit(claimed(id)), Admission::Wait));
        }
        assert!(matches!(suspects.admit(claimed(65)), Admission::Full(_)));
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
