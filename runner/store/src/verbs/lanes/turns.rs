//! Chooses the lanes of a claim: the most urgent first, and those of one priority in turns.
//!
//! A lane is live (the last look found, or may have left, tasks in it) or idle (the last claim
//! found it empty). There are few idle lanes: those more urgent than every live lane are probed
//! with each claim, the others when no lane is live. A sweep finds what is pushed into all other
//! lanes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::verbs::lanes::lane::{LaneKey, Share};

/// Maximum lanes in one claim.
const MOST_LANES: usize = 256;
/// Lanes of one priority in one claim, unless they have so few tasks that more are needed.
/// Further lanes take turns.
const LEAST_EACH: usize = 64;
/// The share of a lane of unknown depth is at least `want` divided by this.
const SHARES: usize = 32;
/// Idle lanes in a claim that has live ones: those more urgent, and those as urgent.
const MOST_URGENT_IDLE: usize = 48;
const MOST_EQUAL_IDLE: usize = 16;
/// Maximum known idle lanes. The least urgent are forgotten first.
const MOST_IDLE: usize = 512;

#[derive(Debug)]
pub(super) struct Turns {
    live: BTreeMap<i32, Ring>,
    idle: BTreeSet<LaneKey>,
    /// Live lanes in the current claim, in its order.
    out: Vec<(LaneKey, bool)>,
    turn: usize,
    /// Lanes of one priority in the next claim.
    width: usize,
}

impl Default for Turns {
    fn default() -> Self {
        Turns {
            live: BTreeMap::new(),
            idle: BTreeSet::new(),
            out: Vec::new(),
            turn: 0,
            width: LEAST_EACH,
        }
    }
}

/// The live lanes of one priority.
#[derive(Debug, Default)]
struct Ring {
    /// Their depth is unknown.
    fresh: VecDeque<LaneKey>,
    /// The last claim took its whole share.
    full: VecDeque<LaneKey>,
}

impl Ring {
    fn len(&self) -> usize {
        self.fresh.len() + self.full.len()
    }

    /// Removes and returns the next lanes, half from each list where both have many.
    fn take(&mut self, most: usize) -> (Vec<LaneKey>, Vec<LaneKey>) {
        let n_fresh = self.fresh.len().min(most - self.full.len().min(most / 2));
        let n_full = self.full.len().min(most - n_fresh);
        (
            self.fresh.drain(..n_fresh).collect(),
            self.full.drain(..n_full).collect(),
        )
    }
}

impl Turns {
    /// A look found tasks in this lane. Must not be called for a live lane.
    pub(super) fn revive(&mut self, key: LaneKey) {
        self.idle.remove(&key);
        let ring = self.live.entry(key.priority).or_default();
        ring.fresh.push_back(key);
    }

    pub(super) fn is_idle(&self, key: &LaneKey) -> bool {
        self.idle.contains(key)
    }

    pub(super) fn has_live(&self) -> bool {
        !self.live.is_empty() || !self.out.is_empty()
    }

