//! A Postgres of our own, for `pgtq dev`, `pgtq demo` and the tests.
//!
//! Promises: no port is opened (Unix socket only, in a directory only its user can
//! enter), the server ends with its owner however the owner ends, and directories
//! that dead owners left behind are removed by the next start.

mod programs;
mod server;

pub use programs::{NoPostgres, Programs};
pub use server::{Data, Options, PostgresError, PrivatePostgres};
