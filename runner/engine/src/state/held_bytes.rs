//! Argument bytes held by this process: claimed tasks until their outcomes are queued for
//! the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// At this many bytes nothing more is claimed. One claim comes on top, bounded by the
/// store.
pub(crate) const MAX_HELD_BYTES: usize = 64 << 20;

/// The counter of one engine.
#[derive(Debug, Default)]
pub(crate) struct HeldBytes(Arc<AtomicUsize>);

/// The share of one task, until dropped.
#[derive(Debug, Default)]
pub(crate) struct HeldBytesGuard {
    count: Option<Arc<AtomicUsize>>,
    n_bytes: usize,
}

impl HeldBytes {
    pub(crate) fn hold(&self, n_bytes: usize) -> HeldBytesGuard {
        self.0.fetch_add(n_bytes, Relaxed);
        HeldBytesGuard {
            count: Some(Arc::clone(&self.0)),
            n_bytes,
        }
    }

    /// Whether the next claim must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Relaxed) >= MAX_HELD_BYTES
    }
}

impl Drop for HeldBytesGuard {
    fn drop(&mut self) {
        if let Some(count) = &self.count {
            count.fetch_sub(self.n_bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_while_held_tasks_are_too_large() {
        let held = HeldBytes::default();
        let large = held.hold(MAX_HELD_BYTES - 1);
        assert!(!held.is_full());
        let small = held.hold(1);
        assert!(held.is_full());
        drop(small);
        assert!(!held.is_full());
        drop(large);
    }
}
