//! A file of the plugin directory that may be read.

use super::scan::Seen;

/// A file that may be read now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadyFile {
    pub(super) file: String,
    pub(super) seen: Seen,
    /// It was still changing when the maximum wait ended.
    pub(super) unsettled: bool,
}
