//! How many bytes an outcome adds to a statement, approximately.

use pgtq_store::OutcomeRecord;
use pgtq_task::{Failure, LogLine, Transition};

/// Approximate size of an outcome in a statement, in bytes.
pub(crate) fn n_bytes(ending: &OutcomeRecord) -> usize {
    let args = ending.task.args.len();
    args + n_bytes_without_args(ending)
}

/// As [`n_bytes`], without the task's arguments.
pub(crate) fn n_bytes_without_args(ending: &OutcomeRecord) -> usize {
    let failure = |failure: &Failure| {
        let backtrace: usize = failure.backtrace.iter().map(String::len).sum();
        failure.message.len() + failure.details.as_ref().map_or(0, String::len) + backtrace
    };
    let transition = match &ending.transition {
        Transition::Complete { result } => result.len(),
        Transition::Fail { failure: of } | Transition::Retry { failure: of, .. } => failure(of),
        _ => 0,
    };
    let fields = |line: &LogLine| line.fields.as_ref().map_or(0, |json| json.get().len());
    let log = |line: &LogLine| line.message.len() + fields(line) + 64;
    let logs: usize = ending.record.logs.iter().map(log).sum();
    let children = ending.record.children.iter();
    let children: usize = children.map(|child| child.args.len() + 128).sum();
    256 + transition + logs + children
}
