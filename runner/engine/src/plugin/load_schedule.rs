//! Which file is read or loaded next, and which files wait for which.
//!
//! Pure: starts nothing, touches no file. A file passes through two steps:
//!
//! ```text
//! inspect: read it, list its handlers      one file at a time, in name order
//! load:    compile, link, ask it           a few at a time, in lanes by size
//! ```
//!
//! The inspections decide which of two files gets a handler name, so the result does not
//! depend on which compiles faster. The lanes keep small files from waiting behind large
//! ones. A file that an earlier process crashed on passes through both steps last and
//! alone, so that a second crash can be attributed to it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::load_request::{LoadRequest, PlannedLoad};
use pgtq_sandbox::COMPILERS;
use pgtq_task::Name;

/// Maximum number of small files that load at the same time.
const SMALL_AT_ONCE: usize = 2;
/// A small file that takes longer yields its place to others.
const SLOW: Duration = Duration::from_secs(3);

/// What to start now.
#[derive(Debug)]
pub(super) enum NextStep {
    Inspect(LoadRequest),
    Load(PlannedLoad),
}

/// The running step of one file.
#[derive(Debug)]
enum RunningStep {
    Inspect {
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
pub(super) struct LoadSchedule {
    /// Sorted: alone, again, name.
    inspections: BTreeMap<(bool, bool, String), LoadRequest>,
    /// Small and large files, each sorted the same way.
    loads: [BTreeMap<(bool, bool, String), PlannedLoad>; 2],
    /// Files that want a name which an earlier file may get, by that earlier file.
    held: BTreeMap<String, Vec<PlannedLoad>>,
    /// Which file gets a name if its load succeeds.
    name_holders: HashMap<Name, String>,
    running: BTreeMap<String, RunningStep>,
}

impl LoadSchedule {
    /// Queues the file for its inspection, and for its load if that succeeds.
    pub(super) fn add(&mut self, request: LoadRequest) {
        self.inspections.insert(request.key(), request);
    }

    /// The file was inspected: it waits for its load, or for the file that may get
    /// one of its names.
    pub(super) fn plan(&mut self, planned: PlannedLoad) {
        let file = &planned.request.ready.file;
        let mut names = planned.inspected.names.iter();
        let holder = names.find_map(|name| self.name_holders.get(name).filter(|by| *by != file));
        if let Some(holder) = holder.cloned() {
            self.held.entry(holder).or_default().push(planned);
            return;
        }
        for name in &planned.inspected.names {
            self.name_holders.insert(name.clone(), file.clone());
        }
        let lane = usize::from(!planned.request.is_small());
        self.loads[lane].insert(planned.request.key(), planned);
    }

    /// The next step to start, if any. It counts as running from here on.
    pub(super) fn next(&mut self, now: Instant) -> Option<NextStep> {
        let inspection = self.next_inspection().map(NextStep::Inspect);
        inspection.or_else(|| self.next_load(now).map(NextStep::Load))
    }

    fn next_inspection(&mut self) -> Option<LoadRequest> {
        let busy = |step: &RunningStep| matches!(step, RunningStep::Inspect { .. });
        if self.running.values().any(busy) || self.is_alone() {
            return None;
        }
        let free = |request: &&LoadRequest| !self.running.contains_key(&request.ready.file);
        let request = self.inspections.values().find(free)?;
        if request.alone && !(self.running.is_empty() && self.nothing_planned()) {
            return None;
        }
        let request = self.inspections.remove(&request.key())?;
        let step = RunningStep::Inspect {
            alone: request.alone,
        };
        self.running.insert(request.ready.file.clone(), step);
        Some(request)
    }

    fn next_load(&mut self, now: Instant) -> Option<PlannedLoad> {
        let lane = (0..2).find(|lane| self.has_room(*lane, now))?;
        let (_, planned) = self.loads[lane].pop_first()?;
        let step = RunningStep::Load {
            small: lane == 0,
            alone: planned.request.alone,
            since: now,
        };
        self.running
            .insert(planned.request.ready.file.clone(), step);
        Some(planned)
    }

    /// Whether the first file of a lane may be loaded now.
    fn has_room(&self, lane: usize, now: Instant) -> bool {
        let Some(first) = self.loads[lane].values().next() else {
            return false;
        };
        if self.is_alone() || self.running.contains_key(&first.request.ready.file) {
            return false;
        }
        if first.request.alone {
            return self.running.is_empty();
        }
        let (mut all, mut quick, mut large) = (0, 0, 0);
        for step in self.running.values() {
            if let RunningStep::Load { small, since, .. } = step {
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
        self.running.values().any(|step| match step {
            RunningStep::Inspect { alone } | RunningStep::Load { alone, .. } => *alone,
        })
    }

    fn nothing_planned(&self) -> bool {
        self.loads.iter().all(BTreeMap::is_empty)
    }

    /// The running step has ended. After an inspection, [`LoadSchedule::plan`] or
    /// [`LoadSchedule::release_names`] follows; after a load, the latter.
    pub(super) fn ended(&mut self, file: &str) {
        self.running.remove(file);
    }

    /// The file is no longer in progress: returns the files that waited for it, which
    /// must be planned again.
    pub(super) fn release_names(&mut self, file: &str) -> Vec<PlannedLoad> {
        self.name_holders.retain(|_, by| by != file);
        self.held.remove(file).unwrap_or_default()
    }

    /// Removes the file, unless a step is running. The returned files must be planned
    /// again.
    pub(super) fn withdraw(&mut self, file: &str) -> Vec<PlannedLoad> {
        let other = |key: &(bool, bool, String)| key.2 != file;
        self.inspections.retain(|key, _| other(key));
        for held in self.held.values_mut() {
            held.retain(|planned| planned.request.ready.file != file);
        }
        let before: usize = self.loads.iter().map(BTreeMap::len).sum();
        for lane in &mut self.loads {
            lane.retain(|key, _| other(key));
        }
        let after: usize = self.loads.iter().map(BTreeMap::len).sum();
        match before == after {
            true => Vec::new(),
            false => self.release_names(file),
        }
    }

    /// Files that were inspected and not loaded yet.
    pub(super) fn n_planned(&self) -> usize {
        let waiting: usize = self.loads.iter().map(BTreeMap::len).sum();
        let loading = |step: &&RunningStep| matches!(step, RunningStep::Load { .. });
        waiting + self.running.values().filter(loading).count()
    }

    /// Whether nothing waits and no step is running.
    pub(super) fn is_idle(&self) -> bool {
        self.inspections.is_empty() && self.nothing_planned() && self.running.is_empty()
    }

    /// Every file that waits or has a running step.
    pub(super) fn files(&self) -> impl Iterator<Item = &String> {
        let inspections = self.inspections.values().map(|request| &request.ready.file);
        let planned = self.loads.iter().flat_map(BTreeMap::values);
        let held = self.held.values().flatten();
        let planned = planned
            .chain(held)
            .map(|planned| &planned.request.ready.file);
        inspections.chain(planned).chain(self.running.keys())
    }

    /// When a place for small files frees up, if no load ends before.
    pub(super) fn next_moment(&self, now: Instant) -> Option<Instant> {
        if self.loads[0].is_empty() {
            return None;
        }
        let slow_at = |step: &RunningStep| match step {
            RunningStep::Load {
                small: true, since, ..
            } => Some(*since + SLOW).filter(|at| *at > now),
            _ => None,
        };
        self.running.values().filter_map(slow_at).min()
    }
}

#[cfg(test)]
mod tests;
