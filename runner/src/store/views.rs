//! Tasks for people: lists, one task with all its traces, waiting for an end.

use std::time::Duration;

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::task::{ClaimId, Name, Progress, RunnerId, State, TaskId};

/// Which tasks. Every field narrows; the default is all, newest first, 50 of them.
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
    /// The error message holds this text (upper and lower case alike).
    pub error: Option<String>,
    /// At most this many.
    pub limit: u32,
    /// Only ids below this one: the last of the page before.
    pub before: Option<TaskId>,
}

/// A task as lists show it. The columns of every view of the schema.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Where it is.
    pub state: State,
    /// Its queue.
    pub queue: String,
    /// Its handler.
    pub handler: String,
    /// Lower runs earlier.
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
    /// Runners that died under it.
    pub crashes: i32,
    /// Own limit of retries; -1 is for ever; `None` is the handler's policy.
    pub retries: Option<i32>,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// When it is or was due.
    pub due_at: Timestamp,
    /// When the last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The runner that runs it or ended it.
    pub runner: Option<RunnerId>,
    /// The claim it is or was in.
    pub claim: Option<ClaimId>,
    /// Idempotency key.
    pub key: Option<String>,
    /// The task that pushed it.
    pub parent: Option<TaskId>,
}

/// One attempt. The last one of a finished task is among them.
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
    /// For people.
    pub error_message: Option<String>,
    /// JSON text the handler attached.
    #[serde(serialize_with = "raw_json_opt")]
    pub error_details: Option<String>,
    /// Demangled frames.
    pub backtrace: Vec<String>,
    /// JSON text: an array of log lines.
    #[serde(serialize_with = "raw_json_opt")]
    pub logs: Option<String>,
    /// Lines that were dropped.
    pub logs_dropped: i64,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Fuel burnt.
    pub fuel: Option<i64>,
    /// Bytes of linear memory at most.
    pub peak_memory: Option<i64>,
    /// Microseconds from instantiation to the end.
    pub wall_us: Option<i64>,
    /// sha256 of the plugin file, 64 hex digits.
    pub digest: Option<String>,
}

/// One task with all its traces.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskDetail {
    /// The task.
    pub task: TaskRow,
    /// Its attempts, oldest first. Snoozes and releases are among them.
    pub attempts: Vec<AttemptRow>,
    /// How far it says it is, when running.
    pub progress: Option<Progress>,
    /// Somebody asked to cancel it and it still runs.
    pub cancel_asked: bool,
}

fn raw_json<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    raw_json_opt(&Some(text.to_owned()), serializer)
}

fn raw_json_opt<S: serde::Serializer>(
    _text: &Option<String>,
    _serializer: S,
) -> Result<S::Ok, S::Error> {
    todo!()
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

impl Store {
    /// Tasks, newest (highest id) first.
    pub async fn tasks(&self, _filter: &Filter) -> Result<Vec<TaskRow>, StoreError> {
        todo!()
    }

    /// One task with all its traces; `None` when there is none of this id.
    pub async fn task(&self, _id: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        todo!()
    }

    /// Waits until the task is complete, failed or cancelled; `None` when
    /// `timeout` passed first or there is no such task (any more).
    pub async fn wait_final(
        &self,
        _id: TaskId,
        _timeout: Option<Duration>,
    ) -> Result<Option<TaskDetail>, StoreError> {
        todo!()
    }
}
