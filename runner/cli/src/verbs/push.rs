//! `pgtq push`: pushes one task, or many from a file.

use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;

use super::logs;
use crate::config::values;
use crate::context::Context;
use crate::error::{Exit, Problem, no_task};
use crate::output::Cell;
use crate::{arguments, batch, database, known, progress, text};
use pgtq_store::{PushOutcome, Store, StoreError, TaskDetail};
use pgtq_task::{Name, NewTask, Retries, State, TaskId};

/// Arguments of `pgtq push`.
#[derive(Debug, Args)]
#[command(
    after_help = "Forms of ARGS:\n  a=2 b=3             named arguments, typed by the handler's schema\n  a:='[1,2]'          a named argument as JSON\n  a=@FILE             a named argument, read as text from a file\n  '{\"a\":2}' '[2,3]'   all arguments as one JSON object or array\n  @FILE               all arguments as JSON, read from a file\n  -                   all arguments as JSON, read from standard input\n\nWith --batch and HANDLER, each line contains the arguments of one task. Without HANDLER, each line\ncontains a whole task:\n  {\"handler\":\"add\",\"args\":{\"a\":2,\"b\":3},\"queue\":\"math\",\"delay\":\"5m\"}"
)]
pub(crate) struct PushArgs {
    /// Handler that runs the task
    #[arg(value_name = "HANDLER", required_unless_present = "batch")]
    pub(crate) handler: Option<String>,
    /// Arguments of the handler
    #[arg(
        value_name = "ARGS",
        conflicts_with = "batch",
        allow_hyphen_values = false
    )]
    pub(crate) words: Vec<String>,
    /// Queue to push the task to [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<Name>,
    /// Priority of the task; lower numbers run first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) priority: i32,
    /// Run the task no earlier than this long from now, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = values::duration, conflicts_with = "at")]
    pub(crate) delay: Option<Duration>,
    /// Run the task no earlier than this time, such as 2026-12-01T09:00Z; local time without an offset
    #[arg(long, value_name = "TIMESTAMP", value_parser = values::timestamp)]
    pub(crate) at: Option<Timestamp>,
    /// Number of retries after the first attempt, or `forever` [default: the handler's]
    #[arg(long, value_name = "N", value_parser = retries)]
    pub(crate) retries: Option<Retries>,
    /// Idempotency key: a second push to the same queue with this key adds no task
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// What to do if a task with this key exists
    #[arg(
        long,
        value_name = "ACTION",
        value_enum,
        default_value = "ignore",
        requires = "key"
    )]
    pub(crate) on_conflict: OnConflictArg,
    /// How long after the task is due the key stays reserved, such as 2d [default: the retention]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, requires = "key", conflicts_with = "batch")]
    pub(crate) key_ttl: Option<Duration>,
    /// Push this many identical tasks, up to 1 million
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["key", "batch", "wait"], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Wait for the task and print its result; exit with status 6 if it fails, 124 after DURATION
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = wait, conflicts_with = "batch")]
    pub(crate) wait: Option<Wait>,
    /// Push one task per line of this JSON Lines file; `-` reads standard input
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) batch: Option<String>,
    /// With --batch, skip this many lines at the start
    #[arg(long, value_name = "LINES", default_value_t = 0, requires = "batch")]
    pub(crate) skip: u64,
    /// Push even if no live runner has the handler
    #[arg(long)]
    pub(crate) allow_unknown: bool,
}

/// What a push does if a task with the same key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnConflictArg {
    /// Change nothing and print the id of the existing task
    Ignore,
    /// Replace the existing task if it is scheduled or runnable
    Replace,
    /// Exit with an error
    Error,
}

/// The time limit of `--wait`; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Option<Duration>);

pub(crate) fn wait(text: &str) -> Result<Wait, String> {
    match text {
        "" => Ok(Wait(None)),
        text => values::duration(text).map(|time| Wait(Some(time))),
    }
}

/// Parses a number of retries, or `forever`.
pub(crate) fn retries(text: &str) -> Result<Retries, String> {
    match text {
        "forever" => Ok(Retries::Forever),
        // The column is a Postgres integer.
        text => match text.parse::<i32>() {
            Ok(n) if n >= 0 => Ok(Retries::from_column(n)),
            _ => Err(format!(
                "{text:?} is neither a number of retries nor `forever`"
            )),
        },
    }
}