    /// Keeps the lanes of which this is true.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&LaneKey) -> bool) {
        self.put_back();
        for ring in self.live.values_mut() {
            ring.fresh.retain(&is_kept);
            ring.full.retain(&is_kept);
        }
        self.live.retain(|_, ring| ring.len() > 0);
        self.idle.retain(is_kept);
    }

    /// Claims that it takes to read every known lane.
    pub(super) fn n_claims(&mut self) -> usize {
        self.put_back();
        let n_live: usize = self
            .live
            .values()
            .map(|ring| ring.len().div_ceil(self.width))
            .sum();
        n_live + self.idle.len().div_ceil(MOST_LANES)
    }

    pub(super) fn shares(&mut self, want: i64, after: impl Fn(&LaneKey) -> i64) -> Vec<Share> {
        self.put_back();
        self.turn = self.turn.wrapping_add(1);
        let mut groups: BTreeMap<i32, (Vec<LaneKey>, Vec<LaneKey>)> = BTreeMap::new();
        let probes = self.probes();
        let mut n_left = MOST_LANES.saturating_sub(probes.len());
        for key in probes {
            groups.entry(key.priority).or_default().0.push(key);
        }
        for (priority, ring) in &mut self.live {
            let (fresh, full) = ring.take(self.width.min(n_left));
            n_left -= fresh.len() + full.len();
            self.out
                .extend(fresh.iter().map(|key| (key.clone(), false)));
            self.out.extend(full.iter().map(|key| (key.clone(), true)));
            let group = groups.entry(*priority).or_default();
            group.0.extend(fresh);
            group.1.extend(full);
            if n_left == 0 {
                break;
            }
        }
        self.live.retain(|_, ring| ring.len() > 0);
        let part = |n: usize| (want / i64::try_from(n.max(1)).unwrap_or(want)).max(1);
        let mut shares = Vec::new();
        for (small, full) in groups.into_values() {
            let small_part = part((small.len() + full.len()).min(SHARES));
            let full_part = want.min(part(full.len().min(SHARES)) + 1);
            let small = small.into_iter().map(|key| (key, small_part));
            let full = full.into_iter().map(|key| (key, full_part));
            shares.extend(small.chain(full).map(|(key, most)| Share {
                after: after(&key),
                key,
                most,
            }));
        }
        shares
    }

    /// Idle lanes for this claim.
    fn probes(&self) -> Vec<LaneKey> {
        let n = self.idle.len().max(1);
        let turned = |start: usize| {
            let start = start % n;
            let (front, back) = (self.idle.iter().take(start), self.idle.iter().skip(start));
            back.chain(front)
        };
        let Some(priority) = self.live.keys().next() else {
            let window = turned(self.turn.wrapping_mul(MOST_LANES)).take(MOST_LANES);
            return window.cloned().collect();
        };
        let urgent = self.idle.iter().take_while(|key| key.priority < *priority);
        let equal =
            turned(self.turn.wrapping_mul(MOST_EQUAL_IDLE)).filter(|key| key.priority == *priority);
        urgent
            .take(MOST_URGENT_IDLE)
            .chain(equal.take(MOST_EQUAL_IDLE))
            .cloned()
            .collect()
    }

    /// Puts each lane of a claim back into its list. `is_full` covers the first of `shares`; the
    /// others were not read. Returns lanes to forget.
    pub(super) fn took(&mut self, shares: &[Share], is_full: &[bool]) -> Vec<LaneKey> {
        let read = &shares[..is_full.len()];
        let n_out = self.out.len();
        let was_read: BTreeSet<&LaneKey> = read.iter().map(|share| &share.key).collect();
        let out = std::mem::take(&mut self.out);
        self.out = out
            .into_iter()
            .filter(|(key, _)| !was_read.contains(key))
            .collect();
        debug_assert!(self.out.len() <= n_out);
        self.put_back();
        // With few tasks in each, it takes many lanes to find enough.
        if read.len() == shares.len() && !self.live.is_empty() {
            self.width = (self.width * 2).min(MOST_LANES);
        } else if read.len() * 4 < shares.len() {
            self.width = (self.width / 2).max(LEAST_EACH);
        }
        let mut forgotten = Vec::new();
        for (share, is_full) in read.iter().zip(is_full) {
            let key = share.key.clone();
            if *is_full {
                self.idle.remove(&key);
                self.live
                    .entry(key.priority)
                    .or_default()
                    .full
                    .push_back(key);
            } else {
                self.idle.insert(key);
                if self.idle.len() > MOST_IDLE {
                    forgotten.extend(self.idle.pop_last());
                }
            }
        }
        forgotten
    }

    /// A claim did not read these, or failed: they stay next in turn.
    fn put_back(&mut self) {
        for (key, was_full) in self.out.drain(..).rev() {
            let ring = self.live.entry(key.priority).or_default();
            match was_full {
                true => ring.full.push_front(key),
                false => ring.fresh.push_front(key),
            }
        }
    }
}
