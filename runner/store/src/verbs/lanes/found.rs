//! Applies the results of sweeps and searches, and chooses the next ones.

use std::time::{Duration, Instant};

use crate::verbs::lanes::lane::{FORGET_AFTER, FORGET_HEAVY_AFTER, Lane, LaneKey, QueueFilter};
use crate::verbs::lanes::search::{LEAST_STRIDE, MOST_PATIENCE, MOST_STRIDE, PATIENCE, Stretch};
use crate::verbs::lanes::sweep::{LanePosition, Range, Slice};
use crate::verbs::lanes::{Lanes, sweep};

/// Minimum time between searches for stragglers of heavy lanes.
const SEARCH_EVERY: Duration = Duration::from_secs(1);
/// Lanes in one search.
const MOST_SEARCHED: usize = 32;
/// Target duration of a search, so that a claim never waits for longer.
const SEARCH_TIME: Duration = Duration::from_millis(20);
/// A slice that took longer than this is repeated in a transaction with a time limit.
const SLOW: Duration = Duration::from_millis(250);
impl Lanes {
    /// Whether the next slice of a sweep is due.
    pub(crate) fn sweep_due(&self, is_idle: bool, now: Instant) -> bool {
        self.sweep.due_in(is_idle, now).is_zero()
    }

    /// The ranges of the next slice.
    pub(crate) fn ranges(&self) -> Vec<Range> {
        let mut skip = self.heavy_places();
        if let QueueFilter::Except(queues) = &self.filter {
            skip.retain(|(place, _)| !queues.iter().any(|queue| queue.as_str() == place.queue));
            skip.extend(queues.iter().map(|queue| sweep::whole(queue.as_str())));
        }
        skip.sort_unstable();
        self.sweep.ranges(&sweep::served(&self.filter), &skip)
    }

    /// Lanes that claims probe and that may have many dead entries, in order.
    pub(super) fn heavy_places(&self) -> Vec<(LanePosition, LanePosition)> {
        let heavy = self.lanes.iter().filter(|(_, lane)| lane.is_heavy());
        let mut places: Vec<(LanePosition, LanePosition)> =
            heavy.map(|(key, _)| (key.place(), key.place())).collect();
        places.sort_unstable();
        places
    }

    /// Adds lanes that a slice or a look into named queues found.
    pub(crate) fn looked(&mut self, found: Vec<(LaneKey, i64)>) {
        let now = Instant::now();
        for (key, first) in found {
            if !self.paused.holds(&key.queue, &key.handler) {
                self.found(key, first, now);
            }
        }
    }

    /// Adds what a slice found: lanes with the position of their first task. A lane that is
    /// known and was not found stays, so that a probe finds its next task.
    pub(crate) fn swept(&mut self, ranges: &[Range], slice: Slice, cost: Duration) {
        let now = Instant::now();
        self.looked(slice.found);
        self.sweep.sliced(ranges, slice.stopped, cost, now);
        self.is_slow = cost > SLOW;
        self.patience = PATIENCE;
        if !self.sweep.is_complete() {
            return;
        }
        let lanes = &mut self.lanes;
        let is_idle = |key: &LaneKey| self.turns.is_idle(key);
        lanes.retain(|key, lane| {
            let kept = match lane.is_heavy() {
                true => FORGET_HEAVY_AFTER,
                false => FORGET_AFTER,
            };
            !is_idle(key) || now.duration_since(lane.alive_at) < kept
        });
        self.turns.retain(|key| lanes.contains_key(key));
    }

    fn found(&mut self, key: LaneKey, first: i64, now: Instant) {
        let is_new = !self.lanes.contains_key(&key);
        let lane = self.lanes.entry(key.clone()).or_insert(Lane {
            after: 0,
            n_taken: 0,
            searched: 0,
            searched_at: now,
            alive_at: now,
        });
        lane.after = first - 1;
        lane.alive_at = now;
        if is_new || self.turns.is_idle(&key) {
            self.turns.revive(key);
        }
    }

    /// A slice failed: its statement took too long. Claims continue, and the next slice may take
    /// longer.
    pub(crate) fn sweep_failed(&mut self, cost: Duration) {
        self.sweep.failed(cost, Instant::now());
        self.is_slow = true;
        self.patience = (self.patience * 2).min(MOST_PATIENCE);
    }

    /// Time limit of the next slice on the server, if the last one was slow.
    pub(crate) fn guard(&self) -> Option<Duration> {
        self.is_slow.then_some(self.patience)
    }

    #[cfg(test)]
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.is_slow = true;
        self.patience = patience;
        self.sweep = sweep::Sweep::after(&self.sweep);
    }

    /// Adds the cost of the claim that followed a slice: it passed the dead
    /// entries between a straggler and the front.
    pub(crate) fn add_cost(&mut self, cost: Duration) {
        self.sweep.add_cost(cost);
        if let Some((_, last)) = &mut self.search.last {
            *last += cost;
        }
    }

    /// Where to search for stragglers now: empty while no search is due.
    pub(crate) fn stretches(&self, now: Instant) -> Vec<Stretch> {
        let is_due = self.search.last.is_none_or(|(at, cost)| {
            now.saturating_duration_since(at) >= SEARCH_EVERY.max(cost * sweep::SHARE_OF_TIME)
        });
        if !is_due {
            return Vec::new();
        }
        let heavy = self.lanes.iter().filter(|(_, lane)| lane.is_heavy());
        let mut heavy: Vec<_> = heavy.collect();
        // All of them in turn.
        heavy.sort_by_key(|(_, lane)| lane.searched_at);
        let heavy = heavy.into_iter().take(MOST_SEARCHED);
        heavy
            .map(|(key, lane)| Stretch {
                key: key.clone(),
                after: lane.searched,
                upto: lane
                    .after
                    .min(lane.searched.saturating_add(self.search.stride)),
            })
            .collect()
    }

    /// Applies the result of a search: the first tasks, by index in `stretches`.
    pub(crate) fn searched(
        &mut self,
        stretches: &[Stretch],
        found: &[(usize, i64)],
        cost: Duration,
    ) {
        let now = Instant::now();
        self.search.last = Some((now, cost));
        if cost > SEARCH_TIME {
            self.search.stride = (self.search.stride / 8).max(LEAST_STRIDE);
            // With nothing known yet, a stride that covers any stretch.
            let longest = stretches
                .iter()
                .map(|s| s.upto - s.after)
                .max()
                .unwrap_or(0);
            self.search.stride = self.search.stride.min((longest / 8).max(LEAST_STRIDE));
        } else if cost < SEARCH_TIME / 4 {
            self.search.stride = self.search.stride.saturating_mul(2).min(MOST_STRIDE);
        }
        for stretch in stretches {
            if let Some(lane) = self.lanes.get_mut(&stretch.key) {
                lane.searched_at = now;
                lane.searched = match stretch.upto >= lane.after {
                    true => 0,
                    false => stretch.upto,
                };
            }
        }
        for (n, first) in found {
            if let Some(stretch) = stretches.get(*n) {
                self.found(stretch.key.clone(), *first, now);
            }
        }
    }
}

impl LaneKey {
    fn place(&self) -> LanePosition {
        LanePosition {
            queue: self.queue.clone(),
            handler: self.handler.clone(),
            priority: i64::from(self.priority),
        }
    }
}
