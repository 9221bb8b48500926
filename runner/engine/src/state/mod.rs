//! What the loops of one engine share. Nothing here imports a loop.

pub(crate) mod claimed_task;
pub(crate) mod core;
pub(crate) mod health;
pub(crate) mod held_bytes;
pub(crate) mod held_claims;
pub(crate) mod lease;
pub(crate) mod parked_counts;
pub(crate) mod queued_outcome;
pub(crate) mod schema_status;
pub(crate) mod shutdown;
pub(crate) mod stats;
pub(crate) mod suspects;
pub(crate) mod unknown_traits;
pub(crate) mod wake_requests;
pub(crate) mod watchdog;
