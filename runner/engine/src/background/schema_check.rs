//! Whether the schema still serves this program. A newer program may migrate the schema
//! while a runner works; the schema records which older programs may keep working.
//!
//! A runner that is not served logs the reason, claims nothing and moves no tasks of
//! other runners: it no longer knows what they mean. Its running attempts and its
//! heartbeat continue, as far as the schema lets them. When the schema serves it again,
//! it resumes.

use std::sync::Arc;
use std::time::Duration;

use crate::state::core::Core;
use pgtq_store::StoreError;

/// Time between two checks: two statements that read one row each.
const INTERVAL: Duration = Duration::from_secs(10);
/// Checks between two reminders in the log, for logs with a short history.
const REMIND_EVERY: u32 = 30;

/// Checks until its future is dropped.
pub(crate) async fn watch(core: Arc<Core>) {
    let mut n_failed = 0_u32;
    loop {
        match core.store.check_schema().await {
            Ok(()) => {
                n_failed = 0;
                if !core.schema.set_compatible(true) {
                    tracing::info!("the schema serves this runner again: claiming tasks");
                    core.expect_work();
                    core.wake_all();
                }
            }
            Err(
                error @ (StoreError::SchemaMissing { .. }
                | StoreError::SchemaOlder { .. }
                | StoreError::SchemaNewer { .. }),
            ) => {
                core.schema.set_compatible(false);
                if n_failed.is_multiple_of(REMIND_EVERY) {
                    tracing::error!(
                        "the schema no longer serves this runner, which claims nothing: it cannot {error}; running attempts continue"
                    );
                }
                n_failed = n_failed.saturating_add(1);
            }
            // Other loops report other database errors.
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = core.schema.check_requested() => {}
        }
    }
}
