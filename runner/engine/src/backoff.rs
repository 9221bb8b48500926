//! How long a loop waits before it asks a database in trouble again.
//!
//! Doubling, so that a server which has just come back is not met by everybody's
//! next try at once; bounded, so that work resumes soon after; jittered, so that
//! runners which failed together do not come back together.

use std::time::Duration;

/// The waits of one loop. One success resets it.
#[derive(Debug)]
pub struct Backoff {
    delays: pgtq_task::Backoff,
    n_failed: u32,
}

impl Backoff {
    /// Waits from half of `first` to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Backoff {
            delays: pgtq_task::Backoff {
                first_ms: first.as_millis() as u64,
                max_ms: most.as_millis() as u64,
            },
            n_failed: 0,
        }
    }

    /// The wait after one more failure.
    pub fn failed(&mut self) -> Duration {
        self.n_failed = self.n_failed.saturating_add(1);
        self.delays.delay(self.n_failed, fastrand::f64())
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.n_failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(5);

    #[test]
    fn waits_double_up_to_the_maximum_and_restart_after_a_success() {
        let mut backoff = Backoff::new(FIRST, MOST);
        for n in 0..100 {
            let whole = (FIRST * (1 << n.min(10))).min(MOST);
            let wait = backoff.failed();
            assert!(wait >= whole / 2 && wait <= whole, "{n}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.failed() <= FIRST);
    }

    #[test]
    fn two_that_failed_together_wait_differently() {
        let waits = [(); 50].map(|()| Backoff::new(FIRST, MOST).failed());
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
