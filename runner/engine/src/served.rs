//! Whether the schema still serves this program. It may be brought up beneath a
//! runner by a newer program, and says which older ones go on working.
//!
//! A runner that is not served says why, claims nothing and moves nobody's tasks:
//! it no longer knows what they mean. What it runs goes on, and so does its
//! heartbeat, as far as the schema lets them. When the schema serves it again, it works again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;

use super::core::Core;
use pgtq_store::StoreError;

/// Time between two looks: two statements that read one row each.
const LOOK: Duration = Duration::from_secs(10);
/// Looks between two reminders, for logs that do not go back far.
const REMIND: u32 = 30;

/// GrantReport by those who claim and move tasks, set by [`watch`].
#[derive(Debug)]
pub(crate) struct Served {
    yes: AtomicBool,
    look_now: Notify,
}

impl Default for Served {
    fn default() -> Self {
        Served {
            // The start has looked.
            yes: AtomicBool::new(true),
            look_now: Notify::new(),
        }
    }
}

impl Served {
    /// Whether the last look found that this program is served.
    pub(crate) fn is_served(&self) -> bool {
        self.yes.load(SeqCst)
    }

    /// The database refused a statement of ours, for a reason that does not pass:
    /// perhaps its schema is another one now.
    pub(crate) fn suspect(&self, error: &StoreError) {
        if !error.is_transient() {
            self.look_now.notify_one();
        }
    }
}

/// Looks until its future is dropped.
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
                        "this runner is not served any more and claims nothing: it cannot {error}; what it runs goes on"
                    );
                }
                n_unserved = n_unserved.saturating_add(1);
            }
            // The others say what is wrong with the database.
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = core.served.look_now.notified() => {}
        }
    }
}
