//! Claiming: when, how many tasks, and where they wait for a slot.

pub(crate) mod backlog;
pub(crate) mod claim_size;
pub(crate) mod claimer;
pub(crate) mod throughput;
pub(crate) mod wake_limiter;
pub(crate) mod waker;
