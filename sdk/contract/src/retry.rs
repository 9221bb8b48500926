//! Retry policy: number of retries and delays.
//!
//! Exponential back-off with jitter, so that tasks which failed together do not retry together
//! ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015: half of the delay is fixed
//! and half random).

use std::time::Duration;

/// The number of retries after the first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// At most this many.
    Limited(u32),
    /// Unlimited, while the task exists.
    Forever,
}

impl Retries {
    /// The column form: a count, or -1 for unlimited.
    pub fn to_column(self) -> i32 {
        match self {
            Retries::Limited(n) => i32::try_from(n).unwrap_or(i32::MAX),
            Retries::Forever => -1,
        }
    }

    /// Reads the column form.
    pub fn from_column(value: i32) -> Self {
        u32::try_from(value).map_or(Retries::Forever, Retries::Limited)
    }

    /// Whether another attempt may follow after `attempts` counted attempts.
    pub fn allows(self, attempts: u32) -> bool {
        match self {
            Retries::Limited(n) => attempts <= n,
            Retries::Forever => true,
        }
    }
}

/// Growing delays: `first`, `first * 2`, `first * 4`, ... up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Backoff {
    /// Delay before the first retry, in milliseconds.
    pub first_ms: u64,
    /// Maximum delay, in milliseconds.
    pub max_ms: u64,
}

/// A handler's policy. The task may override the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
pub struct RetryPolicy {
    /// How many retries may follow the first attempt.
    pub retries: Retries,
    /// The delays between attempts.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    /// 20 retries, 1 s doubling up to an hour: about 10 hours in total.
    fn default() -> Self {
        RetryPolicy {
            retries: Retries::Limited(20),
            backoff: Backoff {
                first_ms: 1_000,
                max_ms: 3_600_000,
            },
        }
    }
}

impl Backoff {
    /// The delay after attempt number `attempt` (1 is the first) failed. `jitter` is a random
    /// number in `0.0..1.0`; it varies half of the delay.
    pub fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(63);
        let full = self
            .first_ms
            .saturating_mul(1 << doublings)
            .min(self.max_ms) as f64;
        let jitter = if jitter.is_finite() {
            jitter.clamp(0.0, 1.0)
        } else {
            0.0
        };
        Duration::from_millis((full * (0.5 + 0.5 * jitter)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_until_the_maximum() {
        let backoff = Backoff {
            first_ms: 100,
            max_ms: 1_000,
        };
        let delays: Vec<u128> = (1..=6).map(|n| backoff.delay(n, 1.0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.delay(1, 0.0).as_millis(), 50);
    }

    #[test]
    fn three_retries_are_four_attempts() {
        let retries = Retries::Limited(3);
        assert_eq!(
            (1..=5).map(|n| retries.allows(n)).collect::<Vec<_>>(),
            [true, true, true, false, false]
        );
        assert!(Retries::Forever.allows(u32::MAX));
    }

    proptest! {
        #[test]
        fn a_delay_is_never_above_its_maximum(first in any::<u64>(), max in any::<u32>(), n in any::<u32>(), j in any::<f64>()) {
            let backoff = Backoff { first_ms: first, max_ms: u64::from(max) };
            prop_assert!(backoff.delay(n, j) <= Duration::from_millis(u64::from(max)));
        }

        #[test]
        fn retries_survive_their_column_form(n in 0..i32::MAX) {
            let retries = Retries::Limited(n as u32);
            prop_assert_eq!(Retries::from_column(retries.to_column()), retries);
        }
    }
}
