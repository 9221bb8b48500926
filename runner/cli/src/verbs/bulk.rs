//! Changes many tasks: directly for task ids, after a count and a confirmation for filters.

use crate::ask;
use crate::context::Context;
use crate::database;
use crate::error::{Exit, Problem};
use crate::filter::{self, FilterArgs};
use crate::output::{Cell, Rows};
use crate::progress;
use crate::text;
use pgtq_store::{Filter, Moved, Store, StoreError};
use pgtq_task::{State, TaskId};

use clap::Args;

/// The tasks to retry, cancel or delete.
#[derive(Debug, Args)]
pub(crate) struct BulkArgs {
    /// Task ids, or filters such as state:failed handler:thumb* since:2h
    #[arg(value_name = "ID|FILTER")]
    pub(crate) words: Vec<String>,
    /// The same filters as options.
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Select all tasks instead of using a filter
    #[arg(long)]
    pub(crate) all: bool,
    /// Print how many tasks match, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The change to the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Retry,
    Cancel,
    Delete,
}

impl Act {
    fn verb(self) -> &'static str {
        match self {
            Act::Retry => "retry",
            Act::Cancel => "cancel",
            Act::Delete => "delete",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Act::Retry => "retried",
            Act::Cancel => "cancelled",
            Act::Delete => "deleted",
        }
    }

    /// The states that a filter selects if it names none.
    fn default_states(self) -> Vec<State> {
        match self {
            Act::Retry => vec![State::Failed],
            Act::Cancel => vec![State::Scheduled, State::Runnable, State::Running],
            Act::Delete => State::ALL
                .into_iter()
                .filter(|state| *state != State::Running)
                .collect(),
        }
    }

    /// Why the change is not possible in this state.
    fn rejection(self, state: State) -> Option<&'static str> {
        match (self, state) {
            (Act::Retry, State::Complete) => Some("it is complete; push a new task instead"),
            (Act::Retry, State::Running) => Some("it is running"),
            (Act::Cancel, State::Complete | State::Failed) => Some("it has already finished"),
            (Act::Delete, State::Running) => Some("it is running; cancel it first"),
            _ => None,
        }
    }

    /// The message if the task is already in the requested state.
    fn is_already(self, state: State) -> Option<&'static str> {
        match (self, state) {
            (Act::Retry, State::Runnable) => Some("is already runnable"),
            (Act::Cancel, State::Cancelled) => Some("is already cancelled"),
            _ => None,
        }
    }

    async fn apply(self, store: &Store, ids: &[TaskId]) -> Result<Vec<Moved>, StoreError> {
        match self {
            Act::Retry => store.retry(ids).await,
            Act::Cancel => store.cancel(ids).await,
            Act::Delete => store.delete(ids).await,
        }
    }
}

pub(crate) async fn run(act: Act, args: &BulkArgs, context: &Context) -> Result<(), Problem> {
    let selection = filter::select(&args.words, &args.filter)?;
    if selection.ids.is_empty() && !selection.narrowed && !args.all {
        return Err(
            Problem::usage(format!("no tasks to {} are given", act.verb()))
                .help("pass task ids, a filter such as state:failed handler:thumb*, or --all"),
        );
    }
    if args.all && !selection.ids.is_empty() {
        return Err(Problem::usage("--all and task ids cannot be combined"));
    }
    let config = context.config(Vec::new())?;
    if !args.dry_run {
        context.writing(&config)?;
    }
    let store = database::open(context, &config).await?;
    match selection.ids.as_slice() {
        [] => by_filter(act, args, context, &store, selection.filter).await,
        ids => by_id(act, args, context, &store, ids).await,
    }
}

async fn by_id(
    act: Act,
    args: &BulkArgs,
    context: &Context,
    store: &Store,
    ids: &[TaskId],
) -> Result<(), Problem> {
    if args.dry_run {
        context.note(format!(
            "would {} {}",
            act.verb(),
            text::tasks(ids.len() as u64)
        ));
        return Ok(());
    }
    if act == Act::Delete {
        let question = format!("Delete {} permanently?", text::tasks(ids.len() as u64));
        ask::confirm(context, &question)?;
    }
    let moved = act.apply(store, ids).await?;
    let mut rows = Rows::new("pgtq.moved/v1", &["id", "was", "changed"]);
    for one in &moved {
        let was = one.was.map_or("", State::as_str);
        let json = serde_json::json!({"id": one.id, "was": one.was, "changed": one.changed});
        rows.push(
            one.id,
            vec![
                one.id.to_string().into(),
                was.into(),
                yes(one.changed).into(),
            ],
            json,
        );
    }
    context.out.rows(&rows)?;
    for one in moved.iter().filter(|one| !one.changed) {
        if let Some(why) = one.was.and_then(|state| act.is_already(state)) {
            context.note(format!("task {} {why}", one.id));
        }
    }
    check_moved(act, &moved)
}

fn yes(changed: bool) -> &'static str {
    if changed { "yes" } else { "no" }
}

/// Fails if a task does not exist or could not be changed.
fn check_moved(act: Act, moved: &[Moved]) -> Result<(), Problem> {
    let missing: Vec<String> = moved
        .iter()
        .filter(|one| one.was.is_none())
        .map(|one| one.id.to_string())
        .collect();
    let mut lines: Vec<String> = Vec::new();
    if !missing.is_empty() {
        let ids = missing.join(", ");
        lines.push(format!("there is no task {ids}"));
    }
    for one in moved.iter().filter(|one| !one.changed) {
        if let Some(why) = one.was.and_then(|state| act.rejection(state)) {
            lines.push(format!("task {} was not {}: {why}", one.id, act.past()));
        }
    }
    match (lines.is_empty(), missing.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(Problem::failed(lines.join("\n"))),
        (false, false) => Err(Problem::new(Exit::NotFound, lines.join("\n"))),
    }
}

async fn by_filter(
    act: Act,
    args: &BulkArgs,
    context: &Context,
    store: &Store,
    mut filter: Filter,
) -> Result<(), Problem> {
    if filter.states.is_empty() {
        filter.states = act.default_states();
    }
    let found = store.count(&filter).await?;
    if args.dry_run {
        context.note(format!("would {} {}", act.verb(), text::tasks(found)));
        return report(act, context, found, 0);
    }
    if found == 0 {
        context.note(format!("no matching tasks to {}", act.verb()));
        return report(act, context, 0, 0);
    }
    let verb = act.verb();
    let question = format!(
        "{}{} {}?",
        verb[..1].to_uppercase(),
        &verb[1..],
        text::tasks(found)
    );
    ask::confirm(context, &question)?;
    // Batches limit the size of transactions and responses.
    filter.limit = 1_000;
    let bar = progress::bar(context, found, act.past());
    let mut changed = 0;
    let mut after = None;
    loop {
        let ids = store.ids(&filter, after).await?;
        let Some(last) = ids.last() else { break };
        after = Some(*last);
        for ids in ids.chunks(10_000) {
            let moved = act.apply(store, ids).await?;
            changed += moved.iter().filter(|one| one.changed).count() as u64;
            bar.inc(ids.len() as u64);
        }
    }
    bar.finish_and_clear();
    context.note(format!("{} {}", act.past(), text::tasks(changed)));
    report(act, context, found, changed)
}

fn report(act: Act, context: &Context, found: u64, changed: u64) -> Result<(), Problem> {
    let json = serde_json::json!({"action": act.verb(), "found": found, "changed": changed});
    let pairs = [
        ("found", Cell::count(found)),
        ("changed", Cell::count(changed)),
    ];
    context.out.one("pgtq.bulk/v1", changed, &pairs, json)
}
