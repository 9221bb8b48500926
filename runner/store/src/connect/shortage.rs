//! The state of a server that has no connection left: `lease.rs` acts on it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long roles that are rare keep their connection for reuse.
pub(crate) const IDLE: Duration = Duration::from_secs(15);
/// How long the listener stays disconnected after a shortage.
const LISTENER_WAITS: Duration = Duration::from_secs(60);
/// The state of a shortage.
#[derive(Debug)]
pub(crate) struct Shortage {
    born: Instant,
    /// Milliseconds after `born`; 0 before the first.
    last: AtomicU64,
    looked: AtomicU64,
    /// Tells the listener to close its connection.
    pub(crate) give_up: Notify,
}

impl Default for Shortage {
    fn default() -> Self {
        Shortage {
            born: Instant::now(),
            last: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            give_up: Notify::new(),
        }
    }
}

impl Shortage {
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether there was a shortage recently.
    pub(crate) fn is_recent(&self) -> bool {
        let last = self.last.load(Relaxed);
        last > 0 && u128::from(self.now() - last) < LISTENER_WAITS.as_millis()
    }

    pub(crate) fn note(&self) {
        self.last.store(self.now().max(1), Relaxed);
    }

    pub(crate) fn is_time_to_look(&self) -> bool {
        let (now, looked) = (self.now(), self.looked.load(Relaxed));
        let due = u128::from(now.saturating_sub(looked)) >= IDLE.as_millis() / 3;
        due && self.looked.swap(now, Relaxed) == looked
    }
}
