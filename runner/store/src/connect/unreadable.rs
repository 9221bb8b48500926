//! Tasks whose rows the server cannot return: bytes that are not valid text in a database
//! without an encoding, or a damaged TOAST value. Each is logged and excluded from the claims of
//! this process (`take.rs`), so that the other tasks of its lane run. An unreadable claim of a
//! lost runner is excluded as well, so that the others are rescued.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::connect::session::Lease;

/// Character not in the repertoire, untranslatable character, data or index corrupted.
const CODES: [&str; 4] = ["22021", "22P05", "XX001", "XX002"];
/// Maximum excluded tasks; with more, claims fail until the database is repaired.
pub(crate) const MOST_UNREADABLE: usize = 1_000;
/// After this time a task is tried again: an admin may have repaired it.
const FORGET: Duration = Duration::from_secs(600);

/// The tasks, or the claims, that are unreadable for this process.
#[derive(Debug, Default)]
pub(crate) struct Unreadable(Mutex<BTreeMap<i64, Instant>>);

impl Unreadable {
    pub(crate) fn ids(&self) -> Vec<i64> {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() {
            return Vec::new();
        }
        found.retain(|_, since| since.elapsed() < FORGET);
        found.keys().copied().collect()
    }

    /// False: there are too many already.
    pub(crate) fn add(&self, id: i64) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = found.len() < MOST_UNREADABLE;
        if fits {
            found.insert(id, Instant::now());
        }
        fits
    }
}

/// The server's log has the reason.
pub(crate) fn log_unreadable_claim(claim: i64) {
    tracing::error!(
        claim,
        "the tasks of this claim cannot be read and stay in it; other claims are rescued. Repair its row in claims, or delete it and push its tasks again"
    );
}

impl Lease<'_> {
    /// Whether the last statement failed because a row is unreadable.
    pub(crate) fn met_unreadable(&self) -> bool {
        self.code().is_some_and(|code| CODES.contains(&code))
    }
}
