//! Return values: from a function's return value to JSON text or an [`Error`].

use serde::Serialize;

use crate::error::{Error, Result};
use crate::json;

/// Marks a return type that is the result itself.
#[derive(Debug)]
pub struct Plain;

/// Marks a return type that is a `Result`.
#[derive(Debug)]
pub struct Fallible;

/// A type that a handler can return. `Kind` separates the two blanket
/// implementations, because `Result` implements `Serialize` as well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a handler",
    label = "not a result type",
    note = "return `()`, a type that is `Serialize` (put `#[data]` on it), or a `Result<T, E>` of one, \
            where `E` is an error type or `pgtq_sdk::Error`"
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

/// Calls `Returned::into_json`. Used by the attribute.
pub fn returned<Kind, T: Returned<Kind>>(value: T) -> Result<String> {
    value.into_json()
}
