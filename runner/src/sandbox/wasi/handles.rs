//! How many files or sockets may be open: in one attempt, and in the process,
//! whose operating system has a limit for all that it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long an attempt waits for another to close something.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts one kind of handle in one attempt.
pub(super) struct Handles {
    /// Cloned by every [`Ticket`]: counting them is counting what is open.
    open: Arc<()>,
    limit: usize,
    process: &'static Semaphore,
}

/// Kept for as long as what it stands for is open.
pub(super) struct Ticket {
    _attempt: Arc<()>,
    _process: SemaphorePermit<'static>,
}

impl Handles {
    pub(super) fn new(limit: usize, process: &'static Semaphore) -> Self {
        Handles {
            open: Arc::new(()),
            limit,
            process,
        }
    }

    /// Room for one more; `None` if this attempt has as many open as it may, or if
    /// others have and close none in time. Cancel-safe.
    pub(super) async fn take(&self) -> Option<Arc<Ticket>> {
        if Arc::strong_count(&self.open) > self.limit {
            return None;
        }
        let permit = timeout(PATIENCE, self.process.acquire()).await.ok()?.ok()?;
        Some(Arc::new(Ticket {
            _attempt: Arc::clone(&self.open),
            _process: permit,
        }))
    }
}
