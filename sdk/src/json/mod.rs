//! Values to JSON: results, pushes, saved values, statement parameters.
//!
//! NaN and infinities, which JSON does not have, are errors that name their place.
//! serde_json would write `null`, and the error would appear in the program that
//! reads it.

mod checked;
mod fault;
pub(crate) mod macros;

use serde::Serialize;
use serde_json::Value;

use checked::{BytesAs, Checked, Checker, Rules};
pub(crate) use fault::Fault;
use fault::Trail;

/// The JSON text of a value.
pub(crate) fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    text_with(value, BytesAs::Base64)
}

/// The JSON text of a list of statement parameters.
pub(crate) fn parameters<T: Serialize>(values: &[T]) -> Result<String, Fault> {
    text_with(values, BytesAs::Hex).map_err(Fault::of_parameters)
}

/// One statement parameter; `index` is its place from 0.
pub(crate) fn parameter<T: Serialize>(index: usize, value: &T) -> Result<Value, Fault> {
    value_with(value, BytesAs::Hex).map_err(|fault| fault.in_item(index).of_parameters())
}

/// The value as a JSON value.
pub(crate) fn value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Fault> {
    value_with(value, BytesAs::Base64)
}

fn text_with<T: Serialize + ?Sized>(value: &T, bytes: BytesAs) -> Result<String, Fault> {
    let trail = Trail::default();
    let rules = Rules::new(&trail, bytes);
    // Not `value.serialize(Checker { .. })`, which would compile one more serializer
    // for each type.
    serde_json::to_string(&Checked::new(value, rules)).map_err(|error| trail.fault(&error))
}

fn value_with<T: Serialize + ?Sized>(value: &T, bytes: BytesAs) -> Result<Value, Fault> {
    let trail = Trail::default();
    let inner = serde_json::value::Serializer;
    let checker = Checker::new(inner, Rules::new(&trail, bytes));
    value
        .serialize(checker)
        .map_err(|error| trail.fault(&error))
}

#[cfg(test)]
mod tests;
