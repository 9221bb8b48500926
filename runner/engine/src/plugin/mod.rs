//! From a directory of `.wasm` files to the handlers that run now.
//!
//! Owns the plugin directory's semantics and the [`Registry`]. A file passes through
//! these states; every transition is a tracing event and visible in the snapshot:
//!
//! ```text
//! discovered ─► settling ─► validating ─► compiling ─► probing ─► live ─► retired
//!                   │            │             │           │
//!                   └────────────┴── refused ──┴───────────┘   (the old version, if any, stays live)
//! ```
//!
//! Guarantees: a serving version is replaced only by one that passed every step, in one
//! swap; running attempts finish on the version they began with; an invalid,
//! half-written, missing or unreadable file never takes a valid version down. Correctness
//! rests on the periodic rescan; file system events only make it faster.
//!
//! Does not use the database or any wasmtime type: the sandbox inspects, compiles and
//! runs the files.

mod directory;
mod directory_problem;
mod file_name;
mod file_tracker;
mod install;
mod keeper;
mod load;
mod load_journal;
mod load_request;
mod load_schedule;
mod needs;
mod options;
mod pending_retries;
mod plugin_table;
mod read;
mod ready_file;
pub(crate) mod registry;
mod rejected;
mod scan;
pub(crate) mod snapshot;
mod stages;
mod status;
mod version;
mod waiters;
mod watcher;

#[cfg(test)]
mod tests;

pub use directory::PluginDirectory;
pub use install::{
    GrantLines, InstallAs, InstallError, Installed, KEEP, KeptVersion, install, install_name,
    rollback, versions,
};
pub use needs::PluginReport;
pub use options::DirectoryOptions;
pub use plugin_table::Conflict;
pub use registry::{NewVersion, Registry};
pub use snapshot::{HandlerMap, Snapshot};
pub use status::{PluginState, PluginStatus};
pub use version::Draining;
