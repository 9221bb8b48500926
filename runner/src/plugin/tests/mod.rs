//! The room as a whole, on real directories.

mod directory;
pub(super) mod support;
