//! `pgtq logs`: prints the log lines of handlers. The database has the logs of finished
//! attempts; for attempts that run longer than a second or two, the runner also streams the
//! lines to the database.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;

use crate::config::values;
use crate::context::Context;
use crate::database;
use crate::error::{Problem, no_task};
use crate::filter;
use crate::text;
use pgtq_store::{Filter, Store};
use pgtq_task::{State, TaskId};

pub(crate) mod lines;
mod reader;

use lines::line;
use reader::{Item, LogReader};

/// Polling interval of `-f`.
const POLL: Duration = Duration::from_millis(500);

/// Arguments of `pgtq logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Task id
    #[arg(value_name = "ID", required_unless_present = "handler")]
    pub(crate) id: Option<String>,
    /// Print the logs of all tasks of this handler instead; `*` matches any text
    #[arg(long, value_name = "PATTERN", conflicts_with = "id")]
    pub(crate) handler: Option<String>,
    /// With --handler, only tasks pushed or finished within this time
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "1h")]
    pub(crate) since: Duration,
    /// Print new lines as they arrive, until the task has finished
    #[arg(short, long)]
    pub(crate) follow: bool,
}

pub(crate) async fn run(args: LogsArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let mut printer = Printer {
        context,
        reader: LogReader::default(),
        with_id: args.id.is_none(),
        last: None,
        shortened: HashSet::new(),
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
        let state = printer.print_new(store, id).await?;
        let state = state.ok_or_else(|| no_task(id))?;
        if !follow || state.is_final() {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
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
            let idle = task.state == State::Runnable && task.attempts == 0 && task.crashes == 0;
            if idle || ended.contains(&task.id) {
                continue;
            }
            let state = printer.print_new(store, task.id).await?;
            if state.is_none_or(State::is_final) {
                ended.insert(task.id);
            }
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

struct Printer<'a> {
    context: &'a Context,
    reader: LogReader,
    /// Print the task id on each line, because lines of several tasks are mixed.
    with_id: bool,
    /// Task and attempt of the last line.
    last: Option<(TaskId, i32)>,
    /// Tasks for which omitted logs were reported.
    shortened: HashSet<TaskId>,
}

impl Printer<'_> {
    /// Prints the new lines of a task. Returns its state; `None` if the task does not exist.
    async fn print_new(&mut self, store: &Store, id: TaskId) -> Result<Option<State>, Problem> {
        // In this order: lines are stored with the attempt before the stream is deleted.
        let live = store.live_logs(id, self.reader.newest(id)).await?;
        let Some(detail) = store.task(id).await? else {
            return Ok(None);
        };
        let items = self.reader.read(id, &detail.attempts, &live);
        let mut text = String::new();
        for item in &items {
            text.push_str(&self.heading(id, item));
            text.push_str(&self.text(id, item));
        }
        let n_omitted = detail.attempts.iter().filter(|a| a.texts_omitted).count();
        if n_omitted > 0 && self.shortened.insert(id) {
            self.context.note(format!(
                "task {id}: the logs of {n_omitted} attempts are not shown, because those of newer attempts exceed {}; they are in the table `attempts`",
                text::bytes(Store::PAGE_BYTES.unsigned_abs())
            ));
        }
        match self.context.out.is_json() {
            _ if text.is_empty() => {}
            true => self.context.out.json(&text)?,
            false => self.context.out.raw(&text)?,
        }
        Ok(Some(detail.task.state))
    }

    /// A heading before the lines of a second or later attempt.
    fn heading(&mut self, id: TaskId, item: &Item) -> String {
        let Item::Line(attempt, _) = item else {
            return String::new();
        };
        let before = self.last.replace((id, *attempt));
        let is_new = before.is_none_or(|before| before != (id, *attempt));
        if self.with_id || self.context.out.is_json() || !is_new || *attempt == 1 {
            return String::new();
        }
        format!("\x1b[1mattempt {attempt}\x1b[0m\n")
    }

    fn text(&self, id: TaskId, item: &Item) -> String {
        let prefix = match self.with_id {
            true => format!("{id}  "),
            false => String::new(),
        };
        match item {
            Item::Line(attempt, line) if self.context.out.is_json() => {
                let json = serde_json::json!({"task": id, "attempt": attempt, "line": line});
                format!("{json}\n")
            }
            Item::Line(_, what) => format!("{prefix}{}\n", line(what)),
            // JSON contains lines only; the kind of the attempt is in `pgtq show`.
            Item::RunnerLost(_) if self.context.out.is_json() => String::new(),
            Item::RunnerLost(attempt) => {
                format!(
                    "{prefix}\x1b[31mattempt {attempt}: the log ends here, its runner was lost\x1b[0m\n"
                )
            }
        }
    }
}
