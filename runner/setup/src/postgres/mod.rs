//! A private Postgres for `pgtq dev`, `pgtq demo` and the tests.
//!
//! * It opens no port: it has only a Unix socket, in a directory that only its user can
//!   access.
//! * The server stops when the process that started it ends, even by SIGKILL. The next
//!   start removes directories of processes that no longer exist.
//! * All functions block. From async code, call them on a blocking thread.
//!
//! Migrations and the contents of the databases belong to `store`.

mod account;
mod client;
mod error;
mod launch;
mod options;
mod postmaster;
mod programs;
mod server;
mod temporary;

#[cfg(test)]
mod tests;

pub(crate) use account::effective_uid;
pub use error::PostgresError;
pub use options::{Data, ServerOptions};
pub use programs::{NoPostgres, Programs};
pub use server::PrivatePostgres;
