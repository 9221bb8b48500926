//! When an attempt on the direct path must be run in the component instead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// After a fallback, the number of attempts of the same handler that start in the
/// component.
const PAUSE: u32 = 1_000;

/// Ends an attempt in the main module that must be run in the component; says why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fallback(pub(super) &'static str);

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "needs the whole component: {}", self.0)
    }
}

impl std::error::Error for Fallback {}

/// How often a handler needed a fallback recently. A clone counts for the same handler.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fallbacks(Arc<AtomicU32>);

impl Fallbacks {
    /// Of a handler that never leaves the component.
    #[cfg(test)]
    pub(crate) fn always() -> Fallbacks {
        Fallbacks(Arc::new(AtomicU32::new(u32::MAX)))
    }

    /// Whether the next attempt may try the direct path.
    pub(crate) fn may_go_direct(&self) -> bool {
        let left = self.0.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        left.is_err()
    }

    pub(crate) fn note(&self) {
        self.0.store(PAUSE, Relaxed);
    }
}
