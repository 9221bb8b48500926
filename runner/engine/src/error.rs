//! Why an engine could not start, or had to end.

use pgtq_store::StoreError;

/// Errors of [`crate::run`]. Trouble with the database *after* the
/// start is not among them: the engine waits for it to come back.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database refused the start.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A loop of the engine ended although nobody stopped it.
    #[error(
        "the {loop_name} loop ended unexpectedly: {reason}; this is a fault of pgtq, the runner stops so that others take its tasks"
    )]
    LoopEnded {
        /// Which loop.
        loop_name: &'static str,
        /// What is known about it.
        reason: String,
    },
}
