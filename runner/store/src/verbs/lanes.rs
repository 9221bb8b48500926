//! The position of the runnable tasks of a runner: a cursor per lane.
//!
//! A lane is (queue, handler, priority); its tasks have growing positions. A claim scans each
//! lane from the last position taken there, so that dead index entries which an old snapshot
//! keeps alive are passed once and not again with every claim. A sweep (`sweep.rs`) finds new
//! lanes and stragglers: tasks whose transaction committed after the cursor had passed them.
//! `turns.rs` decides which lanes take part in a claim, and with how many tasks.

mod found;
pub(crate) mod lane;
mod named;
pub(crate) mod named_queues;
pub(crate) mod search;
pub(crate) mod sweep;
mod turns;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::verbs::lanes::lane::{Lane, LaneKey, LaneRun, Paused, QueueFilter, Share};
use crate::verbs::lanes::named_queues::NamedQueues;
use crate::verbs::lanes::search::{PATIENCE, Search};
use crate::verbs::lanes::sweep::Sweep;
use crate::verbs::lanes::turns::Turns;
use pgtq_task::Name;

/// The lanes (queue, handler, priority) that a claimer knows, with the last
/// position it took in each. Owned by one claimer; never shared.
#[derive(Debug)]
pub struct Lanes {
    pub(crate) filter: QueueFilter,
    handlers: Vec<Name>,
    lanes: HashMap<LaneKey, Lane>,
    turns: Turns,
    sweep: Sweep,
    search: Search,
    paused: Paused,
    named: NamedQueues,
    /// The last slice of a sweep was slow, or failed: the next one has this time limit.
    is_slow: bool,
    patience: Duration,
}

impl Lanes {
    /// Has no lanes yet; the first claim makes a sweep.
    pub fn new(filter: QueueFilter) -> Self {
        Lanes {
            filter,
            handlers: Vec::new(),
            lanes: HashMap::new(),
            turns: Turns::default(),
            sweep: Sweep::default(),
            search: Search::default(),
            is_slow: true,
            patience: PATIENCE,
            paused: Paused::default(),
            named: NamedQueues::default(),
        }
    }

    /// Sets the list of loaded handlers; a new one makes a sweep due.
    pub(crate) fn set_handlers(&mut self, handlers: &[Name]) {
        if self.handlers == handlers {
            return;
        }
        self.handlers = handlers.to_vec();
        let known: HashSet<&str> = handlers.iter().map(Name::as_str).collect();
        self.lanes
            .retain(|key, _| known.contains(key.handler.as_str()));
        self.turns.retain(|key| self.lanes.contains_key(key));
        self.sweep = Sweep::after(&self.sweep);
    }

    pub(crate) fn handlers(&self) -> &[Name] {
        &self.handlers
    }

    /// Sets what is paused. The next sweep finds lanes that were paused until now.
    pub(crate) fn set_paused(&mut self, paused: Paused) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        self.lanes
            .retain(|key, _| !self.paused.holds(&key.queue, &key.handler));
        self.turns.retain(|key| self.lanes.contains_key(key));
    }

    /// What was paused at the last look.
    pub fn paused(&self) -> &Paused {
        &self.paused
    }

    /// Something may have been pushed into an unknown lane: the next claim that finds nothing in
    /// the known lanes makes a sweep.
    pub fn wake(&mut self) {
        self.sweep.wake();
    }

    /// After a claim that found nothing: the time until the next claim may find existing tasks.
    /// Zero while known lanes are not yet read or a sweep is running. `None` when everything was
    /// read since the last [`Lanes::wake`].
    pub fn wakes_in(&self) -> Option<Duration> {
        match self.turns.has_live() {
            true => Some(Duration::ZERO),
            false => self.sweep.wakes_in(Instant::now()),
        }
    }

    /// Number of complete sweeps. A claim during which this did not grow may have found nothing
    /// although there are tasks.
    pub fn n_sweeps(&self) -> u64 {
        self.sweep.n_complete()
    }

    /// Consecutive claims that it takes to read every known lane.
    pub(crate) fn n_turns(&mut self) -> usize {
        self.turns.n_claims()
    }

    /// Divides `want` by priority; within one priority first the lanes that were nearly empty,
    /// with a small share each, then the full lanes, in turns, with equal shares. The claim
    /// stops at `want` in this order.
    pub(crate) fn shares(&mut self, want: u32) -> Vec<Share> {
        let lanes = &self.lanes;
        let after = |key: &LaneKey| lanes.get(key).map_or(0, |lane| lane.after);
        self.turns.shares(i64::from(want), after)
    }

    /// As [`Lanes::shares`]; only lanes more urgent than a priority, if one is given.
    pub(crate) fn shares_before(&mut self, want: u32, than: Option<i32>) -> Vec<Share> {
        let mut shares = self.shares(want);
        shares.retain(|share| than.is_none_or(|than| share.key.priority < than));
        shares
    }

    /// Moves the cursors after a claim. Returns whether there may be more.
    pub(crate) fn took(&mut self, shares: &[Share], taken: &[LaneRun], want: u32) -> bool {
        let now = Instant::now();
        let mut counts: HashMap<&LaneKey, (i64, i64)> = HashMap::new();
        for run in taken {
            let (count, last) = counts.entry(&run.key).or_insert((0, 0));
            *count += run.n;
            *last = (*last).max(run.last);
        }
        let cut_short = taken.iter().map(|run| run.n).sum::<i64>() >= i64::from(want);
        let last_read = shares
            .iter()
            .rposition(|share| counts.contains_key(&share.key));
        // Lanes after the point where the claim reached its limit were not read.
        let n_read = match (cut_short, last_read) {
            (true, Some(last)) => last + 1,
            _ => shares.len(),
        };
        let mut is_full = Vec::with_capacity(n_read);
        for (n, share) in shares[..n_read].iter().enumerate() {
            let count = counts.get(&share.key);
            if let (Some((count, last)), Some(lane)) = (count, self.lanes.get_mut(&share.key)) {
                lane.after = lane.after.max(*last);
                lane.n_taken += count.unsigned_abs();
                lane.alive_at = now;
            }
            let cut_here = cut_short && n + 1 == n_read;
            is_full.push(count.is_some_and(|(count, _)| *count >= share.most) || cut_here);
        }
        for forgotten in self.turns.took(shares, &is_full) {
            self.lanes.remove(&forgotten);
        }
        self.turns.has_live()
    }
}

#[cfg(test)]
mod tests;
