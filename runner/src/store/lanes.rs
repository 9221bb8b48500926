//! Where the runnable tasks of a runner stand: a cursor per lane.
//!
//! A lane is (queue, handler, priority); its tasks have growing positions. A
//! claim scans each lane from the last position taken there, so that dead
//! index entries which an old snapshot keeps alive are passed once and not
//! again with every claim. A refresh finds new lanes, and stragglers: tasks
//! whose transaction committed after the cursor had passed them. It is paced
//! by its own cost, because under an old snapshot it has to pass the dead.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::task::Name;

/// Which queues a runner serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueFilter {
    /// These.
    Only(Vec<Name>),
    /// All but these.
    Except(Vec<Name>),
}

/// The lanes (queue, handler, priority) that a claimer knows, with the last
/// position it took in each. Owned by one claimer; never shared.
#[derive(Debug)]
pub struct Lanes {
    pub(super) filter: QueueFilter,
    handlers: Vec<Name>,
    lanes: HashMap<LaneKey, Lane>,
    scanned: Option<Scan>,
    n_refreshed: u64,
    turn: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) priority: i32,
    pub(super) queue: String,
    pub(super) handler: String,
}

#[derive(Debug)]
struct Lane {
    after: i64,
    /// The last claim took all it was allowed to.
    full: bool,
    alive_at: Instant,
}

#[derive(Debug)]
struct Scan {
    at: Instant,
    cost: Duration,
}

/// One lane's part in a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) key: LaneKey,
    pub(super) after: i64,
    pub(super) most: i64,
}

/// Tasks of one lane, one behind the other in what a claim took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) key: LaneKey,
    pub(super) n: i64,
    /// The highest position among them.
    pub(super) last: i64,
}

/// How long a busy claimer goes without looking for stragglers.
const BUSY_EVERY: Duration = Duration::from_secs(1);
/// How long an idle one goes without looking for new lanes.
const IDLE_EVERY: Duration = Duration::from_millis(20);
/// A refresh takes at most one part in this many of the time.
const SHARE_OF_TIME: u32 = 20;
/// An empty lane is probed with every claim; it is forgotten after this long.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Lanes in one claim. Beyond it they take turns.
const MAX_LANES: usize = 256;

impl Lanes {
    /// Knows nothing yet; the first claim looks.
    pub fn new(filter: QueueFilter) -> Self {
        Lanes {
            filter,
            handlers: Vec::new(),
            lanes: HashMap::new(),
            scanned: None,
            n_refreshed: 0,
            turn: 0,
        }
    }

    /// Takes over the list of loaded handlers; a new one makes a refresh due.
    pub(super) fn set_handlers(&mut self, handlers: &[Name]) {
        if self.handlers == handlers {
            return;
        }
        self.handlers = handlers.to_vec();
        let known: HashSet<&str> = handlers.iter().map(Name::as_str).collect();
        self.lanes
            .retain(|key, _| known.contains(key.handler.as_str()));
        self.scanned = None;
    }

    pub(super) fn refresh_due(&self, idle: bool, now: Instant) -> bool {
        let least = if idle { IDLE_EVERY } else { BUSY_EVERY };
        self.scanned
            .as_ref()
            .is_none_or(|scan| now.duration_since(scan.at) >= least.max(scan.cost * SHARE_OF_TIME))
    }

    /// Takes over what a refresh found: the lanes with the position of their
    /// first task. A lane that is known and was not found stays, so that its
    /// next task is found by a probe, unless it is paused.
    pub(super) fn refreshed(
        &mut self,
        found: Vec<(LaneKey, i64)>,
        is_paused: impl Fn(&LaneKey) -> bool,
        now: Instant,
        cost: Duration,
    ) {
        for (key, first) in found {
            let lane = self.lanes.entry(key).or_insert(Lane {
                after: 0,
                full: false,
                alive_at: now,
            });
            lane.after = first - 1;
            lane.alive_at = now;
        }
        self.lanes.retain(|key, lane| {
            !is_paused(key) && now.duration_since(lane.alive_at) < FORGET_AFTER
        });
        self.scanned = Some(Scan { at: now, cost });
        self.n_refreshed += 1;
    }

