//! What this runner holds: the claims it believes are its own, and the unfinished tasks
//! of each.
//!
//! The database decides whether a claim is held; this list only keeps the process from
//! starting a task, or storing an outcome, that it knows to be lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use pgtq_task::{ClaimId, Progress, Signal, StopReason, TaskId};

/// The answer of [`HeldClaims::start`].
#[derive(Debug)]
pub(crate) enum StartDecision {
    /// Run it; stop when the signal says so.
    Run(Arc<Signal>),
    /// The task was cancelled before it started.
    Cancelled,
    /// The claim is lost: drop the task.
    Lost,
}

/// An attempt that has run this long is most likely still running at the next heartbeat.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct HeldTask {
    started: Option<Instant>,
    /// It was running at the previous call of [`HeldClaims::long_running`].
    seen: bool,
    signal: Arc<Signal>,
}

/// A long-running attempt.
#[derive(Debug)]
pub(crate) struct LongRunning {
    pub(crate) claim: ClaimId,
    pub(crate) task: TaskId,
    pub(crate) signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct ClaimMap {
    claims: FxHashMap<ClaimId, FxHashMap<TaskId, HeldTask>>,
    n_tasks: usize,
}

/// Shared by every loop of one engine. The lock is held for a few map operations.
#[derive(Debug, Default)]
pub(crate) struct HeldClaims(Mutex<ClaimMap>);

impl HeldClaims {
    /// Adds a new claim.
    pub(crate) fn add(&self, claim: ClaimId, tasks: impl IntoIterator<Item = TaskId>) {
        let mut inner = self.lock();
        let held: FxHashMap<TaskId, HeldTask> = tasks
            .into_iter()
            .map(|task| {
                (
                    task,
                    HeldTask {
                        started: None,
                        seen: false,
                        signal: Arc::default(),
                    },
                )
            })
            .collect();
        inner.n_tasks += held.len();
        inner.claims.insert(claim, held);
    }

    /// Asks whether a task may start now.
    pub(crate) fn start(&self, claim: ClaimId, task: TaskId) -> StartDecision {
        let mut inner = self.lock();
        let Some(held) = inner
            .claims
            .get_mut(&claim)
            .and_then(|tasks| tasks.get_mut(&task))
        else {
            return StartDecision::Lost;
        };
        held.started = Some(Instant::now());
        match held.signal.asked() {
            Some(StopReason::Lost) => StartDecision::Lost,
            Some(StopReason::Cancel) => StartDecision::Cancelled,
            Some(StopReason::Interrupt) | None => StartDecision::Run(Arc::clone(&held.signal)),
        }
    }

    /// Moves a started task to a separate claim.
    pub(crate) fn isolate(&self, from: ClaimId, task: TaskId, to: ClaimId) {
        let mut inner = self.lock();
        let Some(held) = inner
            .claims
            .get_mut(&from)
            .and_then(|tasks| tasks.remove(&task))
        else {
            return;
        };
        inner.forget_if_empty(from);
        inner
            .claims
            .insert(to, FxHashMap::from_iter([(task, held)]));
    }

    /// Removes tasks whose outcomes are stored (or turned out stale).
    pub(crate) fn remove(&self, endings: impl IntoIterator<Item = (ClaimId, TaskId)>) {
        let mut inner = self.lock();
        for (claim, task) in endings {
            let removed = inner
                .claims
                .get_mut(&claim)
                .and_then(|tasks| tasks.remove(&task));
            inner.n_tasks -= usize::from(removed.is_some());
            inner.forget_if_empty(claim);
        }
    }

    /// Passes on a cancel request.
    pub(crate) fn cancel(&self, claim: ClaimId, task: TaskId) {
        if let Some(held) = self
            .lock()
            .claims
            .get(&claim)
            .and_then(|tasks| tasks.get(&task))
        {
            held.signal.stop(StopReason::Cancel);
        }
    }

