//! Bytes that are not a value of their type.

/// The server sent bytes that are not a value of the type.
#[derive(Debug)]
pub(super) struct Malformed;
