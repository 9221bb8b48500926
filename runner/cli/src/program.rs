//! From the process's arguments to its exit code.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser;

use super::context::Context;
use super::error::{Exit, Problem};
use super::root::{Color, Root, Verb};
use super::{logging, refused, stderr, threads, verbs};

/// Runs the program and returns its exit code. The codes are documented at `Exit`.
pub fn main() -> ExitCode {
    let root = Root::try_parse().unwrap_or_else(|error| refused::printable(error).exit());
    if let Verb::CompilePlugin = root.verb {
        // Before anything else: the child runs under tight limits and talks
        // over its standard streams.
        return pgtq_sandbox::compile_child();
    }
    match root.global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let started = threads::check().and_then(|()| stderr::start());
    let _at_end = match started {
        Ok(at_end) => at_end,
        Err(error) => return finish(Err(threads::none(&error))),
    };
    logging::start(&root);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(threads::none(&error))),
    };
    let done = runtime.block_on(limited(root));
    // Blocking reads of standard input cannot be cancelled: do not wait for them.
    runtime.shutdown_background();
    finish(done)
}

async fn limited(root: Root) -> Result<(), Problem> {
    let limit = root.global.timeout;
    let context = Context::new(root.global)?;
    // Boxed: the verbs' futures are large, and this one moves.
    let work: Pin<Box<dyn Future<Output = Result<(), Problem>> + '_>> =
        Box::pin(verbs::dispatch(root.verb, &context));
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
