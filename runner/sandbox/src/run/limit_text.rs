//! What a failure says about the limit that was reached, and how to raise it.

use crate::run::units::{grouped, size};
use pgtq_task::{ErrorKind, Failure, Limits};

pub(super) fn memory(limits: &Limits) -> (ErrorKind, String) {
    (
        ErrorKind::Memory,
        format!(
            "exceeded its {} of memory; work on less at a time, or raise `memory` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
            size(limits.memory)
        ),
    )
}

pub(super) fn host_memory(limits: &Limits) -> (ErrorKind, String) {
    (
        ErrorKind::Memory,
        format!(
            "the host would need more than {} for this attempt (child tasks, headers, buffers, log lines); keep less open at a time, or raise `limits.host_bytes`",
            size(limits.host_bytes)
        ),
    )
}

pub(super) fn table(limits: &Limits) -> (ErrorKind, String) {
    (
        ErrorKind::Table,
        format!(
            "needed more than {} table elements; raise `limits.table_elements`",
            grouped(limits.table_elements)
        ),
    )
}

/// The attempt exceeded its wall-clock limit.
pub(super) fn timeout(limits: &Limits) -> Failure {
    Failure::new(
        ErrorKind::Timeout,
        format!(
            "ran longer than its {:?}; if the work takes that long, raise `timeout` in #[handler(...)], up to the cap that `pgtq inspect` shows, or in pgtq.toml",
            limits.timeout
        ),
    )
}

/// The result is too large; `bytes` if its size is known.
pub(super) fn result_size(bytes: Option<usize>, limits: &Limits) -> (ErrorKind, String) {
    let what = match bytes {
        Some(bytes) => format!("returned {} bytes", grouped(bytes as u64)),
        None => format!("returned more than {}", size(limits.call_bytes)),
    };
    (
        ErrorKind::ResultSize,
        format!(
            "{what}, the limit is {}; store large results elsewhere and return a reference",
            size(limits.result_bytes)
        ),
    )
}
