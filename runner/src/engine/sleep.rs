//! The one flag that tells pushers to notify this runner.
//!
//! It is set while any queue group has nothing to do. One task that ends every
//! few milliseconds keeps it set, because a notification is then cheap; a busy
//! runner clears it, because every commit that notifies takes a lock shared by
//! the whole server (measured: 5,463 transactions a second became 1,048).

use tokio::sync::Mutex;

use crate::store::Store;
use crate::task::RunnerId;

/// Which groups sleep, and what the database was last told.
#[derive(Debug)]
pub(crate) struct Sleep(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    asleep: Vec<bool>,
    told: bool,
}

impl Sleep {
    pub(crate) fn new(n_groups: usize) -> Self {
        Sleep(Mutex::new(Inner {
            asleep: vec![false; n_groups],
            told: false,
        }))
    }

    /// Notes that a group sleeps or not, and tells the database if that changes
    /// anything. A failure costs latency only.
    pub(crate) async fn set(&self, store: &Store, runner: RunnerId, group: usize, asleep: bool) {
        let mut inner = self.0.lock().await;
        inner.asleep[group] = asleep;
        let any = inner.asleep.contains(&true);
        if any == inner.told {
            return;
        }
        match store.sleeping(runner, any).await {
            Ok(()) => inner.told = any,
            Err(error) => tracing::debug!(%error, "could not set the sleep flag"),
        }
    }

    /// The runner has a new row in the database, which says that it is awake.
    pub(crate) async fn forget(&self) {
        self.0.lock().await.told = false;
    }
}
