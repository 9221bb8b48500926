//! A rate limit for notifications that bring no work.
//!
//! Any role that may connect to the database may notify. A notification after a pause, or
//! after notifications that brought work, is acted on at once; a flood that brings no
//! work is limited.

use std::time::{Duration, Instant};

/// Burst: useless notifications that are acted on at once.
const BURST: u32 = 10;
/// Refill: after the burst, one notification per this time.
const REFILL: Duration = Duration::from_millis(100);

/// A token bucket.
#[derive(Debug)]
pub(crate) struct WakeLimiter {
    n_tokens: u32,
    /// When tokens were last added.
    at: Instant,
    /// The value of `n_found` at the last notification.
    n_found: u64,
}

impl WakeLimiter {
    pub(crate) fn new(now: Instant) -> Self {
        WakeLimiter {
            n_tokens: BURST,
            at: now,
            n_found: 0,
        }
    }

    /// How long a notification at this time must wait. `n_found` counts the work that
    /// notifications brought: when it has grown, the bucket is full again.
    pub(crate) fn wait(&mut self, now: Instant, n_found: u64) -> Duration {
        self.refill(now);
        if n_found > self.n_found {
            self.n_found = n_found;
            self.n_tokens = BURST;
        }
        match self.n_tokens {
            0 => REFILL.saturating_sub(now.saturating_duration_since(self.at)),
            _ => Duration::ZERO,
        }
    }

    /// Takes a token for a notification that is acted on.
    pub(crate) fn used(&mut self, now: Instant) {
        self.refill(now);
        self.n_tokens = self.n_tokens.saturating_sub(1);
    }

    fn refill(&mut self, now: Instant) {
        let n = now.saturating_duration_since(self.at).as_millis() / REFILL.as_millis();
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        if n >= BURST - self.n_tokens {
            self.n_tokens = BURST;
            self.at = now;
        } else {
            self.n_tokens += n;
            self.at += REFILL * n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notifies every millisecond for a while; every few milliseconds more work is found.
    /// Returns how many were acted on, and the longest wait of one.
    fn notify(
        limiter: &mut WakeLimiter,
        start: Instant,
        ms: u64,
        found_every: u64,
    ) -> (u32, Duration) {
        let (mut n_used, mut longest) = (0, Duration::ZERO);
        let mut due: Option<Instant> = None;
        for n in 0..ms {
            let now = start + Duration::from_millis(n);
            let at = *due.get_or_insert_with(|| {
                let wait = limiter.wait(now, n / found_every);
                longest = longest.max(wait);
                now + wait
            });
            if now >= at {
                limiter.used(now);
                n_used += 1;
                due = None;
            }
        }
        (n_used, longest)
    }

    #[test]
    fn a_useless_flood_is_acted_on_ten_times_and_then_ten_times_a_second() {
        let start = Instant::now();
        let mut limiter = WakeLimiter::new(start);
        let (n_used, longest) = notify(&mut limiter, start, 10_000, u64::MAX);
        assert!((100..=112).contains(&n_used), "{n_used} of 10,000");
        assert!(longest <= REFILL, "{longest:?}");
        // After a pause the bucket is full.
        let later = start + Duration::from_secs(12);
        assert_eq!(limiter.wait(later, 0), Duration::ZERO);
        assert_eq!(limiter.n_tokens, BURST);
    }

    #[test]
    fn notifications_with_work_never_wait() {
        let start = Instant::now();
        let mut limiter = WakeLimiter::new(start);
        let (n_used, longest) = notify(&mut limiter, start, 1_000, 5);
        assert_eq!((n_used, longest), (1_000, Duration::ZERO));
    }

    #[test]
    fn the_first_notification_after_an_hour_is_acted_on_at_once() {
        let start = Instant::now();
        let mut limiter = WakeLimiter::new(start);
        let now = start + Duration::from_secs(3_600);
        assert_eq!(limiter.wait(now, 0), Duration::ZERO);
    }
}
