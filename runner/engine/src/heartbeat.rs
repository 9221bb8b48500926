//! One beat extends the lease of everything this runner holds, and brings
//! back what the database knows and this process does not.
//!
//! When the lease may be gone, every attempt is stopped and nothing is claimed
//! until the runner has registered again under a new id; the fence would refuse
//! its endings anyway.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::backoff::Backoff;
use super::core::Core;
use super::lease::BootTime;
use super::progress::ProgressBook;
use super::shutdown::Phase;
use pgtq_store::{Beat, RunnerFacts};
use pgtq_task::{ClaimId, TaskId};

/// Time between beats when nothing asks for one sooner.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time between looks at the clock: timers stand still while the machine sleeps.
const LOOK: Duration = Duration::from_secs(1);
/// How long anything that is not a beat may keep the next beat waiting.
const ASIDE: Duration = Duration::from_secs(2);

/// Beats until the engine ends.
pub(crate) struct Heartbeat {
    pub(crate) core: Arc<Core>,
    pub(crate) facts: RunnerFacts,
    progress: ProgressBook,
    /// What the last beat said has started.
    started: Option<Vec<TaskId>>,
    /// A beat has said that it takes no more tasks.
    said_draining: bool,
    /// For when there is no lease to lose any more.
    backoff: Backoff,
}

impl Heartbeat {
    pub(crate) fn new(core: Arc<Core>, facts: RunnerFacts) -> Self {
        Heartbeat {
            core,
            facts,
            progress: ProgressBook::default(),
            started: None,
            said_draining: false,
            backoff: Backoff::new(Duration::from_millis(500), INTERVAL),
        }
    }

    /// Runs until its future is dropped; a beat cut short is repeated by the next.
    pub(crate) async fn run(mut self) {
        loop {
            self.renew().await;
            tokio::select! {
                () = self.wait() => {}
                () = self.core.beat_now.notified() => {}
                // At once, so that the database knows it if we are killed before we are done.
                () = self.core.shutdown.reached(Phase::Draining), if !self.said_draining => {}
            }
        }
    }

