//! The loops that make a runner.
//!
//! ```text
//!  waker ──wake──► claimer ──tasks──► backlog ──► slots ──outcomes─► completer ──► store
//!                     ▲                             │ registry snapshot
//!  maintenance: promote, rescue, prune              ▼
//!  heartbeat: lease, cancels, orphaned claims            Handler::call
//!  streamer: log lines of long-running attempts
//!  push_facts: whether plugins may push more
//!  served: whether the schema still serves this program
//!  watchdog: handlers that do not yield
//! ```
//!
//! Guarantees: a runner never claims more than it has room for; an outcome is stored
//! under its claim or not at all; losing the database, a notification or this process
//! costs time, never a task. Uses no SQL and no wasmtime type.

pub mod http;
pub mod plugin;

mod appetite;
mod backlog;
mod backoff;
mod claimer;
mod commit;
mod completer;
mod config;
mod control;
mod core;
mod error;
mod executor;
mod health;
mod heartbeat;
mod held;
mod lease;
mod ledger;
mod maintenance;
mod needs;
mod pace;
mod parked;
mod progress;
mod push_facts;
mod run;
mod served;
mod shutdown;
mod sleep;
mod stats;
mod streamer;
mod suspects;
mod unknown_traits;
mod wake_limiter;
mod waker;
mod watchdog;

pub use backoff::Backoff;
pub use config::{EngineConfig, QueueSpec, default_slots};
pub use control::control;
pub use error::EngineError;
pub use health::{Health, Trouble};
pub use run::{host_name, run, run_with_stats};
pub use shutdown::{Phase, Shutdown};
pub use stats::{Stats, Summary};
