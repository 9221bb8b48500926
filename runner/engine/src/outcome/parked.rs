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

use crate::outcome::completer::{FULL, settle, storing_works, weight};
use crate::outcome::required_locks::{Need, needs, needs_others};
use crate::state::core::Core;
use pgtq_store::{Ending, StoreError};

/// Rejected outcomes: at this many, nothing more is claimed until some are stored.
const MAX_REFUSED: usize = 100;
/// Outcomes that wait for a lock: at this many, or this many bytes, nothing more is
/// claimed.
const MAX_LOCKED: usize = 5_000;
const MAX_BYTES: usize = 64 << 20;
/// Outcomes that are tried together the first time.
const MAX_TOGETHER: usize = 500;
/// How long one round may take; the next round starts with the rest.
const ROUND: Duration = Duration::from_secs(2);
/// Waits between retries.
const LOCKED_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const REFUSED_WAITS: (Duration, Duration) = (Duration::from_millis(1_000), Duration::from_secs(30));

/// Why an outcome is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Locked,
    Refused,
}

#[derive(Debug)]
struct Entry {
    ending: Ending,
    reason: Reason,
    /// An earlier try may have committed.
    again: bool,
    n_tries: u32,
    due: Instant,
}

/// The parked outcomes of one engine.
#[derive(Debug, Default)]
pub(crate) struct ParkedOutcomes {
    inner: Mutex<Inner>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    /// The locks that entries wait for, as far as one entry of each was tried.
    needs: HashSet<Need>,
    n_refused: usize,
    n_locked: usize,
    n_bytes: usize,
}

