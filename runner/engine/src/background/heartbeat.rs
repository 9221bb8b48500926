//! One beat extends the lease of everything this runner holds, and returns what the
//! database knows and this process does not.
//!
//! When the lease may be lost, every attempt is stopped and nothing is claimed until the
//! runner has registered again under a new id; the fence would reject its outcomes
//! anyway.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::published_handlers::publish;
use super::reported_progress::ReportedProgress;
use crate::backoff::LoopBackoff;
use crate::state::core::Core;
use crate::state::lease::BootTime;
use crate::state::shutdown::Phase;
use pgtq_store::{Beat, RunnerFacts};
use pgtq_task::{ClaimId, TaskId};

/// Time between beats unless one is requested sooner.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time between checks of the clock: timers stand still while the machine sleeps.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long any work other than a beat may delay the next beat.
const SIDE_WORK_TIMEOUT: Duration = Duration::from_secs(2);

/// Beats until the engine ends.
pub(crate) struct Heartbeat {
    pub(crate) core: Arc<Core>,
    pub(crate) facts: RunnerFacts,
    progress: ReportedProgress,
    /// The started tasks that the last beat reported.
    started: Option<Vec<TaskId>>,
    /// Whether a beat has reported that this runner takes no more tasks.
    reported_draining: bool,
    /// Retry delays once there is no lease left to lose.
    backoff: LoopBackoff,
}

impl Heartbeat {
    pub(crate) fn new(core: Arc<Core>, facts: RunnerFacts) -> Self {
        Heartbeat {
            core,
            facts,
            progress: ReportedProgress::default(),
            started: None,
            reported_draining: false,
            backoff: LoopBackoff::new(Duration::from_millis(500), INTERVAL),
        }
    }

    /// Runs until its future is dropped; the next beat repeats one that was cut short.
    pub(crate) async fn run(mut self) {
        loop {
            self.renew().await;
            tokio::select! {
                () = self.wait() => {}
                () = self.core.beat_now.notified() => {}
                // At once, so that the database knows it if this process is killed before
                // it is done.
                () = self.core.shutdown.reached(Phase::Draining), if !self.reported_draining => {}
            }
        }
    }

    /// Waits until the next beat is due.
    async fn wait(&self) {
        loop {
            let left = INTERVAL.saturating_sub(self.core.lease.age());
            if left.is_zero() || self.has_unreported_starts() {
                return;
            }
            tokio::time::sleep(left.min(CHECK_INTERVAL)).await;
        }
    }

    /// Whether tasks wait behind started ones that the database does not know to have
    /// started: if this runner is lost, the waiting tasks must not be blamed.
    fn has_unreported_starts(&self) -> bool {
        let known = self.started.as_deref().unwrap_or_default();
        self.core
            .claims
            .started()
            .is_some_and(|started| started.iter().any(|task| !known.contains(task)))
    }

    async fn renew(&mut self) {
        // After a long sleep the lease is lost, even if the database answers.
        self.give_up_if_expired();
        let sent = BootTime::now();
        let beat = self.beat();
        // Not longer than the lease is trusted: `handle_failed_beat` must run in time.
        let patience = self.core.lease.left();
        let patience = patience.clamp(Duration::from_secs(1), INTERVAL);
        let answer =
            tokio::time::timeout(patience, self.core.store.beat(self.core.runner(), &beat)).await;
        match answer {
            Ok(Ok(reply)) if reply.alive && self.core.lease.is_held() => {
                self.core.lease.renew(sent);
                self.core.stats.health.lease.record_success();
                self.backoff.reset();
                self.reconcile(&reply.orphaned, &reply.lost).await;
                if reply.draining && self.core.shutdown.phase() == Phase::Running {
                    tracing::info!("an operator requested a drain");
                    self.core.shutdown.drain();
                }
                for (claim, task) in reply.cancelled {
                    self.core.claims.cancel(claim, task);
                }
            }
            Ok(Ok(reply)) if reply.alive => {
                // This runner gave up a lease that no other runner took over: the
                // database still holds its claims, and none of them is worked on any
                // more.
                tracing::warn!(
                    runner = self.core.runner().0,
                    "the database is back; releasing the stopped tasks and registering again"
                );
                match self.core.store.retire(self.core.runner()).await {
                    Ok(_) => self.register_again().await,
                    Err(error) => self.handle_failed_beat(&error.to_string()).await,
                }
            }
            Ok(Ok(_)) => {
                tracing::error!(
                    runner = self.core.runner().0,
                    "lease expired, its tasks were rescued; registering again"
                );
                self.register_again().await;
            }
            Ok(Err(error)) => self.handle_failed_beat(&error.to_string()).await,
            Err(_) => self.handle_failed_beat("no answer in time").await,
        }
    }

