//! Whether the schema still serves this program. A newer program may migrate the schema
//! while a runner works; the schema records which older programs may keep working.
//!
//! A runner that is not served logs the reason, claims nothing and moves no tasks of
//! other runners: it no longer knows what they mean. Its running attempts and its
//! heartbeat continue, as far as the schema lets them. When the schema serves it again,
//! it resumes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;

use crate::state::core::Core;
use pgtq_store::StoreError;

/// Time between two checks: two statements that read one row each.
const LOOK: Duration = Duration::from_secs(10);
/// Checks between two reminders in the log, for logs with a short history.
const REMIND: u32 = 30;

/// Read by the loops that claim and move tasks, set by [`watch`].
#[derive(Debug)]
pub(crate) struct Served {
    yes: AtomicBool,
    look_now: Notify,
}

impl Default for Served {
    fn default() -> Self {
        Served {
            // The start has checked.
            yes: AtomicBool::new(true),
            look_now: Notify::new(),
        }
    }
}

impl Served {
    /// Whether the last check found that the schema serves this program.
    pub(crate) fn is_served(&self) -> bool {
        self.yes.load(SeqCst)
    }

    /// The database rejected a statement with a permanent error: the schema may have
    /// changed.
    pub(crate) fn suspect(&self, error: &StoreError) {
        if !error.is_transient() {
            self.look_now.notify_one();
        }
    }
}

/// Checks until its future is dropped.
pub(crate) async fn watch(core: Arc<Core>) {
    let mut n_unserved = 0_u32;
    loop {
        match core.store.check_schema().await {
            Ok(()) => {
                n_unserved = 0;
                if !core.served.yes.swap(true, SeqCst) {
                    tracing::info!("the schema serves this runner again: claiming tasks");
                    core.look_again();
                    core.wake_all();
                }
            }
            Err(
                error @ (StoreError::SchemaMissing { .. }
                | StoreError::SchemaOlder { .. }
                | StoreError::SchemaNewer { .. }),
            ) => {
                core.served.yes.store(false, SeqCst);
                if n_unserved.is_multiple_of(REMIND) {
                    tracing::error!(
                        "the schema no longer serves this runner, which claims nothing: it cannot {error}; running attempts continue"
                    );
                }
                n_unserved = n_unserved.saturating_add(1);
            }
            // Other loops report other database errors.
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = core.served.look_now.notified() => {}
        }
    }
}
