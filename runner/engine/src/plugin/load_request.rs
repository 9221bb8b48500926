//! Files on their way through the two steps of a load.

use super::ready_file::ReadyFile;
use super::scan::Seen;
use pgtq_task::{Digest, Name};

/// Files up to this many bytes are small.
pub(super) const SMALL: u64 = 1 << 20;

/// A file that waits for its outline.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) ready: ReadyFile,
    /// Another try of the same bytes; it runs after new bytes.
    pub(super) again: bool,
    /// An earlier process crashed while it loaded these bytes.
    pub(super) alone: bool,
}

/// A file whose outline is known.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) order: Order,
    pub(super) outline: Outline,
}

/// What is known of a file once it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) digest: Digest,
    /// The handlers that it lists.
    pub(super) names: Vec<Name>,
}

impl Order {
    pub(super) fn key(&self) -> (bool, bool, String) {
        (self.alone, self.again, self.ready.file.clone())
    }

    pub(super) fn is_small(&self) -> bool {
        matches!(&self.ready.seen, Seen::File(stamp) if stamp.size <= SMALL)
    }
}
