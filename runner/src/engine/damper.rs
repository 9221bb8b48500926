//! Rings that bring nothing are obeyed less often.
//!
//! Anybody who may connect to the database may notify, so a ring is a stranger's
//! word. One that comes after a rest, or after rings that brought work, is obeyed
//! at once; only a flood in vain is held to a pace.

use std::time::{Duration, Instant};

/// Rings in vain that are obeyed at once, before the pace begins.
const FREE: u32 = 10;
/// The pace: the time between two rings of a flood.
const PACE: Duration = Duration::from_millis(100);

/// How one kind of ring has done lately.
#[derive(Debug)]
pub(crate) struct Damper {
    /// Rings in vain that are still free. One comes back with each [`PACE`].
    left: u32,
    /// Up to when `left` is counted.
    at: Instant,
    /// What had been found when the last ring was obeyed.
    found: u64,
}

impl Damper {
    pub(crate) fn new(now: Instant) -> Self {
        Damper {
            left: FREE,
            at: now,
            found: 0,
        }
    }

    /// How long a ring of this moment has to wait. `found` counts whatever rings may
    /// bring: once it has grown, the rings so far were not in vain.
    pub(crate) fn wait(&mut self, now: Instant, found: u64) -> Duration {
        self.rest(now);
        if found > self.found {
            self.found = found;
            self.left = FREE;
        }
        match self.left {
            0 => PACE.saturating_sub(now.saturating_duration_since(self.at)),
            _ => Duration::ZERO,
        }
    }

    /// Notes that a ring is obeyed.
    pub(crate) fn obeyed(&mut self, now: Instant) {
        self.rest(now);
        self.left = self.left.saturating_sub(1);
    }

    /// Gives back what the time since the last call is worth.
    fn rest(&mut self, now: Instant) {
        let back = now.saturating_duration_since(self.at).as_millis() / PACE.as_millis();
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        if back >= FREE - self.left {
            self.left = FREE;
            self.at = now;
        } else {
            self.left += back;
            self.at += PACE * back;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings every millisecond for a while, with one more thing found every so many
    /// milliseconds. Rings obeyed, and the longest that one of them waited.
    fn ring(damper: &mut Damper, start: Instant, ms: u64, found_every: u64) -> (u32, Duration) {
        let (mut n_obeyed, mut longest) = (0, Duration::ZERO);
        let mut due: Option<Instant> = None;
        for n in 0..ms {
            let now = start + Duration::from_millis(n);
            let at = *due.get_or_insert_with(|| {
                let wait = damper.wait(now, n / found_every);
                longest = longest.max(wait);
                now + wait
            });
            if now >= at {
                damper.obeyed(now);
                n_obeyed += 1;
                due = None;
            }
        }
        (n_obeyed, longest)
    }

    #[test]
    fn a_flood_in_vain_is_obeyed_ten_times_and_then_ten_times_a_second() {
        let start = Instant::now();
        let mut damper = Damper::new(start);
        let (n_obeyed, longest) = ring(&mut damper, start, 10_000, u64::MAX);
        assert!((100..=112).contains(&n_obeyed), "{n_obeyed} of 10,000");
        assert!(longest <= PACE, "{longest:?}");
        // After a rest it is all forgotten.
        let later = start + Duration::from_secs(12);
        assert_eq!(damper.wait(later, 0), Duration::ZERO);
        assert_eq!(damper.left, FREE);
    }

    #[test]
    fn rings_that_bring_work_never_wait() {
        let start = Instant::now();
        let mut damper = Damper::new(start);
        let (n_obeyed, longest) = ring(&mut damper, start, 1_000, 5);
        assert_eq!((n_obeyed, longest), (1_000, Duration::ZERO));
    }

    #[test]
    fn the_first_ring_after_an_hour_is_obeyed_at_once() {
        let start = Instant::now();
        let mut damper = Damper::new(start);
        let now = start + Duration::from_secs(3_600);
        assert_eq!(damper.wait(now, 0), Duration::ZERO);
    }
}
