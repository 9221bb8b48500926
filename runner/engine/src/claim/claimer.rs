//! One claimer per queue group: computes the room, claims at most that many tasks and
//! passes them to its slots.
//!
//! Room is the number of slots plus about 100 ms of work at the measured throughput, so
//! that slots never wait for a round trip and a crash or drain affects only a moment's
//! work. The throughput describes the past: tasks that no slot has started within a second
//! are released, and while tasks wait the claimer checks several times a second for
//! pauses, cancellations and more urgent tasks. Correctness rests on polling: after an empty
//! claim the claimer polls again soon, then less and less often, unless a notification
//! arrives.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::backlog::{Backlog, HELD_FOR};
use super::claim_size::ClaimSize;
use super::throughput::Throughput;
use crate::backoff::LoopBackoff;
use crate::outcome::completer;
use crate::state::claimed_task::ClaimedTask;
use crate::state::core::Core;
use crate::state::queued_outcome::QueuedOutcome;
use crate::state::shutdown::Phase;
use pgtq_store::{Claimed, Lanes, StoreError};
use pgtq_task::{Name, RunnerId};

/// Amount of work that may wait in this process, as a time.
const PREFETCH: Duration = Duration::from_millis(100);
/// The same while a claim takes longer than half of that time.
const MAX_AHEAD: Duration = Duration::from_millis(500);
/// Maximum number of tasks that wait in this process, whatever the throughput.
const MAX_PREFETCH: f64 = 2_000.0;
/// While tasks wait for a slot: time between checks for pauses, cancellations and more
/// urgent tasks.
const TICK: Duration = Duration::from_millis(250);
/// First wait after an empty claim; doubles up to the poll interval.
const FIRST_WAIT: Duration = Duration::from_millis(2);

/// The claim loop of one queue group.
pub(crate) struct Claimer {
    pub(crate) core: Arc<Core>,
    pub(crate) group: usize,
    pub(crate) slots: u32,
    pub(crate) lanes: Lanes,
    pub(crate) backlog: Arc<Backlog>,
    /// When waiting tasks were last checked for pauses, cancellations and urgent tasks.
    pub(crate) ticked: Instant,
    /// Duration of the last claim.
    pub(crate) claim_took: Duration,
    pub(crate) claim_size: ClaimSize,
}

