//! Rings the claimers when the database says that something happened.
//!
//! A hint and nothing more: claimers poll anyway, so a lost notification costs
//! latency, never a task.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use crate::store::Wake;

/// Listens until its future is dropped. The listener reconnects by itself.
pub(crate) async fn listen(core: Arc<Core>) {
    let mut wait = Duration::from_millis(200);
    let mut listener = loop {
        match core.store.listen().await {
            Ok(listener) => break listener,
            Err(error) => tracing::warn!(%error, "cannot listen; polling"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    };
    // What was said while nobody listened is found by one look.
    core.wake_all();
    loop {
        match listener.recv().await {
            Wake::Cancel => core.beat_now.notify_one(),
            Wake::Work => {
                core.wake_all();
                core.promote_now.notify_one();
            }
            Wake::Reconnected => {
                core.wake_all();
                core.promote_now.notify_one();
                core.beat_now.notify_one();
            }
        }
    }
}
