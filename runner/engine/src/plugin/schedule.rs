//! Which file is read or loaded next, and which files wait for which.
//!
//! Pure: starts nothing, touches no file. A file passes through two steps:
//!
//! ```text
//! outline: read it, list its handlers      one file at a time, in name order
//! load:    compile, link, ask it           a few at a time, in lanes by size
//! ```
//!
//! The outlines decide which of two files gets a handler name, so the result does not
//! depend on which compiles faster. The lanes keep small files from waiting behind large
//! ones. A file that an earlier process crashed on passes through both steps last and
//! alone, so that a second crash can be attributed to it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::load_request::{Order, Planned};
use pgtq_sandbox::COMPILERS;
use pgtq_task::Name;

/// Maximum number of small files that load at the same time.
const SMALL_AT_ONCE: usize = 2;
/// A small file that takes longer yields its place to others.
const SLOW: Duration = Duration::from_secs(3);

/// What to start now.
#[derive(Debug)]
pub(super) enum Step {
    Outline(Order),
    Load(Planned),
}

/// The running step of one file.
#[derive(Debug)]
enum UnderWay {
    Outline {
        alone: bool,
    },
    Load {
        small: bool,
        alone: bool,
        since: Instant,
    },
}

/// All waiting files and running steps.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Sorted: alone, again, name.
    outlines: BTreeMap<(bool, bool, String), Order>,
    /// Small and large files, each sorted the same way.
    loads: [BTreeMap<(bool, bool, String), Planned>; 2],
    /// Files that want a name which an earlier file may get, by that earlier file.
    held: BTreeMap<String, Vec<Planned>>,
    /// Which file gets a name if its load succeeds.
    claims: HashMap<Name, String>,
    under_way: BTreeMap<String, UnderWay>,
}

impl Schedule {
    /// Queues the file for its outline, and for its load if that succeeds.
    pub(super) fn add(&mut self, order: Order) {
        self.outlines.insert(order.key(), order);
    }

    /// The file's outline is known: it waits for its load, or for the file that may get
    /// one of its names.
    pub(super) fn plan(&mut self, planned: Planned) {
        let file = &planned.order.ready.file;
        let mut names = planned.outline.names.iter();
        let holder = names.find_map(|name| self.claims.get(name).filter(|by| *by != file));
        if let Some(holder) = holder.cloned() {
            self.held.entry(holder).or_default().push(planned);
            return;
        }
        for name in &planned.outline.names {
            self.claims.insert(name.clone(), file.clone());
        }
        let lane = usize::from(!planned.order.is_small());
        self.loads[lane].insert(planned.order.key(), planned);
    }

    /// The next step to start, if any. It counts as running from here on.
    pub(super) fn next(&mut self, now: Instant) -> Option<Step> {
        let outline = self.next_outline().map(Step::Outline);
        outline.or_else(|| self.next_load(now).map(Step::Load))
    }

    fn next_outline(&mut self) -> Option<Order> {
        let busy = |step: &UnderWay| matches!(step, UnderWay::Outline { .. });
        if self.under_way.values().any(busy) || self.is_alone() {
            return None;
        }
        let free = |order: &&Order| !self.under_way.contains_key(&order.ready.file);
        let order = self.outlines.values().find(free)?;
        if order.alone && !(self.under_way.is_empty() && self.nothing_planned()) {
            return None;
        }
        let order = self.outlines.remove(&order.key())?;
        let step = UnderWay::Outline { alone: order.alone };
        self.under_way.insert(order.ready.file.clone(), step);
        Some(order)
    }

    fn next_load(&mut self, now: Instant) -> Option<Planned> {
        let lane = (0..2).find(|lane| self.has_room(*lane, now))?;
        let (_, planned) = self.loads[lane].pop_first()?;
        let step = UnderWay::Load {
            small: lane == 0,
            alone: planned.order.alone,
            since: now,
        };
        self.under_way
            .insert(planned.order.ready.file.clone(), step);
        Some(planned)
    }

