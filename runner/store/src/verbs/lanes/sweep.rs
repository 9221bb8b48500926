//! Sweeps over all lanes that have tasks, in the order of the index, in slices of a bounded
//! time: schedules the slices and records where each continues.
//!
//! A sweep costs a little for each existing lane, of any handler, and is paced by its own cost.
//! It skips lanes that claims probe and that may have many dead entries: their cursors bound
//! both. A wake-up during a sweep makes it wrap around: to the end, and from the start to where
//! it was, so that repeated wake-ups cannot hide a lane.

use std::time::{Duration, Instant};

/// A lane's place in the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LanePosition {
    pub(crate) queue: String,
    pub(crate) handler: String,
    /// Wider than the column, for a bound below all of its values.
    pub(crate) priority: i64,
}

/// The interval between two places, both excluded. The statement requires one of three forms:
/// the places differ in the queue and the second is the beginning of its queue, or in the
/// handler and it is the beginning of its handler, or only in the priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: LanePosition,
    pub(crate) to: LanePosition,
}

/// The result of one slice of a sweep.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Lanes with the position of their first task.
    pub(crate) found: Vec<(super::lane::LaneKey, i64)>,
    /// Where it stopped before the end of its last range.
    pub(crate) stopped: Option<LanePosition>,
}

/// Minimum time between slices of a busy claimer.
const BUSY_EVERY: Duration = Duration::from_millis(50);
/// Minimum time between sweeps of an idle one.
const IDLE_EVERY: Duration = Duration::from_millis(20);
/// Sweeps take at most 1/n of the time.
pub(super) const SHARE_OF_TIME: u32 = 20;
/// Ranges in one slice.
const MOST_RANGES: usize = 256;
/// Below and above every name: names are not empty and contain no `~`.
const LOWEST: &str = "";
const HIGHEST: &str = "~";
/// Below every priority.
const NO_PRIORITY: i64 = i64::MIN;

/// The progress of the current sweep, and the cost of sweeps.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// A sweep is running.
    is_under_way: bool,
    /// Where it continues; `None` at the start.
    resume: Option<LanePosition>,
    /// Where it ends after it has wrapped around; `None` at the end.
    goal: Option<LanePosition>,
    has_turned: bool,
    /// The end of the last slice, and its cost.
    last: Option<(Instant, Duration)>,
    /// The cost of the current sweep so far, and of the last complete one.
    cost: Duration,
    last_cost: Duration,
    /// The last slice failed.
    has_failed: bool,
    /// A wake-up came since the last sweep began.
    is_woken: bool,
    n_complete: u64,
}

impl LanePosition {
    /// Before all lanes of a queue.
    fn before(queue: &str) -> Self {
        LanePosition::new(queue, LOWEST)
    }

    /// After all lanes of a queue.
    fn behind(queue: &str) -> Self {
        LanePosition::new(queue, HIGHEST)
    }

    fn new(queue: &str, handler: &str) -> Self {
        LanePosition {
            queue: queue.to_owned(),
            handler: handler.to_owned(),
            priority: NO_PRIORITY,
        }
    }
}

impl Sweep {
    /// A sweep that begins at the start, at once.
    pub(super) fn after(before: &Sweep) -> Self {
        Sweep {
            n_complete: before.n_complete,
            ..Sweep::default()
        }
    }

    pub(super) fn n_complete(&self) -> u64 {
        self.n_complete
    }

    /// Requests another look at everything: a running sweep repeats what it has passed.
    pub(super) fn wake(&mut self) {
        if self.is_under_way {
            self.goal = self.resume.clone();
            self.has_turned = false;
        } else {
            self.is_woken = true;
        }
    }

    /// Time until the next slice, if one was requested or a sweep is running.
    pub(super) fn wakes_in(&self, now: Instant) -> Option<Duration> {
        (self.is_woken || self.is_under_way).then(|| self.due_in(true, now))
    }

