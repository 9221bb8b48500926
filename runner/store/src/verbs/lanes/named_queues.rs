//! Queues named by notifications: something was pushed there, maybe into a new lane.
//!
//! Reading one queue costs an index page or two, where a sweep reads an entry of each existing
//! lane. This is only a hint: a sweep finds what is dropped here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgtq_task::Name;

/// Maximum names kept until the next look.
const MOST_NAMED: usize = 64;

/// Queues named since the last look. Clones share one list: the listener adds to it while a
/// claim is running.
#[derive(Debug, Clone, Default)]
pub struct NamedQueues(Arc<Mutex<BTreeSet<Name>>>);

impl NamedQueues {
    /// Records that something was pushed into these queues.
    pub fn add<'a>(&self, queues: impl IntoIterator<Item = &'a Name>) {
        let mut named = self.lock();
        for queue in queues {
            if named.len() < MOST_NAMED {
                named.insert(queue.clone());
            }
        }
    }

    /// Removes and returns all of them.
    pub fn take(&self) -> BTreeSet<Name> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
