//! Statistics of the runs.

use std::collections::{BTreeMap, BTreeSet};

/// Statistics of the runs.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) schedules: usize,
    pub(super) steps: usize,
    pub(super) transactions: usize,
    pub(super) held: usize,
    pub(super) waited: usize,
    pub(super) lost: usize,
    pub(super) interrupted: usize,
    pub(super) deadlocks: usize,
    pub(super) stale: usize,
    /// Verbs that ran concurrently.
    pub(super) pairs: BTreeSet<(&'static str, &'static str)>,
    pub(super) kinds: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.schedules += other.schedules;
        self.steps += other.steps;
        self.transactions += other.transactions;
        self.held += other.held;
        self.waited += other.waited;
        self.lost += other.lost;
        self.interrupted += other.interrupted;
        self.deadlocks += other.deadlocks;
        self.stale += other.stale;
        self.pairs.extend(&other.pairs);
        for (kind, n) in &other.kinds {
            *self.kinds.entry(kind).or_default() += n;
        }
    }
}
