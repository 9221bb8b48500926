//! Wakes the claimers when the database notifies.
//!
//! Notifications are only hints: claimers also poll, so a lost notification costs
//! latency, never a task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::LoopBackoff;
use crate::claim::wake_limiter::WakeLimiter;
use crate::state::core::Core;
use pgtq_store::Wake;

/// One kind of reaction to notifications: its rate limit, and when it is due.
#[derive(Debug)]
struct Reaction {
    limiter: WakeLimiter,
    due: Option<Instant>,
}

impl Reaction {
    fn new(now: Instant) -> Self {
        Reaction {
            limiter: WakeLimiter::new(now),
            due: None,
        }
    }

    /// A notification came. `n_found` is as for [`WakeLimiter::wait`].
    fn plan(&mut self, now: Instant, n_found: u64) {
        if self.due.is_none() {
            self.due = Some(now + self.limiter.wait(now, n_found));
        }
    }

    fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.take_if(|at| *at <= now).is_some();
        if is_due {
            self.limiter.used(now);
        }
        is_due
    }
}

/// Listens until its future is dropped. The listener reconnects by itself.
pub(crate) async fn listen(core: Arc<Core>) {
    let mut backoff = LoopBackoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut listener = loop {
        match core.store.listen().await {
            Ok(listener) => break listener,
            Err(error) => tracing::warn!(%error, "cannot listen; polling"),
        }
        tokio::time::sleep(backoff.failed()).await;
    };
    // Notifications sent before LISTEN are lost; one claim makes up for them.
    core.wake_all();
    let now = Instant::now();
    let mut groups: Vec<Reaction> = core.wake.iter().map(|_| Reaction::new(now)).collect();
    let (mut promote, mut cancel) = (Reaction::new(now), Reaction::new(now));
    loop {
        let due = groups.iter().chain([&promote, &cancel]);
        let due = due.filter_map(|reaction| reaction.due).min();
        let wake = tokio::select! {
            wake = listener.recv() => Some(wake),
            () = until(due) => None,
        };
        let now = Instant::now();
        let named = listener.named().take();
        for (n, group) in groups.iter_mut().enumerate() {
            let concerned = match wake {
                Some(Wake::Work(flags)) => flags.concern(core.wake_requests.flag(n)),
                Some(Wake::Reconnected) => true,
                _ => false,
            };
            if concerned {
                core.wake_requests.name(n, &named);
                group.plan(now, core.wake_requests.n_found(n));
            }
        }
        // Limited whatever they find: one promote takes all tasks that are due, and one
        // beat all cancel requests.
        if let Some(Wake::Work(_) | Wake::Reconnected) = wake {
            promote.plan(now, 0);
        }
        if let Some(Wake::Cancel | Wake::Reconnected) = wake {
            cancel.plan(now, 0);
        }
        for (n, group) in groups.iter_mut().enumerate() {
            if group.take_due(now) {
                core.wake_requests.notified(n);
                core.wake[n].notify_one();
            }
        }
        if promote.take_due(now) {
            core.promote_now.notify_one();
        }
        if cancel.take_due(now) {
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
