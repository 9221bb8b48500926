//! Tasks and attempts for display, decoded from rows.

use jiff::Timestamp;
use tokio_postgres::Row;

use crate::connect::error::StoreError;
use crate::sql::timestamp::DbTimestamp;
use pgtq_task::{ClaimId, Progress, RunnerId, State, TaskId};

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
    /// [`crate::connect::connection::Store::PAGE_BYTES`].
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

pub(crate) fn task_row(row: &Row) -> Result<TaskRow, StoreError> {
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

pub(crate) fn attempt_row(row: &Row) -> AttemptRow {
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
