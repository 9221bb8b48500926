//! Why an engine could not start, or had to stop.

use pgtq_store::StoreError;

/// Errors of [`crate::run`]. Database failures *after* the start are not among them: the
/// engine waits until the database is back.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database rejected the start.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A loop of the engine ended unexpectedly.
    #[error(
        "the {loop_name} loop ended unexpectedly: {reason}; this is a bug in pgtq; the runner stops, and other runners take over its tasks"
    )]
    LoopEnded {
        /// The loop.
        loop_name: &'static str,
        /// What is known about the cause.
        reason: String,
    },
}
