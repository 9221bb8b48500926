//! Tasks for display: lists, one task with its history, waiting for a final state.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::Role;
use super::sql::{Sql, sql};
use super::task_reads::detail;
use super::timestamp::DbTimestamp;
use super::{Store, StoreError};
use pgtq_task::{ClaimId, Name, Progress, RunnerId, State, TaskId};

/// Selects tasks. Every field narrows the selection; the default is all, newest first, 50 of
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Any of these; empty means all.
    pub states: Vec<State>,
    /// This queue.
    pub queue: Option<Name>,
    /// A name, or a pattern with `*`.
    pub handler: Option<String>,
    /// Pushed or finished no longer ago than this.
    pub since: Option<Duration>,
    /// The error message contains this text (case-insensitive).
    pub error: Option<String>,
    /// At most this many.
    pub limit: u32,
    /// Only ids below this one: the last id of the previous page.
    pub before: Option<TaskId>,
}

/// A task in a list. The columns of every view of the schema.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Its state.
    pub state: State,
    /// Its queue.
    pub queue: String,
    /// Its handler.
    pub handler: String,
    /// Lower values run earlier.
    pub priority: i32,
    /// JSON text.
    #[serde(serialize_with = "raw_json")]
    pub args: String,
    /// JSON text of the result, when complete.
    #[serde(serialize_with = "raw_json_opt")]
    pub result: Option<String>,
    /// The kind of the last failure, when failed.
    pub error_kind: Option<String>,
    /// The last failure, or the reason of a cancel.
    pub error_message: Option<String>,
    /// Attempts counted.
    pub attempts: i32,
    /// Runner crashes.
    pub crashes: i32,
    /// Its own limit of retries; -1 means unlimited; `None` means the handler's policy.
    pub retries: Option<i32>,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// When it is or was due.
    pub due_at: Timestamp,
    /// When the last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The runner that runs or ran it.
    pub runner: Option<RunnerId>,
    /// The claim it is or was in.
    pub claim: Option<ClaimId>,
    /// Idempotency key.
    pub key: Option<String>,
    /// The task that pushed it.
    pub parent: Option<TaskId>,
    /// Its reported progress, while running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Tasks that match a filter, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<TaskRow>,
    /// The page scanned the tasks down to this id; pass it as the next page's `before`. `None`:
    /// no task below was left unscanned, unless the page is full, or was ended by its size.
    pub reached: Option<TaskId>,
}

/// One attempt. Includes the last one of a finished task.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct AttemptRow {
    /// 1 for the first.
    pub number: i32,
    /// `complete`, `cancelled`, an error kind, or `snooze`, `release`, `isolate`, `crash`, `expired`.
    pub kind: String,
    /// Its claim.
    pub claim: Option<ClaimId>,
    /// Its runner.
    pub runner: Option<RunnerId>,
    /// The handler's own error code.
    pub error_code: Option<String>,
    /// The error message.
    pub error_message: Option<String>,
    /// JSON text the handler attached.
    #[serde(serialize_with = "raw_json_opt")]
    pub error_details: Option<String>,
    /// Demangled frames.
    pub backtrace: Vec<String>,
    /// JSON text: an array of log lines.
    #[serde(serialize_with = "raw_json_opt")]
    pub logs: Option<String>,
    /// Number of dropped lines.
    pub logs_dropped: i64,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Fuel consumed.
    pub fuel: Option<i64>,
    /// Peak bytes of linear memory.
    pub peak_memory: Option<i64>,
    /// Microseconds from instantiation to the end.
    pub wall_us: Option<i64>,
    /// sha256 of the plugin file, 64 hex digits.
    pub digest: Option<String>,
    /// Its details, backtrace, log and most of its message are omitted: newer attempts used up
    /// [`Store::PAGE_BYTES`].
    pub texts_omitted: bool,
}

