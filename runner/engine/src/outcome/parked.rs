//! Outcomes that cannot be stored now although others can.
//!
//! Either they wait for a lock that another open transaction holds (an idempotency key of
//! a child, a claim that is being cancelled), or the database rejects them (a trigger or
//! a constraint that a user added to the history). They are kept unchanged and retried
//! beside the completer, which never waits for them. A runner that stops releases their
//! tasks.
//!
//! The engine derives the lock that an outcome waits for from what the outcome may need:
//! the keys of its children, or its claim. Of all outcomes that need the same lock one is
//! tried, so that a thousand children with one key cost one wait.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::required_locks::{RequiredLock, needs_more_than_claim, required_locks};
use super::settle::{FULL, note_storing_works, settle};
use super::size::n_bytes;
use crate::state::core::Core;
use crate::state::parked_counts::ParkReason;
use pgtq_store::{OutcomeRecord, StoreError};

/// Outcomes that are tried together the first time.
const MAX_TOGETHER: usize = 500;
/// How long one round may take; the next round starts with the rest.
const ROUND: Duration = Duration::from_secs(2);
/// Waits between retries.
const LOCKED_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const REJECTED_WAITS: (Duration, Duration) =
    (Duration::from_millis(1_000), Duration::from_secs(30));

#[derive(Debug)]
struct ParkedOutcome {
    ending: OutcomeRecord,
    reason: ParkReason,
    /// An earlier try may have committed.
    again: bool,
    n_tries: u32,
    due: Instant,
}

/// The parked outcomes of one engine; their numbers are in [`Core::parked`].
pub(crate) struct ParkedOutcomes<'a> {
    core: &'a Core,
    inner: Mutex<ParkedList>,
    added: Notify,
}

#[derive(Debug, Default)]
struct ParkedList {
    entries: Vec<ParkedOutcome>,
    /// The locks that entries wait for, as far as one entry of each was tried.
    locks: HashSet<RequiredLock>,
}

