//! How many tasks with unknown traits were released since the last log line about them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two log lines about it.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Tasks that were seen and not logged yet.
#[derive(Debug, Default)]
pub(crate) struct UnknownTraits(Mutex<Unlogged>);

#[derive(Debug, Default)]
struct Unlogged {
    n_tasks: u64,
    logged_at: Option<Instant>,
}

impl UnknownTraits {
    /// Counts a task. Returns the number since the last log line, if the next line is
    /// due.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        let mut unlogged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unlogged.n_tasks += 1;
        let is_due = unlogged
            .logged_at
            .is_none_or(|logged_at| now.duration_since(logged_at) >= LOG_EVERY);
        is_due.then(|| {
            unlogged.logged_at = Some(now);
            std::mem::take(&mut unlogged.n_tasks)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_counted_and_logged_once_a_minute() {
        let unknown = UnknownTraits::default();
        let start = Instant::now();
        assert_eq!(unknown.note(start), Some(1));
        for second in 1..60 {
            assert_eq!(unknown.note(start + Duration::from_secs(second)), None);
        }
        assert_eq!(unknown.note(start + LOG_EVERY), Some(60));
        assert_eq!(unknown.note(start + LOG_EVERY), None);
    }
}
