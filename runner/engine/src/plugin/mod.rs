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
mod file_tracker;
mod install;
mod keeper;
mod ledger;
mod load;
mod needs;
mod pauses;
mod read;
pub(crate) mod registry;
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
