//! The handlers and the plugin files at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use super::status::PluginStatus;
use pgtq_task::{Handler, Name};

/// Handlers by name.
pub type HandlerMap = HashMap<Name, Arc<dyn Handler>>;

/// The complete state at one moment. Immutable; hold it as long as needed.
pub struct Snapshot {
    /// Increases with every snapshot.
    pub generation: u64,
    /// The handlers that run tasks. The same `Arc` as in the previous snapshot if only a
    /// status changed: compare with [`Arc::ptr_eq`].
    pub handlers: Arc<HandlerMap>,
    /// The files, sorted by name: all that serve, and the newest 200 of the others.
    pub plugins: Vec<Arc<PluginStatus>>,
    /// Why the directory itself cannot be read now, for operators. Loaded plugins keep
    /// serving.
    pub directory_problem: Option<String>,
}

impl Snapshot {
    /// The status of one file, by its name in the directory.
    pub fn plugin(&self, file: &str) -> Option<&PluginStatus> {
        let status = self.plugins.iter().find(|status| status.file == file);
        status.map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("handlers", &self.handlers.keys())
            .field("plugins", &self.plugins)
            .field("directory_problem", &self.directory_problem)
            .finish()
    }
}
