//! One claimer per queue group: counts its room, claims at most that many
//! tasks, hands them to its slots.
//!
//! Room is the slots plus about 100 ms of work at the speed measured here, so
//! that slots never wait for a round trip, and a crash or a drain never
//! concerns more than a moment's work. Polling is the truth: after an empty
//! claim the claimer looks again soon, then ever more seldom, unless somebody
//! rings.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use super::appetite::Appetite;
use super::backlog::{Backlog, Taken};
use super::backoff::Backoff;
use super::core::Core;
use super::shutdown::Phase;
use crate::store::{Lanes, StoreError};
use crate::task::Name;

/// Work that may wait in this process, as time.
const PREFETCH: Duration = Duration::from_millis(100);
/// Tasks that may wait in this process, however fast it is.
const MAX_PREFETCH: f64 = 2_000.0;
/// First wait after an empty claim; doubles up to the poll interval.
const FIRST_WAIT: Duration = Duration::from_millis(2);

/// Drives one queue group.
pub(crate) struct Claimer {
    pub(crate) core: Arc<Core>,
    pub(crate) group: usize,
    pub(crate) slots: u32,
    pub(crate) lanes: Lanes,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) appetite: Appetite,
}

impl Claimer {
    /// Claims until a drain is asked for; leaves unstarted tasks in the backlog.
    pub(crate) async fn run(mut self) {
        let mut pace = Pace::new();
        let mut wait = FIRST_WAIT;
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            let room = self.room(&mut pace);
            if room == 0 {
                self.core.stats.health.claims.works();
                if self.pause(None).await.is_break() {
                    return;
                }
                continue;
            }
            let n_refreshed = self.lanes.n_refreshed();
            let claimed = self.claim(room).await;
            self.note_look(&claimed, n_refreshed);
            match &claimed {
                Ok(_) => {
                    backoff.reset();
                    self.core.stats.health.claims.works();
                }
                Err(error) => self.core.stats.health.claims.failed(error),
            }
            let idle_for = match claimed {
                Ok(0) => {
                    let now = wait;
                    wait = (wait * 2).min(self.core.config.poll_interval);
                    Some(now)
                }
                Ok(n) => {
                    wait = FIRST_WAIT;
                    if n >= room {
                        continue;
                    }
                    None
                }
                Err(error) => {
                    self.appetite.failed();
                    self.core.served.suspect(&error);
                    tracing::warn!(%error, hint = error.hint(), "could not claim; trying again");
                    // Rings do not shorten it: they come from a database that works.
                    let until = tokio::time::sleep(backoff.failed());
                    tokio::select! {
                        () = self.core.shutdown.reached(Phase::Draining) => return,
                        () = until => {}
                    }
                    continue;
                }
            };
            if self.pause(idle_for).await.is_break() {
                return;
            }
        }
    }

    /// Counts a look that found nothing. One that did not look for new lanes
    /// counts neither way; without handlers there is nothing to look for.
    fn note_look(&self, claimed: &Result<usize, StoreError>, n_refreshed_before: u64) {
        let looks = &self.core.empty_looks[self.group];
        match claimed {
            Ok(0) => {
                let looked = self.lanes.n_refreshed() > n_refreshed_before;
                if looked || self.core.registry.snapshot().handlers.is_empty() {
                    looks.fetch_add(1, SeqCst);
                }
            }
            _ => looks.store(0, SeqCst),
        }
    }

    /// Waits for a reason to look again: a ring, room, or time.
    async fn pause(&self, idle_for: Option<Duration>) -> std::ops::ControlFlow<()> {
        let core = &self.core;
        let timeout = match idle_for {
            Some(idle_for) => self.prepare_to_wait(idle_for).await,
            None => core.config.poll_interval,
        };
        tokio::select! {
            biased;
            () = core.shutdown.reached(Phase::Draining) => return std::ops::ControlFlow::Break(()),
            () = core.wake[self.group].notified() => {}
            () = self.backlog.taken.notified(), if idle_for.is_none() => {}
            () = tokio::time::sleep(timeout) => {}
        }
        std::ops::ControlFlow::Continue(())
    }

    /// How many tasks to claim now; 0 while more than half of the room is taken,
    /// so that claims stay large when tasks are small, and while the store is
    /// behind with endings or cannot store them at all: what is done comes first. Nor
    /// while the tasks held are large enough to fill the memory that they may take. Nor
    /// without a sure lease, nor under a schema that does not serve this program.
    fn room(&self, pace: &mut Pace) -> usize {
        let endings = &self.core.endings;
        let backed_up = endings.capacity() < endings.max_capacity() / 2;
        let fails = self.core.storing_fails.load(SeqCst) || self.core.parked.is_full();
        let is_full = self.core.held.is_full();
        if backed_up
            || fails
            || is_full
            || !self.core.lease.is_sure()
            || !self.core.served.is_served()
        {
            return 0;
        }
        let prefetch =
            (pace.per_second(self.backlog.n_done()) * PREFETCH.as_secs_f64()).min(MAX_PREFETCH);
        let slots = self.slots as usize;
        let target = slots + prefetch as usize;
        // Before the look, so that whoever takes one after it rings.
        self.backlog.ring_below(prefetch as usize / 2);
        let n_waiting = self.backlog.len();
        let room = target.saturating_sub(n_waiting + self.backlog.n_running());
        let worth_it = n_waiting <= prefetch as usize / 2;
        if worth_it {
            room.min(self.appetite.most()).min(self.n_allowed())
        } else {
            0
        }
    }

    /// Tasks that `max_tasks` still allows to be claimed. Several groups that
    /// claim at the same moment may each take so many.
    fn n_allowed(&self) -> usize {
        let core = &self.core;
        let Some(most) = core.config.max_tasks else {
            return usize::MAX;
        };
        // In this order: an ending is counted before the ledger lets it go.
        let n_held = core.ledger.n_tasks();
        let n_left = most.saturating_sub(core.stats.n_final());
        usize::try_from(n_left)
            .unwrap_or(usize::MAX)
            .saturating_sub(n_held)
    }

    async fn claim(&mut self, want: usize) -> Result<usize, StoreError> {
        let core = &self.core;
        let handlers: Vec<Name> = core.registry.snapshot().handlers.keys().cloned().collect();
        if handlers.is_empty() {
            return Ok(0);
        }
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        let runner = core.runner();
        let claim = core
            .store
            .claim(runner, &mut self.lanes, &handlers, want)
            .await?;
        let Some(claimed) = claim else {
            return Ok(0);
        };
        if !core.lease.is_held() || core.runner() != runner {
            // The lease was given up meanwhile: this goes back with all the rest.
            tracing::warn!(claim = claimed.claim.0, "a claim came too late");
            return Ok(0);
        }
        let n_claimed = claimed.tasks.len();
        let n_bytes = claimed.tasks.iter().map(|task| task.args.len()).sum();
        self.appetite.took(n_claimed, n_bytes);
        core.ledger
            .add(claimed.claim, claimed.tasks.iter().map(|task| task.id));
        core.stats.claims.fetch_add(1, Relaxed);
        core.stats.claimed.fetch_add(n_claimed as u64, Relaxed);
        core.touch();
        let claim = claimed.claim;
        self.backlog
            .extend(claimed.tasks.into_iter().map(|task| Taken {
                claim,
                held: core.held.hold(task.args.len()),
                task: Arc::new(task),
            }));
        core.sleep.found(self.group, n_claimed);
        Ok(n_claimed)
    }

    /// Asks for a notification, if the wait is long enough. Returns how long to wait.
    async fn prepare_to_wait(&self, idle_for: Duration) -> Duration {
        let core = &self.core;
        if core.config.poll_only {
            return idle_for;
        }
        let queue = core.config.queues[self.group].name.as_ref();
        let poll_interval = core.config.poll_interval;
        core.sleep
            .prepare(&core.store, self.group, queue, idle_for, poll_interval)
            .await
    }
}

/// How fast this group ends attempts, smoothed over about half a second.
#[derive(Debug)]
struct Pace {
    at: Instant,
    n_ended: u64,
    per_second: f64,
}

impl Pace {
    fn new() -> Self {
        Pace {
            at: Instant::now(),
            n_ended: 0,
            per_second: 0.0,
        }
    }

    fn per_second(&mut self, n_ended: u64) -> f64 {
        let elapsed = self.at.elapsed().as_secs_f64();
        if elapsed >= 0.02 {
            let now = (n_ended - self.n_ended) as f64 / elapsed;
            let weight = (elapsed / 0.5).clamp(0.1, 1.0);
            self.per_second += (now - self.per_second) * weight;
            self.at = Instant::now();
            self.n_ended = n_ended;
        }
        self.per_second
    }
}
