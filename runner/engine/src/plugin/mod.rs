//! From a directory of `.wasm` files to the handlers that run now.
//!
//! Owns the plugin directory's meaning and the [`Registry`]. A file takes this
//! way, and every step is a tracing event and stands in the snapshot:
//!
//! ```text
//! discovered ─► settling ─► validating ─► compiling ─► probing ─► live ─► retired
//!                   │            │             │           │
//!                   └────────────┴── refused ──┴───────────┘   (the old version, if any, stays live)
//! ```
//!
//! Promises: what serves is replaced only by a version that passed every step,
//! in one swap; attempts under way end on the version they began with; a bad,
//! half-written, vanished or unreadable file never takes a good version down.
//! The periodic rescan is the truth, file system events only hasten it.
//!
//! Does not know the database, and touches no wasmtime type: the sandbox
//! looks at, compiles and runs what is in the files.

mod directory;
mod file_tracker;
mod install;
mod keeper;
mod ledger;
mod load;
mod needs;
mod pauses;
mod read;
mod registry;
mod scan;
mod schedule;
mod status;
mod trouble;
mod version;
mod waiters;
mod watcher;

#[cfg(test)]
mod tests;

pub use directory::{DirectoryOptions, PluginDirectory};
pub use install::{
    GrantLines, InstallAs, InstallError, Installed, KEEP, KeptVersion, install, install_name,
    rollback, versions,
};
pub use needs::PluginReport;
pub use registry::{Conflict, HandlerMap, NewVersion, Registry, Snapshot};
pub use status::{PluginState, PluginStatus};
pub use version::Draining;
