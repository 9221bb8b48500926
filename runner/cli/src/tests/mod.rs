//! What people see: help, errors, arguments, filters, output. No Postgres.

mod argument_forms;
pub(super) mod arguments;
mod errors;
mod filters;
mod help;
mod output;
mod tls;