/// One task with its history.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskDetail {
    /// The task.
    pub task: TaskRow,
    /// Its attempts, oldest first: the first 50 and the last 50, including snoozes and releases.
    pub attempts: Vec<AttemptRow>,
    /// Attempts omitted between the first and the last.
    pub attempts_omitted: i64,
    /// Its reported progress, while running: as in its row.
    pub progress: Option<Progress>,
    /// Its cancellation was requested and it still runs.
    pub cancel_asked: bool,
}

fn raw_json<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    // Verbatim, because a `Value` would round large numbers.
    let read = serde_json::from_str::<serde_json::Value>(text);
    match read.and_then(|_| serde_json::value::RawValue::from_string(text.to_owned())) {
        Ok(raw) => serde::Serialize::serialize(&raw, serializer),
        // Postgres accepts some JSON that programs cannot represent, 1e999999 or "\\ud800": it
        // is shown as text.
        Err(_) => serializer.serialize_str(text),
    }
}

fn raw_json_opt<S: serde::Serializer>(
    text: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => raw_json(text, serializer),
        None => serializer.serialize_none(),
    }
}

impl Default for Filter {
    fn default() -> Self {
        Filter {
            states: Vec::new(),
            queue: None,
            handler: None,
            since: None,
            error: None,
            limit: 50,
            before: None,
        }
    }
}

impl Filter {
    /// Inlines the states into the statement: with literals Postgres skips the tables of other
    /// states and uses the index of failures.
    pub(super) fn statement(&self, text: impl Into<Cow<'static, str>>) -> Sql {
        let states: &[State] = if self.states.is_empty() {
            &State::ALL
        } else {
            &self.states
        };
        let list: Vec<String> = states.iter().map(|state| format!("'{state}'")).collect();
        Sql {
            name: None,
            text: text.into().replace("{{states}}", &list.join(", ")).into(),
        }
    }

    pub(super) fn params(&self) -> FilterParams<'_> {
        FilterParams {
            queue: self.queue.as_ref().map(Name::as_str),
            handler: self
                .handler
                .as_deref()
                .map(|glob| like(glob).replace('*', "%")),
            since: self.since.map(|age| age.as_secs_f64().min(3.2e9)),
            error: self
                .error
                .as_deref()
                .map(|text| format!("%{}%", like(text))),
        }
    }
}

pub(super) struct FilterParams<'a> {
    pub(super) queue: Option<&'a str>,
    pub(super) handler: Option<String>,
    pub(super) since: Option<f64>,
    pub(super) error: Option<String>,
}

/// `text` as a LIKE pattern that matches only itself.
fn like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

impl Store {
    /// Bytes of texts, as stored, in one page of [`Store::tasks`] and in the attempts of
    /// [`Store::task`].
    pub const PAGE_BYTES: i64 = 16 << 20;

    /// As [`Store::page`], and continues until it reaches the limit or the bytes of a page, or
    /// has scanned everything.
    pub async fn tasks(&self, filter: &Filter) -> Result<Vec<TaskRow>, StoreError> {
        let mut filter = filter.clone();
        let mut tasks = Vec::new();
        loop {
            let page = self.page(&filter).await?;
            let n = u32::try_from(page.tasks.len()).unwrap_or(u32::MAX);
            filter.limit = filter.limit.saturating_sub(n);
            tasks.extend(page.tasks);
            filter.before = page.reached.filter(|_| filter.limit > 0);
            if filter.before.is_none() {
                return Ok(tasks);
            }
        }
    }

    /// Number of tasks that match a filter; its limit is ignored.
    pub async fn count(&self, filter: &Filter) -> Result<u64, StoreError> {
        let params = filter.params();
        let sql = filter.statement(include_str!("sql/tasks_count.sql"));
        let rows = self
            .run(
                Role::Bulk,
                "count tasks",
                &sql,
                &[&params.queue, &params.handler, &params.since, &params.error],
            )
            .await?;
        Ok(rows[0].get::<_, i64>("count").unsigned_abs())
    }

