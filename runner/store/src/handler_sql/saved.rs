//! The values that a task's attempts have saved, as seen by one attempt.

use std::collections::BTreeMap;

use pgtq_task::{GuestError, Limits};

/// Maximum names under which one task may save values.
const MAX_NAMES: usize = 1_000;

/// Read once, then kept up to date: only this attempt may save for this task.
#[derive(Default)]
pub(super) struct SavedValues {
    /// The committed values; `None` before they are loaded.
    stored: Option<BTreeMap<String, String>>,
    /// Values that the open transaction adds.
    pending: BTreeMap<String, String>,
}

impl SavedValues {
    pub(super) fn get(&self, name: &str) -> Option<&String> {
        let stored = self.stored.as_ref().and_then(|stored| stored.get(name));
        self.pending.get(name).or(stored)
    }

    pub(super) fn is_known(&self) -> bool {
        self.stored.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.stored.as_ref().is_none_or(BTreeMap::is_empty)
    }

    pub(super) fn is_pending(&self, name: &str) -> bool {
        self.pending.contains_key(name)
    }

    /// Rejects a value that would exceed the limits for all values.
    pub(super) fn check(&self, limits: &Limits, name: &str, value: &str) -> Result<(), GuestError> {
        let stored = self.stored.iter().flatten();
        let kept = stored.filter(|(name, _)| !self.pending.contains_key(*name));
        let others: Vec<usize> = kept
            .chain(&self.pending)
            .filter(|(other, _)| *other != name)
            .map(|(_, value)| value.len())
            .collect();
        let limit = limits.state_bytes;
        let total = others.iter().sum::<usize>() + value.len();
        if total as u64 > limit {
            return Err(GuestError::new(
                "limit",
                format!(
                    "the saved values of this task would have {total} bytes together, the limit is {limit}; store the data elsewhere and save a reference, or raise `limits.state_bytes`"
                ),
            ));
        }
        if others.len() >= MAX_NAMES {
            return Err(GuestError::new(
                "limit",
                format!(
                    "this task has saved values under {MAX_NAMES} names, which is the limit; save one value that holds many"
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn store(&mut self, name: &str, value: &str) {
        if let Some(stored) = &mut self.stored {
            stored.insert(name.to_owned(), value.to_owned());
        }
    }

    pub(super) fn hold(&mut self, name: &str, value: &str) {
        self.pending.insert(name.to_owned(), value.to_owned());
    }

    /// The open transaction was committed.
    pub(super) fn committed(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(stored) = &mut self.stored {
            stored.extend(pending);
        }
    }

    /// The open transaction was, or will be, rolled back.
    pub(super) fn rolled_back(&mut self) {
        self.pending.clear();
    }

    /// The committed values are these.
    pub(super) fn load(&mut self, values: BTreeMap<String, String>) {
        self.stored = Some(values);
    }

    /// The committed values are unknown now.
    pub(super) fn invalidate(&mut self) {
        self.stored = None;
    }
}

/// The claim is gone: this attempt can no longer store anything.
pub(super) fn lost() -> GuestError {
    GuestError::new(
        "lost",
        "the task's claim is gone and the task belongs to another attempt now; nothing that this attempt does is stored",
    )
}

pub(super) fn interrupted() -> GuestError {
    GuestError::new("timeout", "a statement was interrupted")
}
