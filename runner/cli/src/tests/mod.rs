//! Tests of help, errors, arguments, filters and output, without Postgres.

mod argument_forms;
pub(super) mod arguments;
mod errors;
mod filters;
mod help;
mod output;
mod tls;