    /// No sweep is running.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_under_way
    }

    /// Time until the next slice. An idle claimer finishes a sweep at once, and one that was
    /// woken begins the next after as long as the last one took.
    pub(super) fn due_in(&self, is_idle: bool, now: Instant) -> Duration {
        let Some((at, cost)) = self.last else {
            return Duration::ZERO;
        };
        let pause = match (is_idle, self.is_under_way) {
            _ if self.has_failed => BUSY_EVERY.max(cost * SHARE_OF_TIME),
            (true, true) => Duration::ZERO,
            (true, false) if self.is_woken => self.last_cost,
            (true, false) => IDLE_EVERY.max(self.last_cost * SHARE_OF_TIME),
            (false, _) => BUSY_EVERY.max(cost * SHARE_OF_TIME),
        };
        pause.saturating_sub(now.saturating_duration_since(at))
    }

    /// Ranges of the next slice: from where the last one stopped towards the end, over the
    /// places in `of` and without those in `skip`, which is sorted and does not overlap.
    pub(super) fn ranges(
        &self,
        of: &[(LanePosition, LanePosition)],
        skip: &[(LanePosition, LanePosition)],
    ) -> Vec<Range> {
        let mut ranges = Vec::new();
        for (from, to) in of {
            let mut from = from.max(self.resume.as_ref().unwrap_or(from)).clone();
            for (first, last) in skip.iter().filter(|(first, _)| first < to) {
                if *last < from {
                    continue;
                }
                push_ranges(&mut ranges, &from, first);
                from = last.clone();
                if ranges.len() >= MOST_RANGES {
                    break;
                }
            }
            if ranges.len() < MOST_RANGES {
                push_ranges(&mut ranges, &from, to);
            }
        }
        ranges.truncate(MOST_RANGES);
        ranges
    }

    /// A slice over `ranges` ended: at their end, or at a place before.
    pub(super) fn sliced(
        &mut self,
        ranges: &[Range],
        stopped: Option<LanePosition>,
        cost: Duration,
        now: Instant,
    ) {
        // A wake-up from now on may concern what this slice has passed.
        (self.is_woken, self.has_failed) = (false, false);
        self.is_under_way = true;
        self.last = Some((now, cost));
        self.cost += cost;
        let is_part = ranges.len() >= MOST_RANGES;
        self.resume = match (stopped, ranges.last()) {
            (Some(place), _) => Some(place),
            (None, Some(last)) if is_part => Some(last.to.clone()),
            (None, _) => None,
        };
        let is_over = match (&self.resume, &self.goal) {
            (None, None) => true,
            (None, Some(_)) => std::mem::replace(&mut self.has_turned, true),
            (Some(place), Some(goal)) => self.has_turned && place >= goal,
            (Some(_), None) => false,
        };
        if is_over {
            self.is_under_way = false;
            self.has_turned = false;
            (self.resume, self.goal) = (None, None);
            self.last_cost = std::mem::take(&mut self.cost);
            self.n_complete += 1;
        }
    }

    /// A slice failed; the next one begins where it did.
    pub(super) fn failed(&mut self, cost: Duration, now: Instant) {
        self.last = Some((now, cost));
        self.cost += cost;
        self.has_failed = true;
    }

    /// Adds the cost of work that followed a slice.
    pub(super) fn add_cost(&mut self, cost: Duration) {
        self.last_cost += cost;
        if let Some((_, last)) = &mut self.last {
            *last += cost;
        }
    }
}

/// Splits the interval between two places into ranges of the three forms.
fn push_ranges(ranges: &mut Vec<Range>, from: &LanePosition, to: &LanePosition) {
    let ends = [
        LanePosition::before(&to.queue),
        LanePosition::new(&to.queue, &to.handler),
        to.clone(),
    ];
    let mut from = from.clone();
    for end in ends {
        if from < end {
            ranges.push(Range {
                from,
                to: end.clone(),
            });
            from = end;
        }
    }
}

/// The places that a runner serves.
pub(super) fn served(filter: &super::lane::QueueFilter) -> Vec<(LanePosition, LanePosition)> {
    match filter {
        super::lane::QueueFilter::Except(_) => {
            vec![(LanePosition::before(LOWEST), LanePosition::before(HIGHEST))]
        }
        super::lane::QueueFilter::Only(queues) => {
            let mut of: Vec<_> = queues.iter().map(|queue| whole(queue.as_str())).collect();
            of.sort_unstable();
            of
        }
    }
}

/// All lanes of a queue.
pub(super) fn whole(queue: &str) -> (LanePosition, LanePosition) {
    (LanePosition::before(queue), LanePosition::behind(queue))
}
