//! `pgtq show`: shows one task with its attempts.

use std::fmt::Write as _;

use clap::Args;
use jiff::Timestamp;

use crate::context::Context;
use crate::database;
use crate::error::{Problem, no_task};
use crate::filter;
use crate::output::{Cell, Format};
use crate::text;
use pgtq_store::{AttemptRow, Store, TaskDetail};
use pgtq_task::State;

/// Arguments of `pgtq show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Task id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Print only the result, as JSON
    #[arg(long)]
    pub(crate) result: bool,
    /// Print only the arguments, as JSON
    #[arg(long, conflicts_with = "result")]
    pub(crate) args: bool,
}

pub(crate) async fn run(args: ShowArgs, context: &Context) -> Result<(), Problem> {
    let id = filter::id(&args.id)?;
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let detail = store.task(id).await?.ok_or_else(|| no_task(id))?;
    if args.args {
        return context.out.json(&format!("{}\n", detail.task.args));
    }
    if args.result {
        return match &detail.task.result {
            Some(result) => context.out.json(&format!("{result}\n")),
            None => Err(Problem::failed(format!(
                "task {id} has no result: it is {}",
                detail.task.state
            ))),
        };
    }
    let pairs = pairs(&detail, store.now().await?);
    context.out.one("pgtq.task/v1", id, &pairs, &detail)?;
    match context.out.format {
        Format::Table => context.out.raw(&attempts(&detail)),
        _ => Ok(()),
    }
}

fn pairs(detail: &TaskDetail, now: Timestamp) -> Vec<(&'static str, Cell)> {
    let task = &detail.task;
    let last = detail.attempts.last();
    let optional = |text: Option<String>| Cell::from(text.unwrap_or_default());
    let mut pairs: Vec<(&'static str, Cell)> = vec![
        ("task", task.id.to_string().into()),
        ("state", task.state.as_str().into()),
        ("handler", task.handler.as_str().into()),
        ("queue", task.queue.as_str().into()),
        (
            "arguments",
            Cell::new(text::line(&task.args, 400), task.args.as_str()),
        ),
        ("result", optional(task.result.clone())),
        ("error", optional(error(detail))),
        ("attempts", attempts_text(detail).into()),
        ("pushed", Cell::time(Some(task.pushed_at), now)),
    ];
    pairs.push(match task.state {
        State::Scheduled | State::Runnable => ("due", Cell::time(Some(task.due_at), now)),
        _ => ("started", Cell::time(task.started_at, now)),
    });
    pairs.push(("finished", Cell::time(task.finished_at, now)));
    if let Some(progress) = &detail.progress {
        pairs.push(("progress", text::progress(progress).into()));
    }
    if detail.cancel_asked {
        pairs.push((
            "cancel",
            "requested; the attempt ends within seconds".into(),
        ));
    }
    pairs.extend([
        ("usage", optional(last.and_then(usage))),
        (
            "plugin",
            optional(last.and_then(|last| last.digest.clone())),
        ),
        ("runner", optional(task.runner.map(|id| id.to_string()))),
        ("key", optional(task.key.clone())),
        ("parent", optional(task.parent.map(|id| id.to_string()))),
    ]);
    pairs
}

fn error(detail: &TaskDetail) -> Option<String> {
    if let Some(message) = &detail.task.error_message {
        return Some(match &detail.task.error_kind {
            Some(kind) => format!("{kind}: {message}"),
            None => message.clone(),
        });
    }
    // The last error of a task that waits for a retry.
    let last = detail.attempts.last()?;
    let message = last.error_message.as_ref()?;
    let waits = matches!(detail.task.state, State::Scheduled | State::Runnable);
    waits.then(|| format!("{}: {message}", last.kind))
}

fn attempts_text(detail: &TaskDetail) -> String {
    let task = &detail.task;
    let limit = match task.retries {
        Some(-1) => " (unlimited retries)".to_owned(),
        Some(retries) => format!(" of {}", i64::from(retries) + 1),
        None => String::new(),
    };
    let crashes = match task.crashes {
        0 => String::new(),
        1 => ", 1 runner crash".to_owned(),
        n => format!(", {n} runner crashes"),
    };
    format!("{}{limit}{crashes}", task.attempts)
}

fn usage(attempt: &AttemptRow) -> Option<String> {
    let wall = std::time::Duration::from_micros(u64::try_from(attempt.wall_us?).ok()?);
    let memory = attempt
        .peak_memory
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0);
    let fuel = attempt
        .fuel
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0);
    Some(format!(
        "{}, {} fuel, {}",
        text::fine(wall),
        text::count(fuel),
        text::bytes(memory)
    ))
}

/// Number of attempts that are shown before the omitted ones.
const FIRST_ATTEMPTS: usize = 50;

/// Formats the attempts with their logs.
fn attempts(detail: &TaskDetail) -> String {
    let mut out = String::new();
    for (n, attempt) in detail.attempts.iter().enumerate() {
        if n == FIRST_ATTEMPTS && detail.attempts_omitted > 0 {
            let omitted = text::count(detail.attempts_omitted.unsigned_abs());
            let _ = writeln!(
                out,
                "\n{omitted} attempts are not shown; all are in the table `attempts`"
            );
        }
        let used = usage(attempt).map_or_else(String::new, |used| format!(" ({used})"));
        let _ = writeln!(
            out,
            "\n\x1b[1mattempt {}\x1b[0m  {}{used}",
            attempt.number,
            text::safe(&attempt.kind)
        );
        if let Some(message) = &attempt.error_message {
            let _ = writeln!(out, "  {}", text::safe(message).replace('\n', "\n  "));
        }
        if let Some(details) = &attempt.error_details {
            let _ = writeln!(out, "  details: {}", text::line(details, 400));
        }
        for frame in &attempt.backtrace {
            let _ = writeln!(out, "    at {}", text::line(frame, 160));
        }
        if attempt.texts_omitted {
            let _ = writeln!(
                out,
                "  its details and log are not shown, because those of newer attempts exceed {}; they are in the table `attempts`",
                text::bytes(Store::PAGE_BYTES.unsigned_abs())
            );
        }
        for line in super::logs::lines(attempt) {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}
