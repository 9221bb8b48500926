//! Why a plugin file was rejected, and when to try it again.

use pgtq_task::{Digest, Name};

/// Why a file must not go live.
#[derive(Debug, Clone)]
pub(super) struct PluginRejected {
    /// The digest of the bytes, if they could be read.
    pub(super) digest: Option<Digest>,
    /// For operators.
    pub(super) reason: String,
    pub(super) retry: RetryWhen,
}

/// When to try again, apart from a change of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RetryWhen {
    /// Never: these bytes are invalid.
    Never,
    /// When another file stops serving one of these names.
    WhenFree(Vec<Name>),
    /// When fewer plugins serve.
    WhenFewer,
    /// After a pause: it may have been a fault of this machine.
    Later,
}

impl PluginRejected {
    pub(super) fn new(digest: Option<Digest>, reason: String, retry: RetryWhen) -> PluginRejected {
        PluginRejected {
            digest,
            reason,
            retry,
        }
    }
}