impl<'a> ParkedOutcomes<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        ParkedOutcomes {
            core,
            inner: Mutex::default(),
            added: Notify::new(),
        }
    }

    /// Adds outcomes that were not stored.
    pub(crate) fn add(&self, endings: Vec<OutcomeRecord>, reason: ParkReason, again: bool) {
        if endings.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut inner = self.lock();
        for ending in endings {
            self.core.parked.add(reason, n_bytes(&ending));
            let due = match reason {
                ParkReason::Locked => now,
                ParkReason::Rejected => now + retry_after(reason, 0),
            };
            inner.entries.push(ParkedOutcome {
                ending,
                reason,
                again,
                n_tries: 0,
                due,
            });
        }
        drop(inner);
        self.added.notify_one();
    }

    /// Removes from a batch the outcomes that may wait for a lock known to be held. While
    /// any key is held, the completer stores no child with a key.
    pub(crate) fn take_waiting(
        &self,
        batch: Vec<OutcomeRecord>,
    ) -> (Vec<OutcomeRecord>, Vec<OutcomeRecord>) {
        let inner = self.lock();
        if self.core.parked.n_locked() == 0 {
            return (Vec::new(), batch);
        }
        batch
            .into_iter()
            .partition(|ending| needs_more_than_claim(ending) || inner.waits(ending))
    }

    /// Retries them until its future is dropped.
    pub(crate) async fn run(&self) {
        let core = self.core;
        loop {
            let next = self.lock().entries.iter().map(|entry| entry.due).min();
            let added = self.added.notified();
            match next {
                None => added.await,
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    () = added => {}
                },
            }
            let was_full = core.parked.is_full();
            self.round().await;
            match core.parked.is_full() {
                true => core.stats.health.outcomes.record_failure(FULL.to_owned()),
                false if was_full => {
                    tracing::info!("parked outcomes are stored: claiming again");
                    note_storing_works(core);
                    core.wake_all();
                }
                false => {}
            }
        }
    }

    async fn round(&self) {
        let core = self.core;
        let now = Instant::now();
        let due: Vec<ParkedOutcome> = {
            let mut inner = self.lock();
            let all = std::mem::take(&mut inner.entries);
            let (due, later) = all.into_iter().partition(|entry| entry.due <= now);
            inner.entries = later;
            due
        };
        if due.is_empty() {
            return;
        }
        if !core.lease.is_held() {
            tracing::warn!(
                n_tasks = due.len(),
                "the lease was lost before parked outcomes were stored: their tasks will run again"
            );
            core.stats.stale.fetch_add(due.len() as u64, Relaxed);
            self.forget(&due);
            return;
        }
        let mut round = RetryRound {
            parked: self,
            ends: now + ROUND,
            held: HashSet::new(),
            freed: HashSet::new(),
        };
        let (fresh, tried): (Vec<ParkedOutcome>, Vec<ParkedOutcome>) = due
            .into_iter()
            .partition(|entry| entry.n_tries == 0 && entry.reason == ParkReason::Locked);
        round.store_together(fresh).await;
        round.store_each(tried).await;
        round.finish();
    }

    /// Removes entries that are stored or lost from the counts.
    fn forget(&self, entries: &[ParkedOutcome]) {
        let mut inner = self.lock();
        for entry in entries {
            let n_bytes = n_bytes(&entry.ending);
            self.core.parked.remove(entry.reason, n_bytes);
        }
        self.clear_if_none(&mut inner);
    }

    fn clear_if_none(&self, inner: &mut ParkedList) {
        if self.core.parked.n_locked() == 0 {
            inner.locks.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ParkedList> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One retry of all outcomes that are due.
struct RetryRound<'a> {
    parked: &'a ParkedOutcomes<'a>,
    ends: Instant,
    held: HashSet<RequiredLock>,
    freed: HashSet<RequiredLock>,
}

impl RetryRound<'_> {
    /// Tries these together, and each on its own if that fails.
    async fn store_together(&mut self, entries: Vec<ParkedOutcome>) {
        let (waiting, free): (Vec<ParkedOutcome>, Vec<ParkedOutcome>) = {
            let inner = self.parked.lock();
            entries.into_iter().partition(|e| inner.waits(&e.ending))
        };
        self.keep(waiting);
        let mut free = free.into_iter();
        loop {
            let chunk: Vec<ParkedOutcome> = free.by_ref().take(MAX_TOGETHER).collect();
            if chunk.is_empty() {
                return;
            }
            let (left, error) = match chunk.len() {
                1 => (chunk, None),
                _ => self.store(chunk).await,
            };
            if error.is_some_and(|error| error.is_transient()) {
                self.keep(left.into_iter().chain(free).collect());
                return;
            }
            self.store_each(left).await;
        }
    }

    /// Stores these. Returns those that are not stored, and the error if it was not a
    /// lock timeout.
    async fn store(
        &self,
        mut entries: Vec<ParkedOutcome>,
    ) -> (Vec<ParkedOutcome>, Option<StoreError>) {
        let endings: Vec<OutcomeRecord> =
            entries.iter().map(|entry| entry.ending.clone()).collect();
        let again = entries.iter().any(|entry| entry.again);
        let core = self.parked.core;
        let stored = core
            .store
            .finish_parked(core.runner(), &endings, again)
            .await;
        let finished = match stored {
            Ok(finished) => finished,
            Err(StoreError::Locked { .. }) => return (entries, None),
            Err(error) => {
                entries.iter_mut().for_each(|entry| entry.again = true);
                return (entries, Some(error));
            }
        };
        settle(core, &endings, &finished);
        let is_locked = |entry: &ParkedOutcome| {
            let key = (entry.ending.claim, entry.ending.task.id);
            finished.locked.contains(&key)
        };
        let (locked, stored): (Vec<ParkedOutcome>, Vec<ParkedOutcome>) =
            entries.into_iter().partition(is_locked);
        self.parked.forget(&stored);
        (locked, None)
    }

    /// Tries each on its own; of those that need the same lock, only one.
    async fn store_each(&mut self, entries: Vec<ParkedOutcome>) {
        let mut entries = entries.into_iter();
        while let Some(entry) = entries.next() {
            if Instant::now() >= self.ends {
                let mut inner = self.parked.lock();
                // First in the next round.
                let left = std::iter::once(entry).chain(entries);
                inner.entries.splice(0..0, left);
                return;
            }
            let locks = required_locks(&entry.ending);
            if entry.reason == ParkReason::Locked
                && locks.iter().any(|lock| self.held.contains(lock))
            {
                self.keep(vec![entry]);
                continue;
            }
            let (task, is_first) = (entry.ending.task.id.0, entry.n_tries == 0);
            let (left, error) = self.store(vec![entry]).await;
            match error {
                None if left.is_empty() => {
                    self.freed.extend(locks);
                    tracing::debug!(task, "stored a parked outcome");
                }
                None => {
                    if is_first {
                        tracing::warn!(
                            task,
                            "the outcome of this task waits for a lock that another transaction holds; others are stored meanwhile"
                        );
                    }
                    // With several locks it is unknown which one is held.
                    if let [lock] = locks.as_slice() {
                        self.held.insert(lock.clone());
                    }
                }
                Some(error) => {
                    tracing::warn!(task, %error, "a parked outcome still cannot be stored");
                    if error.is_transient() {
                        self.keep(left.into_iter().chain(entries).collect());
                        return;
                    }
                }
            }
            self.keep(left);
        }
    }

    /// Keeps them for a later round.
    fn keep(&self, entries: Vec<ParkedOutcome>) {
        let now = Instant::now();
        let mut inner = self.parked.lock();
        for mut entry in entries {
            entry.n_tries += 1;
            entry.due = now + retry_after(entry.reason, entry.n_tries);
            inner.entries.push(entry);
        }
    }

    /// Records which locks are held, and retries at once the entries whose lock is free.
    fn finish(self) {
        let mut guard = self.parked.lock();
        let inner = &mut *guard;
        inner.locks.retain(|lock| !self.freed.contains(lock));
        inner.locks.extend(self.held);
        self.parked.clear_if_none(inner);
        for entry in &mut inner.entries {
            let free = required_locks(&entry.ending)
                .iter()
                .any(|lock| self.freed.contains(lock));
            if free && entry.reason == ParkReason::Locked {
                entry.n_tries = 0;
                entry.due = Instant::now();
            }
        }
    }
}

impl ParkedList {
    fn waits(&self, ending: &OutcomeRecord) -> bool {
        let waits = |lock| self.locks.contains(lock);
        !self.locks.is_empty() && required_locks(ending).iter().any(waits)
    }
}

fn retry_after(reason: ParkReason, n_tries: u32) -> Duration {
    let (first, most) = match reason {
        ParkReason::Locked => LOCKED_WAITS,
        ParkReason::Rejected => REJECTED_WAITS,
    };
    first
        .saturating_mul(1 << n_tries.saturating_sub(1).min(16))
        .min(most)
}
