//! What an operator configures for one runner.

use std::sync::Arc;
use std::time::Duration;

use pgtq_store::Retention;
use pgtq_task::{MAX_CRASHES, Name, PushFacts};

/// A group of queues that share slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// One queue, or `None` for every queue that no other group names.
    pub name: Option<Name>,
    /// Maximum number of concurrent attempts, at least 1.
    pub slots: u32,
}

/// All settings of the engine. The defaults suit most deployments.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Shown to users; two runners may share a name.
    pub name: String,
    /// Queue groups; each has its own claimer.
    pub queues: Vec<QueueSpec>,
    /// Never use LISTEN: for connection poolers. Costs latency, nothing else.
    pub poll_only: bool,
    /// Stop when no runnable task is left for this runner.
    pub drain: bool,
    /// Stop after this many tasks have finished here.
    pub max_tasks: Option<u64>,
    /// Stop after this long without a task.
    pub idle_exit: Option<Duration>,
    /// After a stop request, how long running attempts may take.
    pub shutdown_timeout: Duration,
    /// How many runner crashes a task may cause before it fails.
    pub max_crashes: u32,
    /// How long history is kept.
    pub retention: Retention,
    /// The longest time between two polls of the database while idle.
    pub poll_interval: Duration,
    /// Where the engine publishes its facts about pushes for the sandbox.
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

/// Four slots per core: guests yield to each other, and a few may wait for the host.
pub fn default_slots() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    4 * u32::try_from(cores).unwrap_or(1)
}
