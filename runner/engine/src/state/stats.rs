//! Counters of one engine: for its summary, for `/metrics`, and for the claimer's throughput.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::state::health::Health;
use pgtq_task::Transition;

/// They only grow, except `running`.
#[derive(Debug)]
pub struct EngineStats {
    /// When the engine started.
    pub started: Instant,
    /// Tasks stored as complete.
    pub complete: AtomicU64,
    /// Tasks stored as failed.
    pub failed: AtomicU64,
    /// Tasks stored as cancelled.
    pub cancelled: AtomicU64,
    /// Attempts that will be tried again.
    pub retried: AtomicU64,
    /// Attempts snoozed.
    pub snoozed: AtomicU64,
    /// Tasks released without using an attempt.
    pub released: AtomicU64,
    /// Outcomes that came too late: the claim was lost.
    pub stale: AtomicU64,
    /// Tasks claimed.
    pub claimed: AtomicU64,
    /// Claims that returned at least one task.
    pub claims: AtomicU64,
    /// Attempts in progress.
    pub running: AtomicU64,
    /// Fuel consumed.
    pub fuel: AtomicU64,
    /// Tasks rescued from dead runners.
    pub rescued: AtomicU64,
    /// Which database operations fail now.
    pub health: Health,
}

impl Default for EngineStats {
    fn default() -> Self {
        let zero = AtomicU64::default;
        EngineStats {
            started: Instant::now(),
            complete: zero(),
            failed: zero(),
            cancelled: zero(),
            retried: zero(),
            snoozed: zero(),
            released: zero(),
            stale: zero(),
            claimed: zero(),
            claims: zero(),
            running: zero(),
            fuel: zero(),
            rescued: zero(),
            health: Health::default(),
        }
    }
}

impl EngineStats {
    /// Counts a stored transition.
    pub(crate) fn count(&self, transition: &Transition) {
        let counter = match transition {
            Transition::Complete { .. } => &self.complete,
            Transition::Fail { .. } => &self.failed,
            Transition::Cancel { .. } => &self.cancelled,
            Transition::Retry { .. } => &self.retried,
            Transition::Snooze { .. } => &self.snoozed,
            Transition::Release | Transition::Defer { .. } => &self.released,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Number of tasks that reached a final state here.
    pub fn n_final(&self) -> u64 {
        self.complete.load(Relaxed) + self.failed.load(Relaxed) + self.cancelled.load(Relaxed)
    }

    /// Number of attempts that ended here, final or not.
    pub fn n_ended(&self) -> u64 {
        self.n_final() + self.retried.load(Relaxed) + self.snoozed.load(Relaxed)
    }

    /// The figures of a whole run.
    pub fn summary(&self) -> Summary {
        Summary {
            complete: self.complete.load(Relaxed),
            failed: self.failed.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            retried: self.retried.load(Relaxed),
            released: self.released.load(Relaxed),
            stale: self.stale.load(Relaxed),
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

/// Summary of one run of an engine.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Tasks stored as complete.
    pub complete: u64,
    /// Tasks stored as failed.
    pub failed: u64,
    /// Tasks stored as cancelled.
    pub cancelled: u64,
    /// Attempts that will be tried again.
    pub retried: u64,
    /// Tasks released without using an attempt.
    pub released: u64,
    /// Outcomes that came too late.
    pub stale: u64,
    /// From start to stop.
    pub seconds: f64,
}
