//! The host's reasons to end an attempt, carried through wasmtime as errors.

/// Raised by a host function; the attempt ends and no guest code runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostStop {
    /// Far more log lines than the limit.
    #[error("too many log lines")]
    Logs,
    /// The host would keep more for the attempt than `host_bytes`.
    #[error("the host keeps too much for the attempt")]
    HostMemory,
}