    fn beat(&mut self) -> Beat {
        let core = &self.core;
        self.progress
            .retain(|claim, task| core.claims.has_task(claim, task));
        for (claim, task, progress) in core.claims.take_progress() {
            self.progress.note(claim, task, progress);
        }
        self.started = core.claims.started();
        let draining = core.shutdown.phase() >= Phase::Draining;
        self.reported_draining |= draining;
        Beat {
            draining,
            started: self.started.clone(),
            busy: u32::try_from(core.stats.running.load(Relaxed)).unwrap_or(u32::MAX),
            held: u32::try_from(core.claims.n_unstarted()).unwrap_or(u32::MAX),
            plugins: serde_json::to_value(core.registry.snapshot().report()).unwrap_or_default(),
            progress: self.progress.list(),
        }
    }

    /// Claims that only the database knows lost their answer, or their outcomes with a
    /// failed primary: they are released. Claims that the database no longer holds were
    /// rescued: their attempts stop. The store knows which calls are in progress and
    /// lists neither by mistake.
    async fn reconcile(&self, orphaned: &[ClaimId], lost: &[ClaimId]) {
        let core = &self.core;
        for orphaned_claim in orphaned {
            tracing::warn!(
                claim = orphaned_claim.0,
                "releasing a claim that this runner does not work on: its response, or that of its outcomes, was lost"
            );
            // Behind the completer's statement this could wait longer than the lease.
            let release = core.store.release_claim(core.runner(), *orphaned_claim);
            match tokio::time::timeout(SIDE_WORK_TIMEOUT, release).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "could not release the claim; the next heartbeat tries again");
                }
                Err(_) => break,
            }
        }
        let n_lost = core.claims.lose(lost);
        if n_lost > 0 {
            tracing::warn!(
                n_tasks = n_lost,
                "claims were rescued by another runner; stopped their attempts"
            );
        }
    }

    /// Handles a failed beat: keeps working while the lease is certainly valid.
    async fn handle_failed_beat(&mut self, why: &str) {
        tracing::warn!(
            error = why,
            silent_seconds = self.core.lease.age().as_secs(),
            "heartbeat failed"
        );
        self.core.stats.health.lease.record_failure(why.to_owned());
        self.give_up_if_expired();
        // A failed beat is repeated soon, not after a full interval.
        self.core.beat_now.notify_one();
        let wait = match self.core.lease.is_held() {
            true => Duration::from_millis(500),
            false => self.backoff.failed(),
        };
        tokio::time::sleep(wait).await;
    }

    /// Stops every attempt once the lease may be lost.
    fn give_up_if_expired(&self) {
        if !self.core.lease.is_expired() || !self.core.lease.give_up() {
            return;
        }
        self.core.expect_work();
        let n_tasks = self.core.claims.lose_all();
        tracing::error!(
            n_tasks,
            "the lease may be lost: stopped every attempt; other runners will run the tasks"
        );
    }

    async fn register_again(&mut self) {
        self.core.lease.give_up();
        self.core.expect_work();
        self.core.claims.lose_all();
        let sent = BootTime::now();
        let previous = self.core.runner();
        let again = self.core.store.register_again(&self.facts, previous);
        match again.await {
            Ok(id) => {
                self.core.set_runner(id);
                self.core.wake_requests.forget();
                self.core.lease.renew(sent);
                // If this fails, pushes pay for extra checks until the next change.
                let _ = tokio::time::timeout(SIDE_WORK_TIMEOUT, publish(&self.core)).await;
                self.core.wake_all();
                tracing::info!(runner = id.0, "registered again");
            }
            Err(error) => self.handle_failed_beat(&error.to_string()).await,
        }
    }
}