pub(crate) async fn run(args: PushArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    context.writing(&config)?;
    // Before connecting, so that an invalid name is reported without a database.
    let handler = args.handler.as_deref().map(Name::new).transpose()?;
    let store = database::open(context, &config).await?;
    let known = known::Handlers::load(&store, args.allow_unknown).await?;
    if let Some(path) = &args.batch {
        let batch = batch::Batch {
            path,
            handler,
            skip: args.skip,
            template: template(&args),
        };
        return batch::run(context, &store, &known, &batch).await;
    }
    let handler = handler.ok_or_else(|| Problem::usage("no handler is given"))?;
    let info = known.find(&handler)?;
    let json = arguments::read(&args.words, info, &mut std::io::stdin().lock())?;
    let mut task = template(&args);
    task.handler = handler;
    task.args = json;
    if args.count > 1 {
        return many(context, &store, &task, args.count).await;
    }
    if args.wait.is_some() {
        check_can_read(&store).await?;
    }
    let pushed = one(&store, &task, args.on_conflict, args.key_ttl).await?;
    if pushed.outcome == PushOutcome::Running
        || (pushed.existed() && args.on_conflict != OnConflictArg::Ignore)
    {
        return Err(exists(pushed));
    }
    match args.wait {
        Some(Wait(limit)) => {
            note_pushed(context, &task, pushed);
            if !known.runs(&task.handler) {
                context.warn(format!(
                    "no live runner has handler `{}`; waiting for one",
                    task.handler
                ));
            }
            await_result(context, &store, pushed.id, limit).await
        }
        None => {
            print(context, &task, pushed)?;
            note_pushed(context, &task, pushed);
            Ok(())
        }
    }
}

/// Fails before the push if the role can push tasks but not read them.
async fn check_can_read(store: &Store) -> Result<(), Problem> {
    match store.task(TaskId(0)).await {
        Err(StoreError::Denied { message, .. }) => Err(Problem::usage(format!(
            "this role can push tasks but cannot read their results ({message}); nothing was pushed"
        ))
        .help("push without --wait, or ask an admin to grant viewer: `pgtq roles viewer ROLE`")),
        seen => Ok(seen.map(drop)?),
    }
}

/// A task with the fields that the options set.
fn template(args: &PushArgs) -> NewTask {
    NewTask {
        handler: Name::default_queue(),
        args: String::new(),
        queue: args.queue.clone(),
        priority: args.priority,
        delay: args.delay,
        run_at: args.at,
        retries: args.retries,
        key: args.key.clone(),
        key_scope: None,
        parent: None,
    }
}

/// The result of a push of one task.
#[derive(Debug, Clone, Copy)]
struct One {
    id: TaskId,
    outcome: PushOutcome,
    /// The state of the existing task with the key; `None` if its history was deleted.
    state: Option<State>,
}

impl One {
    fn existed(self) -> bool {
        matches!(self.outcome, PushOutcome::Existing | PushOutcome::Running)
    }
}

async fn one(
    store: &Store,
    task: &NewTask,
    on_conflict: OnConflictArg,
    key_ttl: Option<Duration>,
) -> Result<One, Problem> {
    let Some(key) = &task.key else {
        let pushed = store.push(std::slice::from_ref(task)).await?;
        let id = pushed.first().map(|pushed| pushed.id);
        let id = id.ok_or_else(|| Problem::failed("the database returned no id"))?;
        return Ok(One {
            id,
            outcome: PushOutcome::New,
            state: None,
        });
    };
    let on_conflict = match on_conflict {
        OnConflictArg::Replace => pgtq_store::OnConflict::Replace,
        OnConflictArg::Ignore | OnConflictArg::Error => pgtq_store::OnConflict::Ignore,
    };
    let (id, outcome) = store.push_task(task, on_conflict, key_ttl).await?;
    let mut one = One {
        id,
        outcome,
        state: None,
    };
    if one.existed() {
        let default = Name::default_queue();
        let found = store.find(key, task.queue.as_ref().unwrap_or(&default));
        one.state = found.await?.and_then(|(_, state)| state);
    }
    Ok(one)
}

/// The message about an existing task with the key.
fn has_key(one: One) -> String {
    match one.state {
        Some(state) => format!("task {} already has this key and is {state}", one.id),
        None => format!("task {} already has this key", one.id),
    }
}

fn exists(one: One) -> Problem {
    Problem::failed(format!("{}; nothing was pushed", has_key(one))).help(format!(
        "show it: pgtq show {}; deleting the task releases the key",
        one.id
    ))
}

