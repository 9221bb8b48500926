//! Wake-up: LISTEN on a connection of its own.

use super::{Store, StoreError};

/// Why a listener woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Something was pushed, or a task was cancelled: look at both.
    Work,
    /// A running task was cancelled: call [`Store::cancelled`].
    Cancel,
    /// The connection was lost and is back: look at everything.
    Reconnected,
}

/// Hears notifications and proves that it does: a self-notify must come back.
#[derive(Debug)]
pub struct Listener {}

impl Store {
    /// Starts listening. Needs a session of its own: not through a
    /// transaction pooler (`poll_only`), where it never wakes.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        todo!()
    }
}

impl Listener {
    /// Waits for the next reason to look; several may be merged into one.
    /// Reconnects by itself, with back-off, forever. Cancel-safe.
    pub async fn recv(&mut self) -> Wake {
        todo!()
    }

    /// Whether the last self-notify came back in time.
    pub fn is_healthy(&self) -> bool {
        todo!()
    }
}
