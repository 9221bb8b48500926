//! The plugin directory, watched.

use std::path::PathBuf;
use std::time::Duration;

use super::registry::Registry;
use crate::sandbox::Sandbox;

/// How a directory is watched. The defaults suit a local disk.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// How often the directory is read even when no event says so.
    pub rescan_every: Duration,
    /// Do not ask the system for events, only rescan: for network file systems.
    pub poll_only: bool,
    /// A file is read once its size and times have not changed for so long.
    pub settle: Duration,
    /// A file that does not stop changing is tried after so long.
    pub settle_at_most: Duration,
    /// A file's handlers are retired once it has been gone for so long.
    pub retire_after: Duration,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        DirectoryOptions {
            rescan_every: Duration::from_secs(3),
            poll_only: false,
            settle: Duration::from_millis(200),
            settle_at_most: Duration::from_secs(2),
            retire_after: Duration::from_secs(1),
        }
    }
}

/// Keeps a [`Registry`] as the files of a directory say. Dropping it stops the
/// watching; what is live stays live.
pub struct PluginDirectory {}

impl PluginDirectory {
    /// Starts watching `dir`, which need not exist yet. Needs a tokio runtime.
    pub fn start(
        dir: PathBuf,
        options: DirectoryOptions,
        sandbox: Sandbox,
        registry: Registry,
    ) -> PluginDirectory {
        let _ = (dir, options, sandbox, registry);
        PluginDirectory {}
    }

    /// Returns when the files that were there at the start are live or
    /// refused. Cancel-safe.
    pub async fn ready(&self) {
        std::future::pending().await
    }

    /// Reads the directory now, and returns when every file in it is live,
    /// refused or retired. Cancel-safe: the scan goes on.
    pub async fn rescan(&self) {
        std::future::pending().await
    }

    /// Stops watching and ends a compilation under way. What is live stays live.
    pub async fn stop(self) {
        std::future::pending().await
    }
}
