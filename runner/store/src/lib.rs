//! The queue in Postgres: the only SQL of the product.
//!
//! Owns the connection, the schema (`migrations/`) and one function per verb: push, claim,
//! finish, promote, rescue, beat, cancel, prune and the views. Each verb is one file in
//! `verbs/` or `read/` and one or more statements in `sql/`. Guarantees: an outcome is written only under a claim that
//! still exists; a batch verb is one transaction; every time is the database's. Uses neither
//! wasmtime nor the file system, and decides nothing about tasks: [`pgtq_task::decide`] does.

mod connect;
mod handler_sql;
mod read;
mod sql;
mod verbs;

pub use connect::config::{DatabaseConfig, Schema, TlsMode, UrlError};
pub use connect::connection::Store;
pub use connect::error::StoreError;
pub use connect::server::{ServerState, WrongSetting};
pub use handler_sql::database::AttemptDatabase;
pub use handler_sql::work::{Commit, CommitStatus};
pub use read::bench::{BenchCounts, BenchWaits};
pub use read::filter::Filter;
pub use read::live_logs::{LiveLine, LiveLog};
pub use read::stats::{HandlerRow, HandlerStats, QueueList, QueueRow, RunnerRow, Stats};
pub use read::task_row::{AttemptRow, TaskDetail, TaskPage, TaskRow};
pub use read::workers::WorkerRow;
pub use verbs::beat::{Beat, BeatReply};
pub use verbs::claim::Claimed;
pub use verbs::lanes::Lanes;
pub use verbs::lanes::lane::{Paused, QueueFilter};
pub use verbs::lanes::named_queues::NamedQueues;
pub use verbs::listen::{Listener, Wake, WakeFlags};
pub use verbs::maintain::{PromoteCursor, Promoted, Pruned, Retention, Tended};
pub use verbs::migrate::{MigrationStatus, SCHEMA_VERSION};
pub use verbs::migrations::Applied;
pub use verbs::operate::Moved;
pub use verbs::outcome_record::{FinishResult, OutcomeRecord};
pub use verbs::push::{OnConflict, PushOutcome, Pushed};
pub use verbs::rescue::Rescued;
pub use verbs::roles::{RoleKind, RoleRow};
pub use verbs::runner::{PublishedHandler, RunnerFacts, WakeRequest};

#[cfg(test)]
mod testdb;
#[cfg(test)]
mod tests;
