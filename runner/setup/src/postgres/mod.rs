//! A Postgres of our own, for `pgtq dev`, `pgtq demo` and the tests.
//!
//! Promises: no port is opened (Unix socket only, in a directory only its user can
//! enter), the server ends with its owner however the owner ends, and directories
//! that dead owners left behind are removed by the next start. Everything here
//! blocks and may be called from anywhere; from async code, use a blocking thread.
//!
//! Does not: migrate, or know what is in the databases.

mod account;
mod client;
mod launch;
mod postmaster;
mod programs;
mod server;
mod temporary;

#[cfg(test)]
mod tests;

pub(crate) use account::effective_uid;
pub use programs::{NoPostgres, Programs};
pub use server::{Data, Options, PostgresError, PrivatePostgres};
