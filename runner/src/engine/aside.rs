//! Endings that the database does not take though it takes others.
//!
//! A trigger or a constraint of somebody else's on the history, most likely: a
//! result of the task's own that cannot be stored was made a failure by the store
//! already. They are kept as they are and offered again, and nobody waits for them:
//! whoever mends the database gets the outcome that was, and a runner that stops
//! gives the tasks back.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::completer::one_by_one;
use super::core::Core;
use crate::store::{Ending, StoreError};

/// So many, and nothing more is claimed until some are stored.
const MAX_ASIDE: usize = 100;

#[derive(Debug)]
pub(super) struct Aside {
    endings: Vec<Ending>,
    /// When their ages were last set.
    aged: Instant,
    due: Instant,
    backoff: Backoff,
}

impl Default for Aside {
    fn default() -> Self {
        Aside {
            endings: Vec::new(),
            aged: Instant::now(),
            due: Instant::now(),
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

impl Aside {
    /// Keeps them for later.
    pub(super) fn add(&mut self, endings: Vec<Ending>, error: &StoreError) {
        for ending in &endings {
            tracing::error!(task = ending.task.id.0, %error, "the outcome of this task cannot be stored: it is kept and offered again until it can, and the task stays claimed meanwhile");
        }
        self.grow_old();
        if self.endings.is_empty() {
            self.backoff.reset();
            self.due = Instant::now() + self.backoff.failed();
        }
        self.endings.extend(endings);
    }

    /// Whether there are too many of them to go on.
    pub(super) fn is_full(&self) -> bool {
        self.endings.len() >= MAX_ASIDE
    }

    /// Waits until they are to be offered again; for ever if there are none. Cancel-safe.
    pub(super) async fn due(&self) {
        if self.endings.is_empty() {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.due.into()).await;
    }

    /// Offers them again, each on its own.
    pub(super) async fn offer(&mut self, core: &Core) {
        self.grow_old();
        let endings = std::mem::take(&mut self.endings);
        if !core.lease.is_held() {
            tracing::warn!(
                n_tasks = endings.len(),
                "the lease was lost before the outcomes set aside were stored: their tasks will run again"
            );
            core.stats.stale.fetch_add(endings.len() as u64, Relaxed);
            return;
        }
        let n_before = endings.len();
        self.endings = one_by_one(core, endings).await;
        let n_left = self.endings.len();
        if n_left < n_before {
            self.backoff.reset();
            tracing::info!(
                n_tasks = n_before - n_left,
                "stored outcomes that were set aside"
            );
        } else {
            tracing::warn!(
                n_tasks = n_left,
                "outcomes that were set aside still cannot be stored"
            );
        }
        self.due = Instant::now() + self.backoff.failed();
    }

    /// An ending knows how long ago it was, not when.
    fn grow_old(&mut self) {
        let elapsed = self.aged.elapsed();
        self.aged = Instant::now();
        for ending in &mut self.endings {
            ending.since_start += elapsed;
            ending.since_end += elapsed;
        }
    }
}