    /// Waits until the next beat is due.
    async fn wait(&self) {
        loop {
            let left = INTERVAL.saturating_sub(self.core.lease.age());
            if left.is_zero() || self.has_started_more() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Whether tasks wait behind some that have started and that the database does not
    /// know to have started: if this runner is lost, those are not to blame that waited.
    fn has_started_more(&self) -> bool {
        let known = self.started.as_deref().unwrap_or_default();
        self.core
            .ledger
            .started()
            .is_some_and(|started| started.iter().any(|task| !known.contains(task)))
    }

    async fn renew(&mut self) {
        // After a long sleep: not only when the database does not answer either.
        self.give_up_in_time();
        let sent = BootTime::now();
        let beat = self.beat();
        // Not longer than the lease is trusted: `doubt` has to come in time.
        let patience = self.core.lease.left();
        let patience = patience.clamp(Duration::from_secs(1), INTERVAL);
        let answer =
            tokio::time::timeout(patience, self.core.store.beat(self.core.runner(), &beat)).await;
        match answer {
            Ok(Ok(reply)) if reply.alive && self.core.lease.is_held() => {
                self.core.lease.renew(sent);
                self.core.stats.health.lease.works();
                self.backoff.reset();
                self.reconcile(&reply.orphaned, &reply.lost).await;
                if reply.draining && self.core.shutdown.phase() == Phase::Running {
                    tracing::info!("asked to drain by an operator");
                    self.core.shutdown.drain();
                }
                for (claim, task) in reply.cancelled {
                    self.core.ledger.cancel(claim, task);
                }
            }
            Ok(Ok(reply)) if reply.alive => {
                // We gave up a lease that nobody took: the database still holds
                // our claims, and nobody here works on them any more.
                tracing::warn!(
                    runner = self.core.runner().0,
                    "the database is back; giving back what was stopped and registering again"
                );
                match self.core.store.retire(self.core.runner()).await {
                    Ok(_) => self.register_again().await,
                    Err(error) => self.doubt(&error.to_string()).await,
                }
            }
            Ok(Ok(_)) => {
                tracing::error!(
                    runner = self.core.runner().0,
                    "this runner was taken for dead and its tasks went to others; registering again"
                );
                self.register_again().await;
            }
            Ok(Err(error)) => self.doubt(&error.to_string()).await,
            Err(_) => self.doubt("no answer in time").await,
        }
    }

    fn beat(&mut self) -> Beat {
        let core = &self.core;
        self.progress
            .retain(|claim, task| core.ledger.holds(claim, task));
        for (claim, task, progress) in core.ledger.take_progress() {
            self.progress.note(claim, task, progress);
        }
        self.started = core.ledger.started();
        let draining = core.shutdown.phase() >= Phase::Draining;
        self.said_draining |= draining;
        Beat {
            draining,
            started: self.started.clone(),
            busy: u32::try_from(core.stats.running.load(Relaxed)).unwrap_or(u32::MAX),
            held: u32::try_from(core.ledger.n_unstarted()).unwrap_or(u32::MAX),
            plugins: serde_json::to_value(core.registry.snapshot().report()).unwrap_or_default(),
            progress: self.progress.list(),
        }
    }

    /// Claims that only the database knows lost their answer, or their endings
    /// with a primary that is gone: they are given back. Claims that it no longer holds were rescued: their attempts stop.
    /// The store knows which calls are under way and names neither by mistake.
    async fn reconcile(&self, orphaned: &[ClaimId], lost: &[ClaimId]) {
        let core = &self.core;
        for orphaned_claim in orphaned {
            tracing::warn!(
                claim = orphaned_claim.0,
                "giving back a claim that nobody here works on: its answer, or that of its endings, was lost"
            );
            // Behind the completer's statement this could wait longer than the lease.
            let release = core.store.release_claim(core.runner(), *orphaned_claim);
            match tokio::time::timeout(ASIDE, release).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "could not give it back; the next beat tries again");
                }
                Err(_) => break,
            }
        }
        let n_lost = core.ledger.lose(lost);
        if n_lost > 0 {
            tracing::warn!(
                n_tasks = n_lost,
                "claims were taken over by rescue; stopped their attempts"
            );
        }
    }

    /// A beat failed: keep going while the lease surely holds.
    async fn doubt(&mut self, why: &str) {
        tracing::warn!(
            error = why,
            silent_seconds = self.core.lease.age().as_secs(),
            "heartbeat failed"
        );
        self.core.stats.health.lease.note(why.to_owned());
        self.give_up_in_time();
        // A failed beat is repeated soon, not after a whole interval.
        self.core.beat_now.notify_one();
        let wait = match self.core.lease.is_held() {
            true => Duration::from_millis(500),
            false => self.backoff.failed(),
        };
        tokio::time::sleep(wait).await;
    }

    /// Stops every attempt once the lease may be gone.
    fn give_up_in_time(&self) {
        if !self.core.lease.is_over() || !self.core.lease.give_up() {
            return;
        }
        self.core.look_again();
        let n_tasks = self.core.ledger.lose_all();
        tracing::error!(
            n_tasks,
            "the lease may be gone: stopped every attempt; others will run them"
        );
    }

    async fn register_again(&mut self) {
        self.core.lease.give_up();
        self.core.look_again();
        self.core.ledger.lose_all();
        let sent = BootTime::now();
        let previous = self.core.runner();
        let again = self.core.store.register_again(&self.facts, previous);
        match again.await {
            Ok(id) => {
                self.core.set_runner(id);
                self.core.sleep.forget();
                self.core.lease.renew(sent);
                // What is missing then costs checks at push until the next change.
                let _ = tokio::time::timeout(ASIDE, self.core.publish()).await;
                self.core.wake_all();
                tracing::info!(runner = id.0, "registered again");
            }
            Err(error) => self.doubt(&error.to_string()).await,
        }
    }
}
