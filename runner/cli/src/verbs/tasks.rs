//! `pgtq tasks`: lists a page of tasks, newest first.

use clap::Args;
use jiff::Timestamp;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::filter::{self, FilterArgs};
use crate::output::{Cell, Rows};
use crate::text;
use pgtq_store::{Store, TaskRow};
use pgtq_task::{State, TaskId};

/// Arguments of `pgtq tasks`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pgtq tasks state:failed since:2h\n  pgtq tasks handler:thumb* --output ids | xargs pgtq retry"
)]
pub(crate) struct TasksArgs {
    /// Filters such as state:failed handler:thumb* queue:media since:2h error:timeout
    #[arg(value_name = "FILTER")]
    pub(crate) words: Vec<String>,
    /// The same filters as options.
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Maximum number of tasks to list, up to 10000
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// Only tasks with a lower id, for the next page
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<TaskId>,
}

pub(crate) async fn run(args: TasksArgs, context: &Context) -> Result<(), Problem> {
    let mut selection = filter::select(&args.words, &args.filter)?;
    if let Some(id) = selection.ids.first() {
        return Err(Problem::usage("`pgtq tasks` takes filters, not task ids")
            .help(format!("show one task: pgtq show {id}")));
    }
    selection.filter.limit = args.limit;
    selection.filter.before = args.before;
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let page = store.page(&selection.filter).await?;
    let tasks = page.tasks;
    let rows = rows(&tasks, store.now().await?);
    context.out.rows(&rows)?;
    if context.out.terminal && rows.len() == 0 && page.reached.is_none() {
        context.note("no tasks found");
    }
    let is_cut = n_bytes(&tasks) >= Store::PAGE_BYTES.unsigned_abs();
    if let Some(last) = tasks.last().filter(|_| is_cut) {
        context.note(format!(
            "the page is cut because of its size; next page: --before {}",
            last.id
        ));
        return Ok(());
    }
    let is_full = tasks.len() == args.limit as usize;
    if let Some(id) = page.reached.filter(|_| !is_full) {
        context.note(format!(
            "searched the newest tasks down to {id}; to search older ones: --before {id}"
        ));
    }
    if let Some(last) = tasks.last().filter(|_| is_full && context.watched) {
        context.note(format!("\x1b[2mnext page: --before {}\x1b[0m", last.id));
    }
    Ok(())
}

/// Size in bytes of the texts of a page.
fn n_bytes(tasks: &[TaskRow]) -> u64 {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let each = tasks
        .iter()
        .map(|task| task.args.len() + len(&task.result) + len(&task.error_message));
    each.sum::<usize>() as u64
}

/// The rows of the list.
pub(crate) fn rows(tasks: &[TaskRow], now: Timestamp) -> Rows {
    let mut rows = Rows::new(
        "pgtq.tasks/v1",
        &[
            "id", "state", "queue", "handler", "attempts", "pushed", "time", "details",
        ],
    );
    for task in tasks {
        let when = match task.state {
            State::Scheduled | State::Runnable => Some(task.due_at),
            State::Running => task.started_at,
            _ => task.finished_at,
        };
        let progress = task.progress.as_ref().map(text::progress);
        let what = task
            .error_message
            .as_deref()
            .or(task.result.as_deref())
            .or(progress.as_deref())
            .unwrap_or_default();
        let cells = vec![
            task.id.to_string().into(),
            task.state.as_str().into(),
            task.queue.as_str().into(),
            task.handler.as_str().into(),
            task.attempts.to_string().into(),
            Cell::time(Some(task.pushed_at), now),
            Cell::time(when, now),
            Cell::new(text::line(what, 60), text::line(what, 200)),
        ];
        rows.push(task.id, cells, task);
    }
    rows
}
