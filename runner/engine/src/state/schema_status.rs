//! Whether the schema still serves this program.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::sync::Notify;

use pgtq_store::StoreError;

/// Read by the loops that claim and move tasks, set by the schema check.
#[derive(Debug)]
pub(crate) struct SchemaStatus {
    compatible: AtomicBool,
    check_now: Notify,
}

impl Default for SchemaStatus {
    fn default() -> Self {
        SchemaStatus {
            // The start has checked.
            compatible: AtomicBool::new(true),
            check_now: Notify::new(),
        }
    }
}

impl SchemaStatus {
    /// Whether the last check found that the schema serves this program.
    pub(crate) fn is_compatible(&self) -> bool {
        self.compatible.load(SeqCst)
    }

    /// The database rejected a statement with a permanent error: the schema may have
    /// changed.
    pub(crate) fn check_after(&self, error: &StoreError) {
        if !error.is_transient() {
            self.check_now.notify_one();
        }
    }

    /// Records the result of a check; returns the previous one.
    pub(crate) fn set_compatible(&self, compatible: bool) -> bool {
        self.compatible.swap(compatible, SeqCst)
    }

    /// Waits until the next check is urgent.
    pub(crate) async fn check_requested(&self) {
        self.check_now.notified().await;
    }
}
