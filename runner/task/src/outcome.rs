//! The outcome of an attempt, and its cost.

use std::time::Duration;

use crate::ids::Digest;
use crate::log::LogLine;
use crate::push::NewTask;

/// How an attempt ended, as reported by the code that ran it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The handler returned. The result is JSON text.
    Complete {
        /// JSON text, within the result limit.
        result: String,
    },
    /// The handler returned an error, trapped, or exceeded a limit: retry by policy.
    Retry {
        /// What went wrong.
        failure: Failure,
        /// Wait this long instead of the policy's delay.
        after: Option<Duration>,
    },
    /// The handler returned an error that must not be retried.
    Fail {
        /// What went wrong.
        failure: Failure,
    },
    /// Run again later. Does not count as an attempt.
    Snooze {
        /// Wait this long.
        after: Duration,
    },
    /// The handler or an operator cancelled the task.
    Cancel {
        /// The reason, for humans.
        reason: String,
    },
    /// The runner is stopping, or never started the attempt: release it without using an
    /// attempt.
    Release,
}

/// The kind of a failure: a closed list, stable text, the `error_kind` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The handler returned an error.
    Error,
    /// The arguments do not fit the handler's parameters.
    Arguments,
    /// The handler panicked.
    Panic,
    /// The guest trapped: unreachable, out of bounds, division by zero.
    Trap,
    /// The fuel was used up.
    Fuel,
    /// The wall-clock limit passed.
    Timeout,
    /// The memory limit was reached.
    Memory,
    /// The table limit was reached.
    Table,
    /// The stack overflowed.
    Stack,
    /// The result, or the error, was too large.
    ResultSize,
    /// The result was not JSON.
    ResultJson,
    /// A host call received too many bytes.
    CallSize,
    /// The number of log lines far exceeded the limit.
    Logs,
    /// The guest called exit.
    Exit,
    /// A statement of its SQL failed and the handler continued, or its transaction could not be
    /// committed: all of it was rolled back.
    Sql,
    /// The plugin broke the contract in another way.
    Contract,
    /// The runner crashed while it ran this task.
    Crash,
    /// A bug or failure of the runner itself.
    Internal,
}

impl ErrorKind {
    /// The stable text of the kind in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Error => "error",
            ErrorKind::Arguments => "arguments",
            ErrorKind::Panic => "panic",
            ErrorKind::Trap => "trap",
            ErrorKind::Fuel => "fuel",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Memory => "memory",
            ErrorKind::Table => "table",
            ErrorKind::Stack => "stack",
            ErrorKind::ResultSize => "result_size",
            ErrorKind::ResultJson => "result_json",
            ErrorKind::CallSize => "call_size",
            ErrorKind::Logs => "logs",
            ErrorKind::Exit => "exit",
            ErrorKind::Sql => "sql",
            ErrorKind::Contract => "contract",
            ErrorKind::Crash => "crash",
            ErrorKind::Internal => "internal",
        }
    }
}

/// What went wrong, for humans and programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// The handler's own code, empty when it gave none.
    pub code: String,
    /// For humans: what happened, and where there is one, the next step.
    pub message: String,
    /// JSON text the handler attached.
    pub details: Option<String>,
    /// Demangled frames, innermost first, at most 20.
    pub backtrace: Vec<String>,
}

impl Failure {
    /// A failure with only a kind and a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Failure {
            kind,
            code: String::new(),
            message: message.into(),
            details: None,
            backtrace: Vec::new(),
        }
    }
}

/// The resources that an attempt used. Recorded for every attempt, including failed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Fuel consumed.
    pub fuel: u64,
    /// Peak bytes of linear memory.
    pub peak_memory: u64,
    /// Wall-clock time from instantiation to the end.
    pub wall: Duration,
}

/// What an attempt leaves besides its outcome. The sandbox fills it, the engine forwards it, the
/// store writes it.
#[derive(Debug, Clone, Default)]
pub struct AttemptRecord {
    /// What it used.
    pub usage: Usage,
    /// The kept log lines: the first and the last, with an entry for the gap.
    pub logs: Vec<LogLine>,
    /// Number of further lines that were written and dropped.
    pub logs_dropped: u64,
    /// Tasks it pushed. They exist only if the attempt completes.
    pub children: Vec<NewTask>,
    /// The plugin version that ran, if one did.
    pub digest: Option<Digest>,
}

/// The end of an attempt as its handler reports it.
#[derive(Debug, Clone)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Everything else.
    pub record: AttemptRecord,
}

impl Report {
    /// A report of an attempt that never reached a guest.
    pub fn without_guest(outcome: Outcome) -> Self {
        Report {
            outcome,
            record: AttemptRecord::default(),
        }
    }
}
