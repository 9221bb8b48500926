//! How a plugin directory is watched.

use std::path::PathBuf;
use std::time::Duration;

/// Settings for watching a directory. The defaults suit a local disk.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// How often the directory is scanned without an event.
    pub rescan_every: Duration,
    /// Do not use file system events, only rescan: for network file systems.
    pub poll_only: bool,
    /// A file is read once its size and times have not changed for this long.
    pub settle: Duration,
    /// A file that keeps changing is tried after this long.
    pub settle_at_most: Duration,
    /// A file's handlers are retired once it has been missing for this long.
    pub retire_after: Duration,
    /// The same when an empty directory replaced the whole directory, for example because
    /// a volume was unmounted: it may come back.
    pub retire_after_swap: Duration,
    /// A load that may have failed through a fault of this machine is retried after this
    /// long; the pause doubles each time, up to 15 minutes.
    pub retry_after: Duration,
    /// A directory for notes on loads in progress, which identify a file that crashes the
    /// process; created if missing. `None`: no notes are kept.
    pub load_journal: Option<PathBuf>,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        DirectoryOptions {
            rescan_every: Duration::from_secs(3),
            poll_only: false,
            settle: Duration::from_millis(200),
            settle_at_most: Duration::from_secs(2),
            retire_after: Duration::from_secs(1),
            retire_after_swap: Duration::from_secs(30),
            retry_after: Duration::from_secs(5),
            load_journal: None,
        }
    }
}