    /// The next ids that match a filter, ascending, after `after`: for processing many tasks in
    /// batches (at most 100,000 at once: each batch sorts the backlog). The filter's limit and
    /// page are ignored.
    pub async fn ids(
        &self,
        filter: &Filter,
        after: Option<TaskId>,
    ) -> Result<Vec<TaskId>, StoreError> {
        let params = filter.params();
        let after = after.map_or(0, |id| id.0);
        let sql = filter.statement(include_str!("sql/tasks_ids.sql"));
        let rows = self
            .run(
                Role::Bulk,
                "list tasks",
                &sql,
                &[
                    &params.queue,
                    &params.handler,
                    &params.since,
                    &params.error,
                    &after,
                ],
            )
            .await?;
        Ok(rows.iter().map(|row| TaskId(row.get("id"))).collect())
    }

    /// One task with its history; `None` when there is none with this id. If the server cannot
    /// return it, the reason replaces its texts.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        let mut lease = self.lease(Role::General, "show a task").await?;
        detail(&mut lease, id).await
    }

    /// Waits until the task is complete, failed or cancelled; `None` when `timeout` passed first
    /// or there is no such task (any more). Cancel-safe.
    pub async fn wait_final(
        &self,
        id: TaskId,
        timeout: Option<Duration>,
    ) -> Result<Option<TaskDetail>, StoreError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(2);
        let mut looked: Option<Instant> = None;
        loop {
            let over = self
                .run(Role::General, "wait for a task", sql!("is_final"), &[&id.0])
                .await?;
            if !over.is_empty() {
                return self.task(id).await;
            }
            // The task may be deleted during the wait.
            if looked.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
                looked = Some(Instant::now());
                match self.task(id).await? {
                    None => return Ok(None),
                    Some(detail) if detail.task.state.is_final() => return Ok(Some(detail)),
                    Some(_) => {}
                }
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            tokio::time::sleep(pause.min(left.unwrap_or(pause))).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

pub(super) fn task_row(row: &Row) -> Result<TaskRow, StoreError> {
    let state = State::parse(row.get("state")).ok_or_else(|| StoreError::Fault {
        verb: "read a task",
        message: format!("unknown state {:?}", row.get::<_, &str>("state")),
    })?;
    Ok(TaskRow {
        id: TaskId(row.get("id")),
        state,
        queue: row.get("queue"),
        handler: row.get("handler"),
        priority: row.get("priority"),
        args: row.get("args"),
        result: row.get("result"),
        error_kind: row.get("error_kind"),
        error_message: row.get("error_message"),
        attempts: row.get("attempts"),
        crashes: row.get("crashes"),
        retries: row.get("retries"),
        pushed_at: row.get("pushed_at"),
        due_at: row.get::<_, DbTimestamp>("due_at").0,
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
        runner: row.get::<_, Option<i64>>("runner_id").map(RunnerId),
        claim: row.get::<_, Option<i64>>("claim_id").map(ClaimId),
        key: row.get("key"),
        parent: row.get::<_, Option<i64>>("parent").map(TaskId),
        progress: progress(row),
    })
}

fn progress(row: &Row) -> Option<Progress> {
    Some(Progress {
        fraction: row.get::<_, Option<f64>>("fraction")?,
        message: row.get::<_, Option<String>>("message").unwrap_or_default(),
    })
}

pub(super) fn attempt_row(row: &Row) -> AttemptRow {
    AttemptRow {
        number: row.get("number"),
        kind: row.get("kind"),
        claim: row.get::<_, Option<i64>>("claim_id").map(ClaimId),
        runner: row.get::<_, Option<i64>>("runner_id").map(RunnerId),
        error_code: row.get("error_code"),
        error_message: row.get("error_message"),
        error_details: row.get("error_details"),
        backtrace: row
            .get::<_, Option<Vec<String>>>("backtrace")
            .unwrap_or_default(),
        logs: row.get("logs"),
        logs_dropped: row.get("logs_dropped"),
        started_at: row.get("started_at"),
        ended_at: row.get("ended_at"),
        fuel: row.get("fuel"),
        peak_memory: row.get("peak_memory"),
        wall_us: row.get("wall_us"),
        digest: row.get("digest"),
        texts_omitted: row.get("texts_omitted"),
    }
}