    /// Stops every attempt, including those that a slot is about to start.
    pub(crate) fn interrupt(&self) {
        let inner = self.lock();
        for held in inner.claims.values().flat_map(FxHashMap::values) {
            held.signal.stop(StopReason::Interrupt);
        }
    }

    /// The lease is lost, and with it every claim.
    pub(crate) fn lose_all(&self) -> usize {
        let mut inner = self.lock();
        for held in inner.claims.values().flat_map(FxHashMap::values) {
            held.signal.stop(StopReason::Lost);
        }
        inner.claims.clear();
        std::mem::take(&mut inner.n_tasks)
    }

    /// Whether the claim is known here.
    pub(crate) fn has_claim(&self, claim: ClaimId) -> bool {
        self.lock().claims.contains_key(&claim)
    }

    /// Whether this claim's task has not finished yet.
    pub(crate) fn has_task(&self, claim: ClaimId, task: TaskId) -> bool {
        self.lock()
            .claims
            .get(&claim)
            .is_some_and(|tasks| tasks.contains_key(&task))
    }

    /// The attempts that were already running at the previous call: an attempt that
    /// starts and ends between two calls costs nothing.
    pub(crate) fn long_running(&self) -> Vec<LongRunning> {
        let mut inner = self.lock();
        let mut found = Vec::new();
        for (claim, tasks) in &mut inner.claims {
            for (task, held) in tasks.iter_mut().filter(|(_, held)| held.started.is_some()) {
                if std::mem::replace(&mut held.seen, true) {
                    found.push(LongRunning {
                        claim: *claim,
                        task: *task,
                        signal: Arc::clone(&held.signal),
                    });
                }
            }
        }
        found
    }

    /// Drops claims that the database no longer holds for this runner; returns the number
    /// of their tasks.
    pub(crate) fn lose(&self, claims: &[ClaimId]) -> usize {
        let mut inner = self.lock();
        let mut n_lost = 0;
        for claim in claims {
            let tasks = inner.claims.remove(claim).unwrap_or_default();
            n_lost += tasks.len();
            tasks
                .values()
                .for_each(|held| held.signal.stop(StopReason::Lost));
        }
        inner.n_tasks -= n_lost;
        n_lost
    }

    /// The started tasks, if others wait behind them and at least half of them have run
    /// for a while: short attempts would end before the heartbeat could report them.
    pub(crate) fn started(&self) -> Option<Vec<TaskId>> {
        let inner = self.lock();
        let held = inner.claims.values().flatten();
        let started: Vec<(TaskId, Instant)> = held
            .filter_map(|(task, held)| Some((*task, held.started?)))
            .collect();
        let is_slow = |(_, at): &&(TaskId, Instant)| at.elapsed() >= SLOW;
        let n_slow = started.iter().filter(is_slow).count();
        let says_much = started.len() < inner.n_tasks && n_slow > 0 && 2 * n_slow >= started.len();
        says_much.then(|| started.into_iter().map(|(task, _)| task).collect())
    }

    /// Tasks that are held and that no slot has started.
    pub(crate) fn n_unstarted(&self) -> usize {
        let inner = self.lock();
        let held = inner.claims.values().flat_map(FxHashMap::values);
        held.filter(|held| held.started.is_none()).count()
    }

    /// Whether cancellation of this task was requested.
    pub(crate) fn is_cancelled(&self, claim: ClaimId, task: TaskId) -> bool {
        let inner = self.lock();
        let held = inner.claims.get(&claim).and_then(|tasks| tasks.get(&task));
        held.is_some_and(|held| held.signal.asked() == Some(StopReason::Cancel))
    }

    /// Number of held, unfinished tasks.
    pub(crate) fn n_tasks(&self) -> usize {
        self.lock().n_tasks
    }

