//! The queue in Postgres: the only SQL of the product.
//!
//! Owns the connection, the schema (`migrations/`) and one function per verb: push, claim,
//! finish, promote, rescue, beat, cancel, prune and the views. Each verb is one file here and
//! one or more statements in `sql/`. Guarantees: an outcome is written only under a claim that
//! still exists; a batch verb is one transaction; every time is the database's. Uses neither
//! wasmtime nor the file system, and decides nothing about tasks: [`pgtq_task::decide`] does.

mod config;
mod error;
mod migrate;
mod migrate_outside;
mod migrations;

mod attempt;
mod batch;
mod beat;
mod bench;
mod cancel_request;
mod claim;
mod claims;
mod columns;
mod connection;
mod dial;
mod ending;
mod filter;
mod finish;
mod finish_many;
mod json;
mod lanes;
mod lease;
mod listen;
mod live_logs;
mod maintain;
mod operate;
mod outcomes;
mod pooler;
mod push;
mod push_look;
mod rescue;
mod role;
mod roles;
mod runner;
mod server;
mod session;
mod settings;
mod shortage;
mod sql;
mod stats;
mod stride;
mod sweep;
mod take;
mod task_reads;
mod task_row;
mod ticket;
mod timestamp;
mod tls;
mod unreadable;
mod views;
mod waiting;
mod workers;

pub use attempt::database::AttemptDatabase;
pub use attempt::work::{Commit, CommitStatus};
pub use beat::{Beat, BeatReply};
pub use bench::{BenchCounts, BenchWaits};
pub use claim::Claimed;
pub use config::{ConfigError, DatabaseConfig, Schema, TlsMode};
pub use connection::Store;
pub use ending::{Ending, Finished};
pub use error::StoreError;
pub use filter::Filter;
pub use lanes::Lanes;
pub use lanes::lane::{Paused, QueueFilter};
pub use lanes::named_queues::NamedQueues;
pub use listen::{Listener, Wake, WakeFlags};
pub use live_logs::{LiveLine, LiveLog};
pub use maintain::{PromoteCursor, Promoted, Pruned, Retention, Tended};
pub use migrate::{MigrationStatus, SCHEMA_VERSION};
pub use migrations::Applied;
pub use operate::Moved;
pub use push::{OnConflict, PushOutcome, Pushed};
pub use rescue::Rescued;
pub use roles::{RoleKind, RoleRow};
pub use runner::{PublishedHandler, RunnerFacts, WakeRequest};
pub use server::{ServerState, Unfit};
pub use stats::{HandlerRow, HandlerStats, QueueList, QueueRow, RunnerRow, Stats};
pub use task_row::{AttemptRow, TaskDetail, TaskPage, TaskRow};
pub use workers::WorkerRow;

#[cfg(test)]
mod testdb;
#[cfg(test)]
mod tests;
