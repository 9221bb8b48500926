//! Errors whose cause is this machine.

use wasmtime::PoolConcurrencyLimitError;
use wasmtime::error::OutOfMemory;

use crate::text::clean;

/// Bytes of a message that are kept.
const MESSAGE_BYTES: usize = 4 << 10;

/// What this machine lacks, if that is the cause: the guest is not at fault.
pub(crate) fn lacks(error: &wasmtime::Error) -> Option<String> {
    let cause = error.root_cause().to_string();
    // Of the types that carry an error number, one is private to wasmtime.
    let is_the_systems = cause.ends_with(')') && cause.contains("(os error ");
    let is_room = error.is::<PoolConcurrencyLimitError>() || error.is::<OutOfMemory>();
    (is_the_systems || is_room).then(|| clean(&cause, MESSAGE_BYTES))
}
