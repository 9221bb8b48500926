//! Return values: from what a function returns to JSON text or an [`Error`].

use serde::Serialize;

use crate::error::{Error, Result};
use crate::json;

/// Marks a return type whose value is the result.
#[derive(Debug)]
pub struct Plain;

/// Marks a return type that may hold an error.
#[derive(Debug)]
pub struct Fallible;

/// What a handler may return. `Kind` keeps the two blanket implementations
/// apart, since serde serialises a `Result` too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a handler",
    label = "not a result type",
    note = "return `()`, a type that is `Serialize` (put `#[data]` on it), or `Result<T, E>` of one; \
            `E` is an error type or `pgtq_sdk::Error`"
)]
pub trait Returned<Kind> {
    /// The JSON text of the result.
    fn into_json(self) -> Result<String>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize> Returned<Plain> for T {
    fn into_json(self) -> Result<String> {
        json::text(&self).map_err(|fault| fault.about("the result cannot be written as JSON"))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize, E: Into<Error>> Returned<Fallible> for Result<T, E> {
    fn into_json(self) -> Result<String> {
        self.map_err(Into::into)?.into_json()
    }
}

/// The attribute's call of `Returned::into_json`.
pub fn returned<Kind, T: Returned<Kind>>(value: T) -> Result<String> {
    value.into_json()
}