async fn many(context: &Context, store: &Store, task: &NewTask, count: u32) -> Result<(), Problem> {
    let bar = progress::bar(context, u64::from(count), "pushed");
    let mut left = count as usize;
    while left > 0 {
        let size = left.min(batch::CHUNK);
        let pushed = store.push(&vec![task.clone(); size]).await?;
        let ids: String = pushed.iter().map(|one| format!("{}\n", one.id)).collect();
        context.out.raw(&ids)?;
        left -= size;
        bar.inc(size as u64);
    }
    bar.finish_and_clear();
    context.note(format!(
        "queued {} of handler {}",
        text::tasks(u64::from(count)),
        task.handler
    ));
    Ok(())
}

fn print(context: &Context, task: &NewTask, pushed: One) -> Result<(), Problem> {
    if !context.out.is_json() {
        return context.out.raw(&format!("{}\n", pushed.id));
    }
    let queue = task.queue.as_ref().map_or("default", Name::as_str);
    let json = serde_json::json!({
        "id": pushed.id, "existed": pushed.existed(), "handler": task.handler, "queue": queue,
        "replaced": pushed.outcome == PushOutcome::Replaced, "state": pushed.state,
    });
    let pairs: [(&str, Cell); 0] = [];
    context.out.one("pgtq.pushed/v1", pushed.id, &pairs, json)
}

fn note_pushed(context: &Context, task: &NewTask, pushed: One) {
    let queue = task.queue.as_ref().map_or("default", Name::as_str);
    context.note(match pushed.outcome {
        PushOutcome::New => format!(
            "queued {} as task {} (queue {queue})",
            task.handler, pushed.id
        ),
        PushOutcome::Replaced => format!("replaced task {} (queue {queue})", pushed.id),
        PushOutcome::Existing | PushOutcome::Running => has_key(pushed),
    });
}

/// Interval at which `--wait` prints finished attempts.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Waits until the task finishes. Prints logs on stderr and only the result on stdout.
async fn await_result(
    context: &Context,
    store: &Store,
    id: TaskId,
    limit: Option<Duration>,
) -> Result<(), Problem> {
    let spinner = progress::spinner(context, format!("waiting for task {id}"));
    let started = Instant::now();
    let mut n_printed = 0;
    let detail = loop {
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        let step = left.map_or(REPORT_EVERY, |left| left.min(REPORT_EVERY));
        if let Some(detail) = store.wait_final(id, Some(step)).await? {
            break detail;
        }
        // `None` means that the task is not finished or does not exist.
        let detail = store.task(id).await?.ok_or_else(|| no_task(id))?;
        if !detail.task.state.is_final() {
            print_attempts(context, &detail, &mut n_printed);
        }
        if let Some(limit) = limit.filter(|limit| started.elapsed() >= *limit) {
            let message = format!(
                "timed out after {}; task {id} is {}",
                text::fine(limit),
                detail.task.state
            );
            return Err(Problem::new(Exit::Elapsed, message)
                .help(format!("it was not cancelled; show it: pgtq show {id}")));
        }
    };
    spinner.finish_and_clear();
    for line in detail
        .attempts
        .iter()
        .skip(n_printed)
        .flat_map(logs::lines::lines)
    {
        context.note(line);
    }
    outcome(context, &detail)
}

/// Prints the logs and errors of attempts that have not been printed.
fn print_attempts(context: &Context, detail: &TaskDetail, n_printed: &mut usize) {
    for attempt in detail.attempts.iter().skip(*n_printed) {
        logs::lines::lines(attempt)
            .into_iter()
            .for_each(|line| context.note(line));
        let reason = attempt
            .error_message
            .as_deref()
            .map_or_else(String::new, |reason| {
                format!(": {}", text::line(&text::safe(reason), 160))
            });
        context.note(format!(
            "attempt {} ended ({}){reason}",
            attempt.number, attempt.kind
        ));
    }
    *n_printed = detail.attempts.len();
}

fn outcome(context: &Context, detail: &TaskDetail) -> Result<(), Problem> {
    let task = &detail.task;
    let message = task.error_message.as_deref().unwrap_or("no reason given");
    match task.state {
        State::Complete => {
            let result = task.result.as_deref().unwrap_or("null");
            context.out.json(&format!("{result}\n"))
        }
        state => {
            let kind = match &task.error_kind {
                Some(kind) if state == State::Failed => format!(" ({kind})"),
                _ => String::new(),
            };
            Err(Problem::new(
                Exit::TaskFailed,
                format!("task {} {state}{kind}: {}", task.id, text::safe(message)),
            )
            .help(format!("show its attempts: pgtq show {}", task.id)))
        }
    }
}
