//! What the whole-process tests stand on.
//!
//! One private Postgres per test process, a fresh database per test, the example
//! plugins built once, and the real program run as a child. Promises: nothing of
//! it outlives the test process, however that ends. Does not: mock, or sleep a
//! fixed time; [`wait_until`] waits for the state itself.

mod database;
mod plugins;
mod process;
mod runner;
mod sql;
mod wait;

pub use database::Database;
pub use plugins::{hello_version, plugin, plugin_dir, repository};
pub use process::{Finished, cli, program};
pub use runner::{Runner, RunnerOptions};
pub use sql::Sql;
pub use wait::{PATIENCE, wait_until, wait_until_async};
