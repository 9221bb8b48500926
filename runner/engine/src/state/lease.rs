//! Whether this runner may still trust its lease.
//!
//! The lease is trusted from the moment a beat, or the registration, was *sent*, minus a
//! margin, so that a slow answer never extends it. Between the end of that time and the
//! next answer it is in doubt: running attempts continue, and nothing new is started or
//! claimed until the heartbeat has decided.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;

use pgtq_store::Store;

/// How much earlier than the database this runner considers the lease lost.
const MARGIN: Duration = Duration::from_secs(2);

/// A time of a clock that also runs while the machine sleeps.
///
/// `Instant` does not on Linux: it stands still while a laptop or a virtual machine is
/// suspended, so the lease would seem valid long after other runners have taken its
/// tasks. The wall clock does not serve either: it can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootTime(Duration);

impl BootTime {
    pub(crate) fn now() -> Self {
        #[cfg(target_os = "linux")]
        const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
        // On macOS this clock includes sleep.
        #[cfg(not(target_os = "linux"))]
        const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call writes one timespec, which is ours. It fails only for a clock
        // that does not exist; Linux has had this one since 2.6.39.
        unsafe { libc::clock_gettime(CLOCK, &raw mut time) };
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        BootTime(Duration::new(seconds, nanoseconds))
    }

    fn since(self, earlier: BootTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The heartbeat renews it and gives it up; every loop reads it.
#[derive(Debug)]
pub(crate) struct RunnerLease {
    /// When the last granted renewal was sent, in nanoseconds of [`BootTime`].
    since: AtomicU64,
    held: AtomicBool,
    /// Notified on a renewal and when it is given up.
    decided: Notify,
}

impl RunnerLease {
    /// A lease whose registration was sent at this time.
    pub(crate) fn new(sent: BootTime) -> Self {
        RunnerLease {
            since: AtomicU64::new(nanoseconds(sent)),
            held: AtomicBool::new(true),
            decided: Notify::new(),
        }
    }

    /// Records that the renewal sent at this time was granted.
    pub(crate) fn renew(&self, sent: BootTime) {
        self.since.store(nanoseconds(sent), SeqCst);
        self.held.store(true, SeqCst);
        self.decided.notify_waiters();
    }

    /// Gives it up; returns whether it was held before.
    pub(crate) fn give_up(&self) -> bool {
        let was_held = self.held.swap(false, SeqCst);
        self.decided.notify_waiters();
        was_held
    }

    /// Whether it was not given up.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(SeqCst)
    }

    /// Time since the last granted renewal was sent.
    pub(crate) fn age(&self) -> Duration {
        self.age_at(BootTime::now())
    }

    /// How much longer it is trusted.
    pub(crate) fn left(&self) -> Duration {
        (Store::LEASE - MARGIN).saturating_sub(self.age())
    }

    /// Whether other runners may be about to take this runner's tasks.
    pub(crate) fn is_expired(&self) -> bool {
        self.left().is_zero()
    }

    /// Held, and not in doubt.
    pub(crate) fn is_sure(&self) -> bool {
        self.is_held() && !self.is_expired()
    }

    /// Waits while it is in doubt, until the heartbeat has renewed it or given it up.
    pub(crate) async fn decided(&self) {
        // The common case: no list of waiters is touched.
        if self.is_sure() {
            return;
        }
        loop {
            let decided = self.decided.notified();
            tokio::pin!(decided);
            // Registered before the check, so that a later change wakes this waiter.
            decided.as_mut().enable();
            if !self.is_held() || !self.is_expired() {
                return;
            }
            decided.await;
        }
    }

    fn age_at(&self, now: BootTime) -> Duration {
        let since = Duration::from_nanos(self.since.load(SeqCst));
        now.since(BootTime(since))
    }
}

/// The value covers five centuries.
fn nanoseconds(time: BootTime) -> u64 {
    u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: u64) -> BootTime {
        // A machine may have booted a moment ago; the lease then counts as expired
        // anyway.
        BootTime(
            BootTime::now()
                .0
                .saturating_sub(Duration::from_secs(seconds)),
        )
    }

    #[test]
    fn a_lease_is_trusted_from_the_request_minus_a_margin() {
        assert!(RunnerLease::new(BootTime::now()).is_sure());
        assert!(RunnerLease::new(ago(10)).is_sure());
        let late = RunnerLease::new(ago(14));
        assert!(late.is_expired() && late.is_held() && !late.is_sure());
        late.renew(ago(20));
        assert!(!late.is_sure(), "an answer that took twenty seconds");
        late.renew(ago(1));
        assert!(late.is_sure());
        assert!(late.give_up() && !late.give_up());
        assert!(!late.is_sure());
    }

    #[test]
    fn the_boot_clock_includes_all_time_of_an_instant() {
        // In this order: the first clock also counts the time between the two reads.
        let boot = BootTime::now();
        let instant = std::time::Instant::now();
        while instant.elapsed() < Duration::from_millis(5) {
            std::thread::yield_now();
        }
        assert!(BootTime::now().since(boot) >= Duration::from_millis(5));
    }

    #[tokio::test]
    async fn a_doubt_ends_with_a_beat_or_with_the_lease() {
        use futures_util::FutureExt as _;
        let lease = RunnerLease::new(ago(14));
        let mut waits = Box::pin(lease.decided());
        assert!((&mut waits).now_or_never().is_none());
        lease.renew(ago(1));
        waits.await;

        let lease = RunnerLease::new(ago(14));
        let mut waits = Box::pin(lease.decided());
        assert!((&mut waits).now_or_never().is_none());
        lease.give_up();
        waits.await;
        lease.decided().await;
    }
}