    /// Whether the first file of a lane may be loaded now.
    fn has_room(&self, lane: usize, now: Instant) -> bool {
        let Some(first) = self.loads[lane].values().next() else {
            return false;
        };
        if self.is_alone() || self.under_way.contains_key(&first.order.ready.file) {
            return false;
        }
        if first.order.alone {
            return self.under_way.is_empty();
        }
        let (mut all, mut quick, mut large) = (0, 0, 0);
        for step in self.under_way.values() {
            if let UnderWay::Load { small, since, .. } = step {
                all += 1;
                quick += usize::from(*small && now < *since + SLOW);
                large += usize::from(!*small);
            }
        }
        let in_lane = match lane {
            0 => quick < SMALL_AT_ONCE,
            _ => large == 0,
        };
        in_lane && all < COMPILERS
    }

    fn is_alone(&self) -> bool {
        self.under_way.values().any(|step| match step {
            UnderWay::Outline { alone } | UnderWay::Load { alone, .. } => *alone,
        })
    }

    fn nothing_planned(&self) -> bool {
        self.loads.iter().all(BTreeMap::is_empty)
    }

    /// The running step has ended. After an outline, [`Schedule::plan`] or
    /// [`Schedule::drop_claims`] follows; after a load, the latter.
    pub(super) fn ended(&mut self, file: &str) {
        self.under_way.remove(file);
    }

    /// The file is no longer in progress: returns the files that waited for it, which
    /// must be planned again.
    pub(super) fn drop_claims(&mut self, file: &str) -> Vec<Planned> {
        self.claims.retain(|_, by| by != file);
        self.held.remove(file).unwrap_or_default()
    }

    /// Removes the file, unless a step is running. The returned files must be planned
    /// again.
    pub(super) fn withdraw(&mut self, file: &str) -> Vec<Planned> {
        let other = |key: &(bool, bool, String)| key.2 != file;
        self.outlines.retain(|key, _| other(key));
        for held in self.held.values_mut() {
            held.retain(|planned| planned.order.ready.file != file);
        }
        let before: usize = self.loads.iter().map(BTreeMap::len).sum();
        for lane in &mut self.loads {
            lane.retain(|key, _| other(key));
        }
        let after: usize = self.loads.iter().map(BTreeMap::len).sum();
        match before == after {
            true => Vec::new(),
            false => self.drop_claims(file),
        }
    }

    /// Files that are outlined and not loaded yet.
    pub(super) fn n_planned(&self) -> usize {
        let waiting: usize = self.loads.iter().map(BTreeMap::len).sum();
        let loading = |step: &&UnderWay| matches!(step, UnderWay::Load { .. });
        waiting + self.under_way.values().filter(loading).count()
    }

    /// Whether nothing waits and no step is running.
    pub(super) fn is_idle(&self) -> bool {
        self.outlines.is_empty() && self.nothing_planned() && self.under_way.is_empty()
    }

    /// Every file that waits or has a running step.
    pub(super) fn files(&self) -> impl Iterator<Item = &String> {
        let outlines = self.outlines.values().map(|order| &order.ready.file);
        let planned = self.loads.iter().flat_map(BTreeMap::values);
        let held = self.held.values().flatten();
        let planned = planned.chain(held).map(|planned| &planned.order.ready.file);
        outlines.chain(planned).chain(self.under_way.keys())
    }

    /// When a place for small files frees up, if no load ends before.
    pub(super) fn next_moment(&self, now: Instant) -> Option<Instant> {
        if self.loads[0].is_empty() {
            return None;
        }
        let slow_at = |step: &UnderWay| match step {
            UnderWay::Load {
                small: true, since, ..
            } => Some(*since + SLOW).filter(|at| *at > now),
            _ => None,
        };
        self.under_way.values().filter_map(slow_at).min()
    }
}

#[cfg(test)]
mod tests;
