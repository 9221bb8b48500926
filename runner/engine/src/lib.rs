//! The loops that make a runner.
//!
//! ```text
//!  waker ──wake──► claimer ──tasks──► backlog ──► slots ──outcomes─► completer ──► store
//!                     ▲                             │ registry snapshot
//!  maintenance: promote, rescue, prune              ▼
//!  heartbeat: lease, cancels, orphaned claims            Handler::call
//!  streamer: log lines of long-running attempts
//!  push_facts: whether plugins may push more
//!  schema_check: whether the schema still serves this program
//!  watchdog: handlers that do not yield
//! ```
//!
//! `claim` claims tasks, `attempt` runs them, `outcome` stores their outcomes and
//! `background` holds the other loops. What they share is in `state`, which imports none
//! of them; `run` starts and stops them all.
//!
//! Guarantees: a runner never claims more than it has room for; an outcome is stored
//! under its claim or not at all; losing the database, a notification or this process
//! costs time, never a task. Uses no SQL and no wasmtime type.

pub mod http;
pub mod plugin;

mod attempt;
mod background;
mod backoff;
mod claim;
mod config;
mod control;
mod error;
mod outcome;
mod run;
mod state;

pub use backoff::LoopBackoff;
pub use config::{EngineConfig, QueueSpec, default_slots};
pub use control::control;
pub use error::EngineError;
pub use run::{host_name, run, run_with_stats};
pub use state::health::{Health, OperationHealth};
pub use state::shutdown::{Phase, Shutdown};
pub use state::stats::{EngineStats, Summary};
