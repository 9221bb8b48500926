//! Values to JSON: results, pushes, saved values, parameters of statements.
//!
//! Promises that a number which JSON does not have (NaN, an infinity) is an error
//! that names its place. serde_json by itself writes `null` for it, and the
//! reader of that fails far from the mistake.

mod checked;
mod macros;

use std::fmt;

use serde::Serialize;
use serde_json::Value;

pub(crate) use checked::BYTES;
pub use macros::expression;

use checked::{BytesAs, Checked, Checker, Rules, Step, Trail};

use crate::error::Error;

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
    value_with(value, BytesAs::Hex).map_err(|mut fault| {
        fault.steps.insert(0, Step::Item(index));
        fault.of_parameters()
    })
}

/// The value as a JSON value.
pub(crate) fn value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Fault> {
    value_with(value, BytesAs::Base64)
}

fn text_with<T: Serialize + ?Sized>(value: &T, bytes: BytesAs) -> Result<String, Fault> {
    let trail = Trail::default();
    let rules = Rules::new(&trail, bytes);
    // Not `value.serialize(Checker { .. })`: one more kind of serialiser for each type.
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

/// A value that cannot be written as JSON, and where in it the fault is.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Outermost first.
    steps: Vec<Step>,
    problem: Problem,
    is_parameter: bool,
}

#[derive(Debug)]
enum Problem {
    /// `NaN`, `infinity` or `-infinity`.
    Number(&'static str),
    /// What serde says.
    Other(String),
}

impl Fault {
    fn of_parameters(mut self) -> Self {
        self.is_parameter = true;
        self
    }

    /// As an error that names the whole: `the result`.
    pub(crate) fn about(self, whole: &str) -> Error {
        Error::new(self).within(whole).code("json")
    }

    /// The number, if the whole value is one that JSON does not have.
    pub(crate) fn number(&self) -> Option<&'static str> {
        match self.problem {
            Problem::Number(number) if self.steps.is_empty() => Some(number),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return match &self.problem {
                Problem::Number(number) => write!(f, "{number} is not a JSON number"),
                Problem::Other(text) => f.write_str(text),
            };
        }
        f.write_str("`")?;
        for (place, step) in self.steps.iter().enumerate() {
            match step {
                Step::Item(index) if place == 0 && self.is_parameter => {
                    write!(f, "${}", index + 1)?;
                }
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Field(name) if place == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
            }
        }
        match &self.problem {
            Problem::Number(number) => write!(f, "` is {number}, which is not a JSON number"),
            Problem::Other(text) => write!(f, "`: {text}"),
        }
    }
}

/// With a code of its own; retries by policy.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::new(fault).code("json")
    }
}

#[cfg(test)]
mod tests;
