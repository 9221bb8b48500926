//! `pgtq call`: runs one handler of a file in the sandbox, with the limits and grants of a
//! runner. There is no database: state is kept in memory, and SQL is not available.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use clap::Args;
use jiff::Timestamp;

use crate::config::keys::closest;
use crate::context::Context;
use crate::error::{Exit, Problem};
use crate::memory::{Memory, NoSql};
use crate::{arguments, machine, text, verbs};
use pgtq_sandbox::{Sandbox, SandboxConfig};
use pgtq_task::{Attempt, ClaimId, Failure, Handler, Name, Outcome, Report, Signal, Task, TaskId};

/// Arguments of `pgtq call`.
#[derive(Debug, Args)]
#[command(
    after_help = "ARGS has the same forms as in `pgtq push`. The plugin has the grants that pgtq.toml gives to a file\nof this name. State is kept in memory only, and SQL is not available."
)]
pub(crate) struct CallArgs {
    /// Plugin file (.wasm)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Handler to run
    #[arg(value_name = "HANDLER")]
    pub(crate) handler: Name,
    /// Arguments of the handler
    #[arg(value_name = "ARGS")]
    pub(crate) words: Vec<String>,
    /// Attempt number that the handler sees, from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: u32,
}

pub(crate) async fn run(args: CallArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let (book, missing) = tokio::task::block_in_place(|| machine::grants(&config));
    for secret in &missing {
        context.warn(secret.to_string());
    }
    let sandbox = Sandbox::new(SandboxConfig {
        grants: Arc::new(ArcSwap::from_pointee(book)),
        cap: config.limits.uncapped(),
        ..machine::settings(&config, 2)?
    })?;
    let loaded = machine::load(&sandbox, &args.file).await?;
    let handlers = loaded.compiled.handlers(&loaded.manifest, &loaded.plugin);
    let handler = find(&handlers, &args.handler)?;
    let json = arguments::read(
        &args.words,
        Some(handler.info()),
        &mut std::io::stdin().lock(),
    )?;
    let now = Timestamp::now();
    let task = Task {
        id: TaskId(0),
        queue: Name::default_queue(),
        handler: args.handler.clone(),
        priority: 0,
        args: json,
        attempts: args.attempt - 1,
        crashes: 0,
        retries: None,
        pushed_at: now,
        due_at: now,
        key: None,
        parent: None,
        traits: None,
    };
    let database = Arc::new(Memory::new(BTreeMap::new(), Arc::new(NoSql)));
    let attempt = Attempt {
        task: Arc::new(task),
        claim: ClaimId(0),
        signal: Arc::new(Signal::default()),
        database: Arc::clone(&database) as _,
    };
    let report = handler.call(attempt).await;
    print_report(context, &report);
    let succeeded = matches!(report.outcome, Outcome::Complete { .. });
    for (name, value) in database.end(succeeded).0 {
        context.note(format!(
            "would save {} {}",
            match &*name {
                "" => "the state".to_owned(),
                name => text::line(name, 200),
            },
            text::line(&value, 200)
        ));
    }
    outcome(context, report.outcome)
}

fn find<'a>(
    handlers: &'a [Arc<dyn Handler>],
    name: &Name,
) -> Result<&'a Arc<dyn Handler>, Problem> {
    let names = || handlers.iter().map(|handler| handler.info().name.as_str());
    handlers
        .iter()
        .find(|handler| handler.info().name == *name)
        .ok_or_else(|| {
            Problem::not_found(format!("the file has no handler `{name}`"))
                .maybe_help(
                    closest(name.as_str(), names()).map(|name| format!("did you mean `{name}`?")),
                )
                .help(format!(
                    "its handlers are: {}",
                    names().collect::<Vec<_>>().join(", ")
                ))
        })
}

/// Prints logs, pushes and usage.
fn print_report(context: &Context, report: &Report) {
    for line in &report.record.logs {
        context.note(verbs::logs::line(line));
    }
    for child in &report.record.children {
        context.note(format!(
            "would push {} {}",
            child.handler,
            text::line(&child.args, 200)
        ));
    }
    let usage = &report.record.usage;
    context.note(format!(
        "\x1b[2m{}, {} fuel, {} memory\x1b[0m",
        text::fine(usage.wall),
        text::count(usage.fuel),
        text::bytes(usage.peak_memory)
    ));
}

fn outcome(context: &Context, outcome: Outcome) -> Result<(), Problem> {
    match outcome {
        Outcome::Complete { result } => context.out.json(&format!("{result}\n")),
        Outcome::Retry { failure, after } => {
            let when = match after {
                Some(after) => format!("a runner would retry after {}", text::fine(after)),
                None => "a runner would retry according to the handler's policy".to_owned(),
            };
            Err(failed(&failure).help(when))
        }
        Outcome::Fail { failure } => Err(failed(&failure).help("a runner would not retry")),
        Outcome::Snooze { after } => {
            context.note(format!(
                "the handler snoozed its task for {}",
                text::fine(after)
            ));
            Ok(())
        }
        Outcome::Cancel { reason } => Err(Problem::new(
            Exit::TaskFailed,
            format!("the handler cancelled its task: {}", text::safe(&reason)),
        )),
        Outcome::Release => Err(Problem::failed("the attempt was interrupted")),
    }
}

fn failed(failure: &Failure) -> Problem {
    let mut message = format!(
        "the handler failed ({}): {}",
        failure.kind.as_str(),
        text::safe(&failure.message)
    );
    if !failure.code.is_empty() {
        message.push_str(&format!("\ncode: {}", text::safe(&failure.code)));
    }
    if let Some(details) = &failure.details {
        message.push_str(&format!("\ndetails: {}", text::line(details, 1_000)));
    }
    for frame in &failure.backtrace {
        message.push_str(&format!("\n  at {}", text::line(frame, 160)));
    }
    Problem::new(Exit::TaskFailed, message)
}
