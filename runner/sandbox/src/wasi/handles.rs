//! Limits of open files: per attempt, and for the process, because the operating system
//! limits all its files.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::fair::{FairPermit, FairSemaphore};

/// How long an attempt waits for another one of its plugin to close a file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The permits of the process. Plugins share them.
pub(crate) type Process = LazyLock<Arc<FairSemaphore>>;

/// Counts one kind of handle in one attempt.
pub(crate) struct Handles {
    /// Cloned by every [`HandlePermit`]: the count of clones is the count of open handles.
    open: Arc<()>,
    limit: usize,
    process: Arc<FairSemaphore>,
}

/// Kept while its handle is open.
pub(crate) struct HandlePermit {
    _attempt: Arc<()>,
    _process: FairPermit,
}

impl Handles {
    pub(crate) fn new(limit: usize, process: &Arc<FairSemaphore>) -> Self {
        Handles {
            open: Arc::new(()),
            limit,
            process: Arc::clone(process),
        }
    }

    /// A ticket for one more; `None` if this attempt has reached its limit, or its plugin
    /// holds its share and closes none in time. Cancel-safe.
    pub(crate) async fn take(&self, plugin: &Arc<str>) -> Option<Arc<HandlePermit>> {
        if Arc::strong_count(&self.open) > self.limit {
            return None;
        }
        let permit = self
            .process
            .acquire(plugin, Instant::now() + PATIENCE)
            .await?;
        Some(Arc::new(HandlePermit {
            _attempt: Arc::clone(&self.open),
            _process: permit,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn open_files_of_one_plugin_leave_some_to_the_next() {
        let process = FairSemaphore::new(256);
        let (a, b): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
        let mut held = Vec::new();
        // Any number of attempts, each with as many files as it may open.
        while process.may_take("a") {
            let attempt = Handles::new(100, &process);
            while process.may_take("a")
                && let Some(ticket) = attempt.take(&a).await
            {
                held.push(ticket);
            }
        }
        assert_eq!(held.len(), 112);
        assert!(Handles::new(100, &process).take(&b).await.is_some());
        drop(held);
        assert_eq!(process.free(), 256);
    }
}
