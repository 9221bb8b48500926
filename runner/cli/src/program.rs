//! Runs the program, from the command line to the exit code.

use std::process::ExitCode;

use clap::Parser;

use super::root::{Root, Verb};
use super::{dispatch, process, refused};

/// Runs the program and returns its exit code, one of `Exit`.
pub fn main() -> ExitCode {
    let Root { global, verb } =
        Root::try_parse().unwrap_or_else(|error| refused::printable(error).exit());
    if let Verb::CompilePlugin = verb {
        // Before any setup: the child process has tight limits and uses its standard
        // streams for data.
        return pgtq_sandbox::compile_child();
    }
    let level = dispatch::log_level(&verb);
    process::run(global, level, async move |context| {
        dispatch::dispatch(verb, context).await
    })
}
