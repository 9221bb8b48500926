//! How long a loop waits before it asks a database in trouble again.
//!
//! Doubling, so that a server which has just come back is not met by everybody's
//! next try at once; bounded, so that work goes on soon after; jittered, so that
//! runners which failed together do not come back together.

use std::time::Duration;

/// The waits of one loop. One success and it begins anew.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    n_failed: u32,
}

impl Backoff {
    /// Waits from half of `first` to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Backoff {
            first,
            most,
            n_failed: 0,
        }
    }

    /// The wait after one more failure.
    pub fn failed(&mut self) -> Duration {
        let wait = self.first.saturating_mul(1 << self.n_failed.min(16));
        self.n_failed = self.n_failed.saturating_add(1);
        wait.min(self.most).mul_f64(0.5 + fastrand::f64() / 2.0)
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
    fn waits_double_up_to_the_most_and_begin_anew_after_a_success() {
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