impl ParkedOutcomes {
    /// Adds outcomes that were not stored.
    pub(crate) fn add(&self, endings: Vec<Ending>, reason: Reason, again: bool) {
        if endings.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut inner = self.lock();
        for ending in endings {
            inner.count(&ending, reason);
            let due = match reason {
                Reason::Locked => now,
                Reason::Refused => now + retry_after(reason, 0),
            };
            inner.entries.push(Entry {
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

    /// Whether too many are parked to claim more.
    pub(crate) fn is_full(&self) -> bool {
        let inner = self.lock();
        inner.n_refused >= MAX_REFUSED || inner.n_locked >= MAX_LOCKED || inner.n_bytes >= MAX_BYTES
    }

    /// How many wait for a lock.
    pub(crate) fn n_locked(&self) -> usize {
        self.lock().n_locked
    }

    /// Removes from a batch the outcomes that may wait for a lock known to be held. While
    /// any key is held, the completer stores no child with a key.
    pub(crate) fn take_waiting(&self, batch: Vec<Ending>) -> (Vec<Ending>, Vec<Ending>) {
        let inner = self.lock();
        if inner.n_locked == 0 {
            return (Vec::new(), batch);
        }
        batch
            .into_iter()
            .partition(|ending| needs_others(ending) || inner.waits(ending))
    }

    /// Retries them until its future is dropped.
    pub(crate) async fn run(&self, core: &Core) {
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
            let was_full = self.is_full();
            self.round(core).await;
            match self.is_full() {
                true => core.stats.health.endings.note(FULL.to_owned()),
                false if was_full => {
                    tracing::info!("parked outcomes are stored: claiming again");
                    storing_works(core);
                    core.wake_all();
                }
                false => {}
            }
        }
    }

    async fn round(&self, core: &Core) {
        let now = Instant::now();
        let due: Vec<Entry> = {
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
            self.lock().forget(&due);
            return;
        }
        let mut round = Round {
            parked: self,
            core,
            ends: now + ROUND,
            held: HashSet::new(),
            freed: HashSet::new(),
        };
        let (fresh, tried): (Vec<Entry>, Vec<Entry>) = due
            .into_iter()
            .partition(|entry| entry.n_tries == 0 && entry.reason == Reason::Locked);
        round.store_together(fresh).await;
        round.store_each(tried).await;
        round.finish();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One retry of all outcomes that are due.
struct Round<'a> {
    parked: &'a ParkedOutcomes,
    core: &'a Core,
    ends: Instant,
    held: HashSet<Need>,
    freed: HashSet<Need>,
}

impl Round<'_> {
    /// Tries these together, and each on its own if that fails.
    async fn store_together(&mut self, entries: Vec<Entry>) {
        let (waiting, free): (Vec<Entry>, Vec<Entry>) = {
            let inner = self.parked.lock();
            entries.into_iter().partition(|e| inner.waits(&e.ending))
        };
        self.keep(waiting);
        let mut free = free.into_iter();
        loop {
            let chunk: Vec<Entry> = free.by_ref().take(MAX_TOGETHER).collect();
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
    async fn store(&self, mut entries: Vec<Entry>) -> (Vec<Entry>, Option<StoreError>) {
        let endings: Vec<Ending> = entries.iter().map(|entry| entry.ending.clone()).collect();
        let again = entries.iter().any(|entry| entry.again);
        let runner = self.core.runner();
        let stored = self.core.store.finish_parked(runner, &endings, again).await;
        let finished = match stored {
            Ok(finished) => finished,
            Err(StoreError::Locked { .. }) => return (entries, None),
            Err(error) => {
                entries.iter_mut().for_each(|entry| entry.again = true);
                return (entries, Some(error));
            }
        };
        settle(self.core, &endings, &finished);
        let is_locked = |entry: &Entry| {
            let key = (entry.ending.claim, entry.ending.task.id);
            finished.locked.contains(&key)
        };
        let (locked, stored): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_locked);
        self.parked.lock().forget(&stored);
        (locked, None)
    }

    /// Tries each on its own; of those that need the same lock, only one.
    async fn store_each(&mut self, entries: Vec<Entry>) {
        let mut entries = entries.into_iter();
        while let Some(entry) = entries.next() {
            if Instant::now() >= self.ends {
                let mut inner = self.parked.lock();
                // First in the next round.
                let left = std::iter::once(entry).chain(entries);
                inner.entries.splice(0..0, left);
                return;
            }
            let needs = needs(&entry.ending);
            if entry.reason == Reason::Locked && needs.iter().any(|need| self.held.contains(need)) {
                self.keep(vec![entry]);
                continue;
            }
            let (task, is_first) = (entry.ending.task.id.0, entry.n_tries == 0);
            let (left, error) = self.store(vec![entry]).await;
            match error {
                None if left.is_empty() => {
                    self.freed.extend(needs);
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
                    if let [need] = needs.as_slice() {
                        self.held.insert(need.clone());
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
    fn keep(&self, entries: Vec<Entry>) {
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
        inner.needs.retain(|need| !self.freed.contains(need));
        inner.needs.extend(self.held);
        inner.clear_if_none();
        for entry in &mut inner.entries {
            let free = needs(&entry.ending)
                .iter()
                .any(|need| self.freed.contains(need));
            if free && entry.reason == Reason::Locked {
                entry.n_tries = 0;
                entry.due = Instant::now();
            }
        }
    }
}

impl Inner {
    fn waits(&self, ending: &Ending) -> bool {
        !self.needs.is_empty() && needs(ending).iter().any(|need| self.needs.contains(need))
    }

    fn count(&mut self, ending: &Ending, reason: Reason) {
        match reason {
            Reason::Locked => self.n_locked += 1,
            Reason::Refused => self.n_refused += 1,
        }
        self.n_bytes += weight(ending);
    }

    /// Removes entries that are stored or lost.
    fn forget(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry.reason {
                Reason::Locked => self.n_locked -= 1,
                Reason::Refused => self.n_refused -= 1,
            }
            self.n_bytes -= weight(&entry.ending);
        }
        self.clear_if_none();
    }

    fn clear_if_none(&mut self) {
        if self.n_locked == 0 {
            self.needs.clear();
        }
    }
}

fn retry_after(reason: Reason, n_tries: u32) -> Duration {
    let (first, most) = match reason {
        Reason::Locked => LOCKED_WAITS,
        Reason::Refused => REFUSED_WAITS,
    };
    first
        .saturating_mul(1 << n_tries.saturating_sub(1).min(16))
        .min(most)
}
