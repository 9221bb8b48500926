//! How many outcomes are parked, for the loops that must wait for them.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Rejected outcomes: at this many, nothing more is claimed until some are stored.
const MAX_REJECTED: usize = 100;
/// Outcomes that wait for a lock: at this many, or this many bytes, nothing more is
/// claimed.
const MAX_LOCKED: usize = 5_000;
const MAX_BYTES: usize = 64 << 20;

/// Why an outcome is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParkReason {
    /// It waits for a lock that another transaction holds.
    Locked,
    /// The database rejects it.
    Rejected,
}

/// Changed by the completer, which parks outcomes and stores them later.
#[derive(Debug, Default)]
pub(crate) struct ParkedCounts {
    n_rejected: AtomicUsize,
    n_locked: AtomicUsize,
    n_bytes: AtomicUsize,
}

impl ParkedCounts {
    /// Counts an outcome of this size.
    pub(crate) fn add(&self, reason: ParkReason, n_bytes: usize) {
        self.of(reason).fetch_add(1, SeqCst);
        self.n_bytes.fetch_add(n_bytes, SeqCst);
    }

    /// An outcome of this size is stored or lost.
    pub(crate) fn remove(&self, reason: ParkReason, n_bytes: usize) {
        self.of(reason).fetch_sub(1, SeqCst);
        self.n_bytes.fetch_sub(n_bytes, SeqCst);
    }

    /// Whether too many are parked to claim more.
    pub(crate) fn is_full(&self) -> bool {
        self.n_rejected.load(SeqCst) >= MAX_REJECTED
            || self.n_locked.load(SeqCst) >= MAX_LOCKED
            || self.n_bytes.load(SeqCst) >= MAX_BYTES
    }

    /// How many wait for a lock.
    pub(crate) fn n_locked(&self) -> usize {
        self.n_locked.load(SeqCst)
    }

    fn of(&self, reason: ParkReason) -> &AtomicUsize {
        match reason {
            ParkReason::Locked => &self.n_locked,
            ParkReason::Rejected => &self.n_rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_rejected_outcomes_or_too_many_bytes_stop_claims() {
        let counts = ParkedCounts::default();
        for _ in 0..MAX_REJECTED {
            assert!(!counts.is_full());
            counts.add(ParkReason::Rejected, 1);
        }
        assert!(counts.is_full());
        counts.remove(ParkReason::Rejected, 1);
        assert!(!counts.is_full());
        counts.add(ParkReason::Locked, MAX_BYTES);
        assert!(counts.is_full());
        assert_eq!(counts.n_locked(), 1);
    }
}
