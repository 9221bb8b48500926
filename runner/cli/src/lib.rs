//! Words for people: verbs, flags, output, exit codes.
//!
//! Owns the command line: what is read from it, what is printed and which
//! code the process ends with. Promises that stdout carries data and nothing
//! else, that an error names the next step, and that nothing asks a question
//! when nobody is there to answer. Holds no SQL and no wasmtime: the work is
//! done by the rooms below.

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
mod error;
mod filter;
mod global;
mod json;
mod known;
mod logging;
mod machine;
mod memory;
mod output;
mod program;
mod progress;
mod refused;
mod reload;
mod root;
mod runner;
mod schema;
mod signals;
mod sources;
mod stderr;
mod text;
mod threads;
mod verbs;

pub use program::main;
#[doc(hidden)]
pub use program::run;

#[cfg(test)]
mod tests;
