//! Reasons of our own to end an attempt, carried through wasmtime as errors.

/// Raised by a host function; the attempt ends and no guest code runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostStop {
    /// Far more log lines than the limit.
    #[error("too many log lines")]
    Logs,
}
