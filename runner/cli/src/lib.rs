//! The command line: verbs, options, output and exit codes.
//!
//! Parses the command line, prints results and sets the exit code of the process.
//! Guarantees that stdout contains only data, that an error names the next step, and that
//! no verb prompts without a terminal. Contains no SQL and no wasmtime: the other crates do
//! the work.

mod arguments;
mod ask;
mod batch;
#[doc(hidden)]
pub mod bench;
mod cases;
pub mod config;
mod context;
mod database;
mod descriptors;
mod dispatch;
mod error;
mod filter;
mod global_args;
mod json;
mod known;
mod logging;
mod machine;
mod memory;
mod output;
mod process;
mod program;
mod progress;
mod refused;
mod reload;
mod root;
mod run_at;
mod runner;
mod schema;
mod signals;
mod sources;
mod stderr;
mod text;
mod threads;
mod verbs;

pub use program::main;

#[cfg(test)]
mod tests;
