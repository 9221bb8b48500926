//! Permits of requests and connections.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::fair::FairPermit;

/// A permit for one connection. Held while the connection is open.
pub(crate) type ConnectionPermit = FairPermit;

/// A permit for one concurrent operation of an attempt. Every worker of the operation has
/// a clone; a thread that looks up a name keeps one until it is done, even if its caller
/// has gone.
pub(crate) type RequestPermit = Arc<OwnedSemaphorePermit>;

/// Waits for a permit until the deadline. Cancel-safe.
pub(crate) async fn permit(
    semaphore: &Arc<Semaphore>,
    deadline: Instant,
) -> Option<OwnedSemaphorePermit> {
    let permit = Arc::clone(semaphore).acquire_owned();
    match tokio::time::timeout_at(deadline, permit).await {
        // Permits end with their attempt: one granted at the deadline itself is useless.
        Ok(Ok(permit)) if Instant::now() < deadline => Some(permit),
        // The semaphore is never closed.
        Ok(_) | Err(_) => None,
    }
}
