//! Outcomes: batched, stored under their claims, and retried until they are stored.

pub(crate) mod completer;
pub(crate) mod parked;
pub(crate) mod required_locks;
pub(crate) mod settle;
pub(crate) mod size;
