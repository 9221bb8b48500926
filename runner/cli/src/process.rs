//! Sets up the process: colors, log, runtime, time limit, exit code.

use std::pin::Pin;
use std::process::ExitCode;

use super::context::Context;
use super::error::{Exit, Problem};
use super::global_args::{Color, GlobalArgs};
use super::{logging, stderr, threads};

/// Sets up the process according to the global options and runs `work`. `level` is the
/// default log level: 0 is errors, 1 warnings, 2 info.
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
    // Do not wait for blocking reads of standard input, which cannot be cancelled.
    runtime.shutdown_background();
    finish(done)
}

async fn limited(
    global: GlobalArgs,
    work: impl AsyncFnOnce(&Context) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let limit = global.timeout;
    let context = Context::new(global)?;
    // Boxed, because the futures of verbs are large and this one is moved.
    let work: Pin<Box<_>> = Box::pin(work(&context));
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let text = super::text::fine(limit);
            Err(Problem::new(
                Exit::Elapsed,
                format!("timed out after {text} (--timeout)"),
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
