//! What an operator decides about one runner.

use std::sync::Arc;
use std::time::Duration;

use pgtq_store::Retention;
use pgtq_task::{MAX_CRASHES, Name, PushFacts};

/// A group of queues that share slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// One queue, or `None` for every queue that no other group names.
    pub name: Option<Name>,
    /// Attempts that run at the same time, at least 1.
    pub slots: u32,
}

/// Everything the engine can be told. The defaults are right for most.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Shown to people; two runners may share a name.
    pub name: String,
    /// Queue groups; each has a claimer of its own.
    pub queues: Vec<QueueSpec>,
    /// Never LISTEN: for connection poolers. Costs latency, nothing else.
    pub poll_only: bool,
    /// Stop when nothing is runnable here any more.
    pub drain: bool,
    /// Stop after this many tasks have ended here.
    pub max_tasks: Option<u64>,
    /// Stop after this long without a task.
    pub idle_exit: Option<Duration>,
    /// After a stop was asked, how long running attempts may take.
    pub shutdown_timeout: Duration,
    /// How many runners may die under a task before it is failed.
    pub max_crashes: u32,
    /// How long history is kept.
    pub retention: Retention,
    /// The longest time between two looks at the database while idle.
    pub poll_interval: Duration,
    /// Where the sandbox reads what the engine finds out about pushes.
    pub push_facts: Arc<PushFacts>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            name: "runner".to_owned(),
            queues: vec![QueueSpec {
                name: None,
                slots: default_slots(),
            }],
            poll_only: false,
            drain: false,
            max_tasks: None,
            idle_exit: None,
            shutdown_timeout: Duration::from_secs(8),
            max_crashes: MAX_CRASHES,
            retention: Duration::from_secs(7 * 24 * 3600).into(),
            poll_interval: Duration::from_secs(1),
            push_facts: Arc::default(),
        }
    }
}

/// Four slots a core: guests yield to each other, and a few may wait on the host.
pub fn default_slots() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    4 * u32::try_from(cores).unwrap_or(1)
}