    /// Progress reported since the last call.
    pub(crate) fn take_progress(&self) -> Vec<(ClaimId, TaskId, Progress)> {
        let inner = self.lock();
        let mut found = Vec::new();
        for (claim, tasks) in &inner.claims {
            let started = tasks.iter().filter(|(_, held)| held.started.is_some());
            found
                .extend(started.filter_map(|(task, held)| {
                    Some((*claim, *task, held.signal.take_progress()?))
                }));
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, ClaimMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClaimMap {
    fn forget_if_empty(&mut self, claim: ClaimId) {
        if self.claims.get(&claim).is_some_and(FxHashMap::is_empty) {
            self.claims.remove(&claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: ClaimId = ClaimId(1);

    fn claims_with(tasks: &[i64]) -> HeldClaims {
        let claims = HeldClaims::default();
        claims.add(CLAIM, tasks.iter().map(|id| TaskId(*id)));
        claims
    }

    #[test]
    fn a_claim_is_forgotten_with_its_last_task() {
        let claims = claims_with(&[1, 2]);
        claims.remove([(CLAIM, TaskId(1)), (CLAIM, TaskId(1))]);
        assert!(claims.has_claim(CLAIM));
        assert_eq!(claims.n_tasks(), 1);
        claims.remove([(CLAIM, TaskId(2))]);
        assert!(!claims.has_claim(CLAIM));
    }

    #[test]
    fn a_task_cancelled_while_it_waits_never_starts() {
        let claims = claims_with(&[1]);
        assert_eq!(claims.n_unstarted(), 1);
        assert!(!claims.is_cancelled(CLAIM, TaskId(1)));
        claims.cancel(CLAIM, TaskId(1));
        assert!(claims.is_cancelled(CLAIM, TaskId(1)));
        assert!(matches!(
            claims.start(CLAIM, TaskId(1)),
            StartDecision::Cancelled
        ));
    }

    #[test]
    fn losing_a_claim_stops_its_attempts_and_keeps_the_rest_from_starting() {
        let claims = claims_with(&[1, 2]);
        let StartDecision::Run(signal) = claims.start(CLAIM, TaskId(1)) else {
            panic!("did not start")
        };
        assert_eq!(claims.lose_all(), 2);
        assert_eq!(signal.asked(), Some(StopReason::Lost));
        assert!(matches!(
            claims.start(CLAIM, TaskId(2)),
            StartDecision::Lost
        ));
    }

    #[test]
    fn an_attempt_is_long_running_when_two_calls_see_it() {
        let claims = claims_with(&[1, 2]);
        claims.start(CLAIM, TaskId(1));
        assert!(claims.long_running().is_empty());
        claims.start(CLAIM, TaskId(2));
        let long = claims.long_running();
        assert_eq!(long.len(), 1);
        assert_eq!((long[0].claim, long[0].task), (CLAIM, TaskId(1)));
        claims.remove([(CLAIM, TaskId(1))]);
        assert!(!claims.has_task(CLAIM, TaskId(1)) && claims.has_task(CLAIM, TaskId(2)));
        assert_eq!(claims.long_running().len(), 1);
    }

    #[test]
    fn an_isolated_task_ends_under_its_own_claim() {
        let claims = claims_with(&[1, 2]);
        claims.isolate(CLAIM, TaskId(1), ClaimId(2));
        claims.remove([(CLAIM, TaskId(2))]);
        assert!(!claims.has_claim(CLAIM) && claims.has_claim(ClaimId(2)));
        assert_eq!(claims.n_tasks(), 1);
    }

    #[test]
    fn an_interrupt_also_stops_attempts_started_after_it() {
        let claims = claims_with(&[1, 2]);
        let StartDecision::Run(signal) = claims.start(CLAIM, TaskId(1)) else {
            panic!("did not start")
        };
        claims.interrupt();
        assert_eq!(signal.asked(), Some(StopReason::Interrupt));
        let StartDecision::Run(signal) = claims.start(CLAIM, TaskId(2)) else {
            panic!("did not start")
        };
        assert_eq!(signal.asked(), Some(StopReason::Interrupt));
    }
}
