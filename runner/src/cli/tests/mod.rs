//! What people see: help, errors, arguments, filters, output. No database.

mod argument_forms;
pub(super) mod arguments;
mod errors;
mod filters;
mod help;
mod output;
