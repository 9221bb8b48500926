//! Files on their way through the two steps of a load.

use super::ready_file::ReadyFile;
use super::scan::Seen;
use pgtq_task::{Digest, Name};

/// Files up to this many bytes are small.
pub(super) const SMALL: u64 = 1 << 20;

/// A file that waits for its inspection.
#[derive(Debug, Clone)]
pub(super) struct LoadRequest {
    pub(super) ready: ReadyFile,
    /// A retry of the same bytes; it runs after new bytes.
    pub(super) is_retry: bool,
    /// An earlier process crashed while it loaded these bytes.
    pub(super) alone: bool,
}

/// An inspected file that waits for its load.
#[derive(Debug, Clone)]
pub(super) struct PlannedLoad {
    pub(super) request: LoadRequest,
    pub(super) inspected: InspectedFile,
}

/// What is known of a file once it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InspectedFile {
    pub(super) digest: Digest,
    /// The handlers that it lists.
    pub(super) names: Vec<Name>,
}

impl LoadRequest {
    pub(super) fn key(&self) -> (bool, bool, String) {
        (self.alone, self.is_retry, self.ready.file.clone())
    }

    pub(super) fn is_small(&self) -> bool {
        matches!(&self.ready.seen, Seen::File(stamp) if stamp.size <= SMALL)
    }
}