impl Claimer {
    /// Claims until a drain is requested; leaves unstarted tasks in the backlog.
    pub(crate) async fn run(mut self) {
        let mut throughput = Throughput::new();
        let mut wait = FIRST_WAIT;
        let mut backoff = LoopBackoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            self.release_waiting(&mut throughput).await;
            let room = self.room(&mut throughput);
            if room == 0 {
                self.core.stats.health.claims.record_success();
                self.check_waiting().await;
                if self.wait(None).await.is_break() {
                    return;
                }
                continue;
            }
            let n_sweeps = self.lanes.n_sweeps();
            let claimed = self.claim(room).await;
            self.count_empty_claims(&claimed, n_sweeps);
            match &claimed {
                Ok(_) => {
                    backoff.reset();
                    self.core.stats.health.claims.record_success();
                }
                Err(error) => self.core.stats.health.claims.failed(error),
            }
            let idle_for = match claimed {
                Ok(0) => match self.retry_after() {
                    // Some lanes were not scanned yet, so the queue is not known to be
                    // empty.
                    Some(left) => Some(left.clamp(Duration::from_millis(1), wait)),
                    None => {
                        let now = wait;
                        wait = (wait * 2).min(self.core.config.poll_interval);
                        Some(now)
                    }
                },
                Ok(n) => {
                    wait = FIRST_WAIT;
                    if n >= room {
                        continue;
                    }
                    // While these tasks run, and before the next claim.
                    self.request_notification(Duration::ZERO).await;
                    None
                }
                Err(error) => {
                    self.claim_size.failed();
                    self.core.schema.check_after(&error);
                    tracing::warn!(%error, hint = error.hint(), "could not claim tasks; retrying");
                    // Wake-ups do not shorten this wait: they come from a database that
                    // works.
                    let until = tokio::time::sleep(backoff.failed());
                    tokio::select! {
                        () = self.core.shutdown.reached(Phase::Draining) => return,
                        () = until => {}
                    }
                    continue;
                }
            };
            if self.wait(idle_for).await.is_break() {
                return;
            }
        }
    }

    /// Releases tasks that have waited too long, are paused or are to be cancelled. If
    /// tasks wait, the measured throughput was wrong: the measurement starts over.
    async fn release_waiting(&mut self, throughput: &mut Throughput) {
        let Some((oldest, _)) = self.backlog.waits() else {
            return;
        };
        if oldest.elapsed() < TICK {
            return;
        }
        let core = &self.core;
        let mut n_late = 0;
        let removed = self.backlog.remove_if(|claimed| {
            let is_late = claimed.since.elapsed() >= HELD_FOR;
            n_late += usize::from(is_late);
            is_late
                || self.backlog.is_paused(&claimed.task)
                || core.claims.is_cancelled(claimed.claim, claimed.task.id)
        });
        if n_late > 0 {
            *throughput = Throughput::new();
            tracing::debug!(
                n_tasks = n_late,
                "released tasks that no slot started in time"
            );
        }
        for claimed in removed {
            completer::hand_over(core, QueuedOutcome::released(claimed)).await;
        }
    }

    /// While tasks wait for a slot and no normal claim is allowed: refreshes what is
    /// paused, and claims tasks that are more urgent than the waiting ones, up to one for
    /// each slot.
    async fn check_waiting(&mut self) {
        let Some((oldest, priority)) = self.backlog.waits() else {
            return;
        };
        if oldest.elapsed() < TICK || self.ticked.elapsed() < TICK || !self.may_claim() {
            return;
        }
        self.ticked = Instant::now();
        let want = (self.slots as usize).min(self.n_allowed());
        let Ok(want @ 1..) = u32::try_from(want) else {
            return;
        };
        let core = Arc::clone(&self.core);
        let runner = core.runner();
        let claimed = core
            .store
            .claim_urgent(runner, &mut self.lanes, want, priority)
            .await;
        self.backlog.set_paused(self.lanes.paused());
        match claimed {
            Ok(claimed) => drop(claimed.map(|claimed| self.take_over(claimed, runner))),
            Err(error) => tracing::debug!(%error, "could not claim urgent tasks"),
        }
    }

    /// After an empty claim: when the next lane is due for a scan. `None` without handlers.
    fn retry_after(&self) -> Option<Duration> {
        match self.core.registry.snapshot().handlers.is_empty() {
            true => None,
            false => self.lanes.wakes_in(),
        }
    }

    /// Counts consecutive empty claims; any other result resets the count. An empty claim
    /// that did not scan for new lanes does not count, unless there are no handlers.
    fn count_empty_claims(&self, claimed: &Result<usize, StoreError>, n_sweeps_before: u64) {
        let looks = &self.core.empty_claims[self.group];
        match claimed {
            Ok(0) => {
                let looked = self.lanes.n_sweeps() > n_sweeps_before;
                if looked || self.core.registry.snapshot().handlers.is_empty() {
                    looks.fetch_add(1, SeqCst);
                }
            }
            _ => looks.store(0, SeqCst),
        }
    }

    /// Waits for a wake-up, for room, or for the poll interval.
    async fn wait(&mut self, idle_for: Option<Duration>) -> std::ops::ControlFlow<()> {
        let core = Arc::clone(&self.core);
        let draining = core.shutdown.reached(Phase::Draining).now_or_never();
        let notified = core.wake[self.group].notified().now_or_never();
        match (draining, notified) {
            (Some(()), _) => return std::ops::ControlFlow::Break(()),
            (None, Some(())) => {
                // The wake-up came during the claim, which may have passed that lane
                // already.
                self.lanes.wake();
                return std::ops::ControlFlow::Continue(());
            }
            (None, None) => {}
        }
        let mut timeout = match idle_for {
            Some(idle_for) => self.request_notification(idle_for).await,
            None => core.config.poll_interval,
        };
        if self.backlog.waits().is_some() {
            timeout = timeout.min(TICK);
        }
        tokio::select! {
            biased;
            () = core.shutdown.reached(Phase::Draining) => return std::ops::ControlFlow::Break(()),
            () = core.wake[self.group].notified() => self.lanes.wake(),
            () = self.backlog.room_freed.notified(), if idle_for.is_none() => {}
            () = tokio::time::sleep(timeout) => {}
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Whether tasks may be claimed now. Not while outcomes queue up or cannot be stored,
    /// because finished work comes first; not while the lease is in doubt; not under a
    /// schema that does not serve this program; and not while the arguments of held tasks
    /// fill their memory limit.
    fn may_claim(&self) -> bool {
        let outcomes = &self.core.outcomes;
        let backed_up = outcomes.capacity() < outcomes.max_capacity() / 2;
        let fails = self.core.storing_fails.load(SeqCst) || self.core.parked.is_full();
        let is_full = self.core.held.is_full();
        !(backed_up || fails || is_full)
            && self.core.lease.is_sure()
            && self.core.schema.is_compatible()
    }

    /// Number of tasks to claim now; 0 while more than half of the room is taken, so that
    /// claims stay large when tasks are small.
    fn room(&self, throughput: &mut Throughput) -> usize {
        if !self.may_claim() {
            return 0;
        }
        // Slow claims must not leave slots idle: that would lower the throughput, and with it
        // the next claim.
        let ahead = (self.claim_took * 2)
            .clamp(PREFETCH, MAX_AHEAD)
            .as_secs_f64();
        let prefetch = (throughput.per_second(self.backlog.n_done()) * ahead).min(MAX_PREFETCH);
        let slots = self.slots as usize;
        let target = slots + prefetch as usize;
        // Set before the backlog is read, so that a slot that takes a task afterwards
        // wakes the claimer.
        self.backlog.wake_below(prefetch as usize / 2);
        let n_waiting = self.backlog.len();
        let room = target.saturating_sub(n_waiting + self.backlog.n_running());
        let worth_it = n_waiting <= prefetch as usize / 2;
        if worth_it {
            room.min(self.claim_size.most()).min(self.n_allowed())
        } else {
            0
        }
    }

    /// Number of tasks that `max_tasks` still allows. Groups that claim at the same
    /// moment may each take this many.
    fn n_allowed(&self) -> usize {
        let core = &self.core;
        let Some(most) = core.config.max_tasks else {
            return usize::MAX;
        };
        // In this order: an outcome is counted before its task is removed from `claims`.
        let n_held = core.claims.n_tasks();
        let n_left = most.saturating_sub(core.stats.n_final());
        usize::try_from(n_left)
            .unwrap_or(usize::MAX)
            .saturating_sub(n_held)
    }

    async fn claim(&mut self, want: usize) -> Result<usize, StoreError> {
        let core = Arc::clone(&self.core);
        let handlers: Vec<Name> = core.registry.snapshot().handlers.keys().cloned().collect();
        if handlers.is_empty() {
            return Ok(0);
        }
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        let runner = core.runner();
        let started = Instant::now();
        let claim = core
            .store
            .claim(runner, &mut self.lanes, &handlers, want)
            .await?;
        self.claim_took = started.elapsed();
        let Some(claimed) = claim else {
            return Ok(0);
        };
        self.backlog.set_paused(self.lanes.paused());
        let n_claimed = self.take_over(claimed, runner);
        core.wake_requests.found(self.group, n_claimed);
        Ok(n_claimed)
    }

    /// Puts claimed tasks into the backlog and returns their number.
    fn take_over(&mut self, claimed: Claimed, runner: RunnerId) -> usize {
        let core = &self.core;
        if !core.lease.is_held() || core.runner() != runner {
            // The lease was given up meanwhile: this claim is released with all others.
            tracing::warn!(
                claim = claimed.claim.0,
                "a claim arrived after its lease was lost"
            );
            return 0;
        }
        let n_claimed = claimed.tasks.len();
        let n_bytes = claimed.tasks.iter().map(|task| task.args.len()).sum();
        self.claim_size.took(n_claimed, n_bytes);
        core.claims
            .add(claimed.claim, claimed.tasks.iter().map(|task| task.id));
        core.stats.claims.fetch_add(1, Relaxed);
        core.stats.claimed.fetch_add(n_claimed as u64, Relaxed);
        core.touch();
        let (claim, since) = (claimed.claim, Instant::now());
        self.backlog
            .extend(claimed.tasks.into_iter().map(|task| ClaimedTask {
                claim,
                held: core.held.hold(task.args.len()),
                task: Arc::new(task),
                since,
            }));
        n_claimed
    }

    /// Requests a notification if the wait is long enough. Returns how long to wait.
    async fn request_notification(&mut self, idle_for: Duration) -> Duration {
        let core = &self.core;
        if core.config.poll_only {
            return idle_for;
        }
        let queue = core.config.queues[self.group].name.as_ref();
        let poll_interval = core.config.poll_interval;
        let (wait, is_fresh) = core
            .wake_requests
            .prepare(&core.store, self.group, queue, idle_for, poll_interval)
            .await;
        if is_fresh {
            // Pushes before the request, into any lane, notified no one.
            self.lanes.wake();
        }
        wait
    }
}
