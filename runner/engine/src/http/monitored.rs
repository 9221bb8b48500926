//! Where the pages get their data.

use std::sync::Arc;

use tokio::sync::watch;

use crate::plugin::registry::Registry;
use crate::state::shutdown::Shutdown;
use crate::state::stats::EngineStats;
use pgtq_store::Store;

/// The data sources of the pages. Cheap to clone.
#[derive(Clone)]
pub struct Monitored {
    /// Used to check whether the database answers.
    pub store: Store,
    /// The plugins loaded now.
    pub registry: Registry,
    /// Whether the files that existed at the start are live or rejected.
    pub loaded: watch::Receiver<bool>,
    /// The engine's counters.
    pub stats: Arc<EngineStats>,
    /// Whether the runner is stopping.
    pub shutdown: Shutdown,
}
