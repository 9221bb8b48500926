//! One lane of a claimer, and the part that it has in a claim.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pgtq_task::Name;

/// Which queues a runner serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueFilter {
    /// Only these.
    Only(Vec<Name>),
    /// All except these.
    Except(Vec<Name>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    pub(crate) priority: i32,
    pub(crate) queue: String,
    pub(crate) handler: String,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) after: i64,
    /// Tasks taken here: as many dead entries may precede the cursor.
    pub(super) n_taken: u64,
    /// How far this round has searched for stragglers.
    pub(super) searched: i64,
    pub(super) searched_at: Instant,
    pub(super) alive_at: Instant,
}

/// One lane's part in a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) key: LaneKey,
    pub(crate) after: i64,
    pub(crate) most: i64,
}

/// Tasks of one lane, adjacent in the result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneRun {
    pub(crate) key: LaneKey,
    pub(crate) n: i64,
    /// The highest position among them.
    pub(crate) last: i64,
}

/// Queues and handlers whose tasks are not claimed now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paused {
    queues: HashSet<String>,
    handlers: HashSet<String>,
}

impl Paused {
    /// From rows of the table of pauses: the kind and the name.
    pub(crate) fn new(rows: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut paused = Paused::default();
        for (kind, name) in rows {
            match kind.as_str() {
                "queue" => paused.queues.insert(name),
                _ => paused.handlers.insert(name),
            };
        }
        paused
    }

    /// Whether tasks of this queue and handler are paused.
    pub fn holds(&self, queue: &str, handler: &str) -> bool {
        self.queues.contains(queue) || self.handlers.contains(handler)
    }
}

/// A lane from which this many tasks were taken keeps its cursor for longer, and a sweep skips
/// it: claims probe it.
const HEAVY: u64 = 1_000;
/// An empty lane is probed for this long before it is forgotten.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(60);
/// How long a heavy lane is kept when it is empty.
pub(super) const FORGET_HEAVY_AFTER: Duration = Duration::from_secs(600);

impl Lane {
    pub(super) fn is_heavy(&self) -> bool {
        self.n_taken >= HEAVY
    }
}
