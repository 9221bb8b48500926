//! From the process's arguments to its exit code.

use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser;

use super::context::Context;
use super::error::{Exit, Problem};
use super::global::{Color, GlobalArgs};
use super::root::{Root, Verb};
use super::{logging, refused, stderr, threads};

/// Runs the program and returns its exit code. The codes are documented at `Exit`.
pub fn main() -> ExitCode {
    let Root { global, verb } =
        Root::try_parse().unwrap_or_else(|error| refused::printable(error).exit());
    if let Verb::CompilePlugin = verb {
        // Before anything else: the child runs under tight limits and talks
        // over its standard streams.
        return pgtq_sandbox::compile_child();
    }
    let level = logging::usual(&verb);
    run(global, level, async move |context| verb.run(context).await)
}

/// Sets the process up as the global flags say and does `work`. `level` is how much is
/// logged without a flag: 0 is errors, 1 warnings, 2 info.
pub fn run(
    global: GlobalArgs,
    level: u8,
    work: impl AsyncFnOnce(&Context) -> Result<(), Problem>,
) -> ExitCode {
    match global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let started = threads::check().and_then(|()| stderr::start());
    let _at_end = match started {
        Ok(at_end) => at_end,
        Err(error) => return finish(Err(threads::none(&error))),
    };
    logging::start(&global, level);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(threads::none(&error))),
    };
    let done = runtime.block_on(limited(global, work));
    // Blocking reads of standard input cannot be cancelled: do not wait for them.
    runtime.shutdown_background();
    finish(done)
}

async fn limited(
    global: GlobalArgs,
    work: impl AsyncFnOnce(&Context) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let limit = global.timeout;
    let context = Context::new(global)?;
    // Boxed: the verbs' futures are large, and this one moves.
    let work: Pin<Box<_>> = Box::pin(work(&context));
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let text = super::text::fine(limit);
            Err(Problem::new(
                Exit::Elapsed,
                format!("gave up after {text} (--timeout)"),
            ))
        }),
    }
}

fn finish(done: Result<(), Problem>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) if problem.silent => ExitCode::SUCCESS,
        Err(problem) => {
            stderr::styled(&problem.styled());
            ExitCode::from(problem.exit as u8)
        }
    }
}
