//! `pgtq logs`: what handlers logged. Logs are stored when an attempt ends,
//! so `-f` shows each attempt as it ends.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;

use super::show::no_task;
use crate::cli::context::Context;
use crate::cli::database;
use crate::cli::error::Problem;
use crate::cli::filter;
use crate::cli::text;
use crate::config::values;
use crate::store::{AttemptRow, Filter, Store, TaskDetail};
use crate::task::{LogLevel, LogLine, State, TaskId};

/// How often `-f` looks.
const LOOK: Duration = Duration::from_millis(500);

/// What handlers logged.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The task
    #[arg(value_name = "ID", required_unless_present = "handler")]
    pub(crate) id: Option<String>,
    /// All tasks of this handler instead; `*` stands for any text
    #[arg(long, value_name = "PATTERN", conflicts_with = "id")]
    pub(crate) handler: Option<String>,
    /// With --handler: how far back
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "1h")]
    pub(crate) since: Duration,
    /// Keep printing as attempts end
    #[arg(short, long)]
    pub(crate) follow: bool,
}

pub(crate) async fn run(args: LogsArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let mut printer = Printer {
        context,
        seen: HashSet::new(),
        with_id: args.id.is_none(),
    };
    match &args.id {
        Some(id) => one(&mut printer, &store, filter::id(id)?, args.follow).await,
        None => many(&mut printer, &store, &args).await,
    }
}

async fn one(
    printer: &mut Printer<'_>,
    store: &Store,
    id: TaskId,
    follow: bool,
) -> Result<(), Problem> {
    loop {
        let detail = store.task(id).await?.ok_or_else(|| no_task(id))?;
        printer.print(&detail)?;
        if !follow || detail.task.state.is_final() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn many(printer: &mut Printer<'_>, store: &Store, args: &LogsArgs) -> Result<(), Problem> {
    let filter = Filter {
        handler: args.handler.clone(),
        since: Some(args.since),
        limit: 200,
        ..Filter::default()
    };
    let mut ended: HashSet<TaskId> = HashSet::new();
    loop {
        let mut tasks = store.tasks(&filter).await?;
        tasks.reverse();
        for task in tasks {
            let idle = task.state == State::Runnable && task.attempts == 0;
            if idle || ended.contains(&task.id) {
                continue;
            }
            if let Some(detail) = store.task(task.id).await? {
                printer.print(&detail)?;
                if detail.task.state.is_final() {
                    ended.insert(task.id);
                }
            }
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Printer<'a> {
    context: &'a Context,
    /// Attempts printed already: task and place in its list.
    seen: HashSet<(TaskId, usize)>,
    with_id: bool,
}

impl Printer<'_> {
    fn print(&mut self, detail: &TaskDetail) -> Result<(), Problem> {
        let id = detail.task.id;
        for (i, attempt) in detail.attempts.iter().enumerate() {
            if !self.seen.insert((id, i)) {
                continue;
            }
            if self.context.out.is_json() {
                for line in parse(attempt) {
                    let json =
                        serde_json::json!({"task": id, "attempt": attempt.number, "line": line});
                    self.context.out.raw(&format!("{json}\n"))?;
                }
                continue;
            }
            let prefix = if self.with_id {
                format!("{id}  ")
            } else {
                String::new()
            };
            for line in lines(attempt) {
                self.context.out.raw(&format!("{prefix}{line}\n"))?;
            }
        }
        Ok(())
    }
}

fn parse(attempt: &AttemptRow) -> Vec<LogLine> {
    let text = attempt.logs.as_deref().unwrap_or("[]");
    serde_json::from_str(text).unwrap_or_default()
}

/// The kept lines of one attempt, for people.
pub(crate) fn lines(attempt: &AttemptRow) -> Vec<String> {
    let mut lines: Vec<String> = parse(attempt).iter().map(line).collect();
    if attempt.logs_dropped > 0 {
        lines.push(format!(
            "… {} more lines were dropped",
            attempt.logs_dropped
        ));
    }
    lines
}

/// One log line for people.
pub(crate) fn line(line: &LogLine) -> String {
    let (colour, level) = match line.level {
        LogLevel::Debug => ("\x1b[2m", "debug"),
        LogLevel::Info => ("\x1b[32m", "info "),
        LogLevel::Warn => ("\x1b[33m", "warn "),
        LogLevel::Error => ("\x1b[31m", "error"),
    };
    let fields = line.fields.as_ref().map_or_else(String::new, |fields| {
        format!(" \x1b[2m{}\x1b[0m", text::line(fields.get(), 400))
    });
    format!(
        "\x1b[2m{:>7.3}\x1b[0m {colour}{level}\x1b[0m {}{fields}",
        line.at_ms as f64 / 1e3,
        text::line(&line.message, 8_192)
    )
}
