//! How long a loop waits before it retries a failed database operation.
//!
//! The delay doubles, so that a recovering server is not flooded with retries; it is
//! bounded, so that work resumes soon after the recovery; and it is jittered, so that
//! runners that failed at the same time do not retry at the same time.

use std::time::Duration;

/// The retry delays of one loop. A success resets them.
#[derive(Debug)]
pub struct LoopBackoff {
    delays: pgtq_task::Backoff,
    n_failed: u32,
}

impl LoopBackoff {
    /// Waits from half of `first` to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        LoopBackoff {
            delays: pgtq_task::Backoff {
                first_ms: first.as_millis() as u64,
                max_ms: most.as_millis() as u64,
            },
            n_failed: 0,
        }
    }

    /// The delay after another failure.
    pub fn failed(&mut self) -> Duration {
        self.n_failed = self.n_failed.saturating_add(1);
        self.delays.delay(self.n_failed, fastrand::f64())
    }

    /// Records a success.
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
        let mut backoff = LoopBackoff::new(FIRST, MOST);
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
        let waits = [(); 50].map(|()| LoopBackoff::new(FIRST, MOST).failed());
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
