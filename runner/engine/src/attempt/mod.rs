//! Attempts: from a claimed task to its outcome.

pub(crate) mod commit;
pub(crate) mod executor;
