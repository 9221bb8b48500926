//! The actual outcome of a run, in the format of the expectations of a case.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use pgtq_task::{ErrorKind, Failure, LogLine, NewTask, Outcome, Retries, Usage};

/// The actual outcome.
#[derive(Debug)]
pub(crate) struct Observed {
    /// By the keys of `EXPECTATIONS`; contains exactly one of the four outcomes.
    pub(crate) facts: Map<String, Value>,
    /// Requests and statements without a response in the case, and unused responses: the
    /// case or the handler is wrong.
    pub(crate) loose_ends: Vec<String>,
    /// The resource usage.
    pub(crate) usage: Usage,
}

/// The key and value of the outcome.
pub(super) fn outcome(outcome: &Outcome) -> (&'static str, Value) {
    match outcome {
        Outcome::Complete { result } => {
            let result = serde_json::from_str(result);
            ("result", result.unwrap_or(Value::Null))
        }
        Outcome::Retry { failure, after } => {
            // Like `decide`: a retry cannot correct invalid arguments.
            let retry = failure.kind != ErrorKind::Arguments;
            ("error", error(failure, retry, *after))
        }
        Outcome::Fail { failure } => ("error", error(failure, false, None)),
        Outcome::Snooze { after } => ("snoozed_ms", millis(*after)),
        Outcome::Cancel { reason } => ("cancelled", reason.as_str().into()),
        // Cases are not interrupted, so this is a fault of the sandbox.
        Outcome::Release => ("cancelled", "the attempt was interrupted".into()),
    }
}

fn error(failure: &Failure, retry: bool, after: Option<Duration>) -> Value {
    let mut error = Map::new();
    error.insert("kind".to_owned(), failure.kind.as_str().into());
    if !failure.code.is_empty() {
        error.insert("code".to_owned(), failure.code.as_str().into());
    }
    error.insert("message".to_owned(), failure.message.as_str().into());
    error.insert("retry".to_owned(), retry.into());
    if let Some(after) = after {
        error.insert("after_ms".to_owned(), millis(after));
    }
    if let Some(details) = &failure.details {
        let details = serde_json::from_str(details).unwrap_or(Value::Null);
        error.insert("details".to_owned(), details);
    }
    Value::Object(error)
}

/// A child task with its fields, except defaults.
pub(super) fn pushed(child: &NewTask) -> Value {
    let mut task = Map::new();
    let mut put = |name: &str, value: Value| drop(task.insert(name.to_owned(), value));
    put("handler", child.handler.as_str().into());
    let args = serde_json::from_str(&child.args);
    put("args", args.unwrap_or(Value::Null));
    if let Some(queue) = &child.queue {
        put("queue", queue.as_str().into());
    }
    if child.priority != 0 {
        put("priority", child.priority.into());
    }
    if let Some(delay) = child.delay {
        put("delay_ms", millis(delay));
    }
    if let Some(retries) = child.retries {
        put(
            "retries",
            match retries {
                Retries::Limited(n) => n.into(),
                Retries::Forever => "forever".into(),
            },
        );
    }
    if let Some(key) = &child.key {
        put("key", key.as_str().into());
    }
    Value::Object(task)
}

/// `info: greeting Ada {"version":"1"}`.
pub(super) fn log(line: &LogLine) -> Value {
    let level = serde_json::to_value(line.level).unwrap_or_default();
    let fields = line
        .fields
        .as_ref()
        .map_or_else(String::new, |fields| format!(" {fields}"));
    let level = level.as_str().unwrap_or_default();
    format!("{level}: {}{fields}", line.message).into()
}

/// Saved values as JSON.
pub(super) fn state(saved: &BTreeMap<String, String>) -> Value {
    let values = saved.iter().map(|(name, text)| {
        let value = serde_json::from_str(text).unwrap_or(Value::Null);
        (name.clone(), value)
    });
    Value::Object(values.collect())
}

fn millis(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
