//! Locks that storing an outcome may wait for, because an application can hold them.

use pgtq_store::OutcomeRecord;
use pgtq_task::{ClaimId, NewTask, TaskId, Transition};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RequiredLock {
    /// Queue, key and scope of a child.
    Key(String, String, String),
    /// Values that the task saved.
    State(TaskId),
    Claim(ClaimId),
}

/// Whether storing this outcome may wait for a lock other than that of its claim.
pub(crate) fn needs_more_than_claim(ending: &OutcomeRecord) -> bool {
    let complete = matches!(ending.transition, Transition::Complete { .. });
    complete
        && (ending.has_state
            || ending
                .record
                .children
                .iter()
                .any(|child| child.key.is_some()))
}

/// All locks that it may need; the claim only if there is no other.
pub(crate) fn required_locks(ending: &OutcomeRecord) -> Vec<RequiredLock> {
    if !needs_more_than_claim(ending) {
        return vec![RequiredLock::Claim(ending.claim)];
    }
    let queue = |child: &NewTask| {
        child
            .queue
            .as_ref()
            .map_or("default".to_owned(), ToString::to_string)
    };
    let mut locks: Vec<RequiredLock> = ending
        .record
        .children
        .iter()
        .filter_map(|child| {
            let scope = child.key_scope.as_deref().unwrap_or_default().to_owned();
            Some(RequiredLock::Key(queue(child), child.key.clone()?, scope))
        })
        .collect();
    if ending.has_state {
        locks.push(RequiredLock::State(ending.task.id));
    }
    locks
}
