//! Database access of one attempt: SQL in the task's own transaction, and values saved for later
//! attempts.
//!
//! ```text
//!  guest ─► AttemptDatabase ─► Work (transaction) ─► Session ─► budget ─► socket
//!                │                    │
//!                └─ saved values      └─ from the pool of its grant, and back to it
//! ```
//!
//! A handler's SQL is hostile. It runs on a connection that logged in as the granted role, never
//! on one of the runner's: `SET ROLE` is not a boundary, since any statement may call
//! `set_config('role', ...)`. It is one statement that reads or writes. Its time and size are
//! limited from outside. Before the runner uses that connection itself, it resets every setting
//! that the handler may have changed, and it qualifies every object with its schema.
//!
//! The outcome of a successful attempt is written on the same connection by `complete_in_task`,
//! so that it commits together with the SQL or not at all. Does not apply policies and does not
//! close claims: the engine decides how to handle a failed commit, and the completer closes the
//! claim.

pub(crate) mod answer;
mod budget;
pub(crate) mod database;
mod decode;
mod dial;
mod dialer;
mod doubt;
mod malformed;
pub(crate) mod numeric;
pub(crate) mod params;
pub(crate) mod pool;
mod save;
mod saved;
mod session;
pub(crate) mod statement;
mod stop;
pub(crate) mod times;
mod trouble;
pub(crate) mod work;

#[cfg(test)]
mod tests;
