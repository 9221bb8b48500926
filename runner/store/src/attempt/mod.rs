//! One attempt's way to the database: SQL in the task's own transaction, and
//! the values that later attempts find again.
//!
//! ```text
//!  guest ─► AttemptDatabase ─► Work (transaction) ─► Session ─► budget ─► socket
//!                │                    │
//!                └─ saved values      └─ from the pool of its grant, and back to it
//! ```
//!
//! A handler's SQL is hostile. It runs on a connection that logged in as the
//! granted role, never on one of the runner's: `SET ROLE` is no boundary, since
//! any statement may call `set_config('role', ...)`. It is one statement that
//! reads or writes, it is timed and measured from outside, and before the
//! runner speaks on that connection itself it sets back whatever the handler may
//! have set, and names every object by its schema.
//!
//! The end of a successful attempt is written on the same connection by
//! `complete_in_task`, so that it commits together with the SQL or not at all.
//! Touches neither policies nor claims: the engine decides what a commit that
//! did not happen means, and the completer closes the claim.

mod answer;
mod budget;
mod database;
mod decode;
mod dial;
mod doubt;
mod numeric;
mod params;
mod pool;
mod saved;
mod session;
mod statement;
mod stop;
mod times;
mod trouble;
mod work;

pub use database::AttemptDatabase;
pub(super) use pool::Pools;
pub use work::{Commit, CommitStatus};

#[cfg(test)]
mod tests;
