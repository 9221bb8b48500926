//! Rings the claimers when the database says that something happened.
//!
//! A hint and nothing more: claimers poll anyway, so a lost notification costs
//! latency, never a task.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::core::Core;
use super::damper::Damper;
use crate::store::Wake;

/// Listens until its future is dropped. The listener reconnects by itself.
pub(crate) async fn listen(core: Arc<Core>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut listener = loop {
        match core.store.listen().await {
            Ok(listener) => break listener,
            Err(error) => tracing::warn!(%error, "cannot listen; polling"),
        }
        tokio::time::sleep(backoff.failed()).await;
    };
    // What was said while nobody listened is found by one look.
    core.wake_all();
    let now = Instant::now();
    let (mut work, mut cancel) = (Damper::new(now), Damper::new(now));
    // When to look at what was rung for, unless it is done already.
    let (mut work_at, mut cancel_at) = (None, None);
    loop {
        let wake = tokio::select! {
            wake = listener.recv() => Some(wake),
            () = until(work_at) => None,
            () = until(cancel_at) => None,
        };
        let now = Instant::now();
        if let Some(Wake::Work | Wake::Reconnected) = wake {
            let found = core.stats.claimed.load(Relaxed);
            work_at.get_or_insert_with(|| now + work.wait(now, found));
        }
        if let Some(Wake::Cancel | Wake::Reconnected) = wake {
            // One look finds every cancel there is, so that none of them is in vain
            // or not: they have their pace.
            cancel_at.get_or_insert_with(|| now + cancel.wait(now, 0));
        }
        if work_at.take_if(|at| *at <= now).is_some() {
            work.obeyed(now);
            core.wake_all();
            core.promote_now.notify_one();
        }
        if cancel_at.take_if(|at| *at <= now).is_some() {
            cancel.obeyed(now);
            core.beat_now.notify_one();
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
