//! Attempts: from a claimed task to its outcome.

pub(crate) mod commit;
pub(crate) mod defer;
pub(crate) mod executor;