    /// How often new lanes and stragglers were looked for. A claim during
    /// which this did not grow may have found nothing although there is something.
    pub fn n_refreshed(&self) -> u64 {
        self.n_refreshed
    }

    /// Claims in a row that it takes to look at every known lane.
    pub(super) fn n_turns(&self) -> usize {
        self.lanes.len().div_ceil(MAX_LANES)
    }

    /// Adds the cost of the claim that followed a refresh: it passed the dead
    /// entries between a straggler and the front.
    pub(super) fn add_cost(&mut self, cost: Duration) {
        if let Some(scan) = &mut self.scanned {
            scan.cost += cost;
        }
    }

    /// How to divide `want`: by priority; within one priority first the lanes
    /// that were nearly empty, with a small share each, then the full ones,
    /// in turns, with equal shares. The claim stops at `want` in this order.
    pub(super) fn shares(&mut self, want: u32) -> Vec<Share> {
        self.turn = self.turn.wrapping_add(1);
        let want = i64::from(want);
        let mut keys: Vec<&LaneKey> = self.lanes.keys().collect();
        keys.sort_unstable();
        let mut shares = Vec::new();
        for group in keys.chunk_by(|a, b| a.priority == b.priority) {
            let (mut full, small): (Vec<&LaneKey>, Vec<&LaneKey>) =
                group.iter().partition(|key| self.lanes[**key].full);
            let part = |n: usize| (want / i64::try_from(n.max(1)).unwrap_or(want)).max(1);
            let small_part = part(group.len());
            let full_part = want.min(part(full.len()) + 1);
            if !full.is_empty() {
                let n = full.len();
                full.rotate_left(self.turn % n);
            }
            let mut add = |key: &LaneKey, most: i64| {
                shares.push(Share {
                    key: key.clone(),
                    after: self.lanes[key].after,
                    most,
                });
            };
            small.iter().for_each(|key| add(key, small_part));
            full.iter().for_each(|key| add(key, full_part));
        }
        if shares.len() > MAX_LANES {
            // Empty lanes may crowd out full ones only for a while.
            let start = (self.turn * MAX_LANES) % shares.len();
            shares.rotate_left(start);
            shares.truncate(MAX_LANES);
            shares.sort_by_key(|share| share.key.priority);
        }
        shares
    }

    /// Moves the cursors after a claim. Returns whether there may be more.
    pub(super) fn took(&mut self, shares: &[Share], taken: &[Run], want: u32) -> bool {
        let now = Instant::now();
        let mut counts: HashMap<&LaneKey, (i64, i64)> = HashMap::new();
        for run in taken {
            let (count, last) = counts.entry(&run.key).or_insert((0, 0));
            *count += run.n;
            *last = (*last).max(run.last);
        }
        let cut_short = taken.iter().map(|run| run.n).sum::<i64>() >= i64::from(want);
        let mut more = cut_short;
        for share in shares {
            let Some(lane) = self.lanes.get_mut(&share.key) else {
                continue;
            };
            match counts.get(&share.key) {
                Some((count, last)) => {
                    lane.after = lane.after.max(*last);
                    lane.full = *count >= share.most || cut_short;
                    lane.alive_at = now;
                    more |= lane.full;
                }
                // A lane behind the point where the claim had enough was not looked at.
                None if !cut_short => lane.full = false,
                None => {}
            }
        }
        more
    }

    /// Whether some known lane was not part of `shares`.
    pub(super) fn beyond(&self, shares: &[Share]) -> bool {
        self.lanes.len() > shares.len()
    }
}

#[cfg(test)]
mod tests;
