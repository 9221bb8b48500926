//! Arguments: from JSON text to the parameters of a function.
//!
//! An error names the argument, the expected type and the value found. It fails
//! the task at once, without retries, because the same arguments would fail
//! again. `pgtq retry` runs the task on a later version of the plugin.

use std::ops::Deref;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A type that a handler can take as an argument. Implemented for every type
/// that is `Serialize`, `DeserializeOwned` and `JsonSchema`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "not an argument type",
    note = "put `#[data]` on the type, or derive `Serialize`, `Deserialize` and `JsonSchema` for it",
    note = "for types of uuid, jiff or chrono, enable the feature of pgtq-sdk with the crate's name"
)]
pub trait Argument: Serialize + DeserializeOwned + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + JsonSchema> Argument for T {}

/// The whole payload as one value. It must be the handler's only argument; a
/// `&Ctx` may precede it.
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[data]
/// struct Order {
///     id: u64,
/// }
///
/// #[handler]
/// fn ship(Json(order): Json<Order>) -> u64 {
///     order.id
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json<T>(
    /// The payload.
    pub T,
);

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The arguments of one attempt, by name.
#[derive(Debug)]
pub struct Arguments {
    fields: Map<String, Value>,
}

impl Arguments {
    /// Parses the payload: an object holds arguments by name, an array by
    /// position, `null` none. With `extra`, unknown names are ignored.
    pub fn parse(text: &str, names: &[&str], extra: bool) -> Result<Self> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| invalid(format!("the arguments are not JSON: {error}")))?;
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Array(values) => by_position(values, names, extra)?,
            Value::Null => Map::new(),
            other => {
                return Err(invalid(format!(
                    "the arguments must be a JSON object or array, found {}",
                    found(&other)
                )));
            }
        };
        let unknown = fields.keys().find(|key| !names.contains(&key.as_str()));
        match unknown {
            Some(key) if !extra => Err(invalid(format!(
                "unknown argument `{key}`: {}",
                takes(names)
            ))),
            _ => Ok(Arguments { fields }),
        }
    }

    /// The whole payload as one value.
    pub fn whole<T: Argument>(text: &str, expected: &str) -> Result<Json<T>> {
        serde_json::from_str(text).map(Json).map_err(|error| {
            invalid(format!(
                "the arguments are not a valid `{expected}`: {error}"
            ))
        })
    }

    /// A required argument.
    pub fn required<T: Argument>(&mut self, name: &str, expected: &str) -> Result<T> {
        match self.fields.remove(name) {
            Some(value) => decode(name, expected, value),
            None => Err(invalid(format!(
                "argument `{name}` is missing, expected `{expected}`"
            ))),
        }
    }

    /// An argument that may be missing or null.
    pub fn optional<T: Argument>(&mut self, name: &str, expected: &str) -> Result<Option<T>> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => decode(name, expected, value).map(Some),
        }
    }

    /// An argument with a default for when it is missing.
    pub fn or_default<T: Argument>(
        &mut self,
        name: &str,
        expected: &str,
        default: impl FnOnce() -> T,
    ) -> Result<T> {
        match self.fields.remove(name) {
            Some(value) => decode(name, expected, value),
            None => Ok(default()),
        }
    }
}

fn by_position(values: Vec<Value>, names: &[&str], extra: bool) -> Result<Map<String, Value>> {
    if values.len() > names.len() && !extra {
        return Err(invalid(format!(
            "got {} arguments: {}",
            values.len(),
            takes(names)
        )));
    }
    let names = names.iter().map(|&name| name.to_owned());
    Ok(names.zip(values).collect())
}

fn decode<T: Argument>(name: &str, expected: &str, value: Value) -> Result<T> {
    // Before the value moves: for some types the message of serde names the
    // expected type and not the value found.
    let seen = found(&value);
    serde_json::from_value(value).map_err(|error| {
        invalid(format!(
            "argument `{name}`: expected `{expected}`, found {seen} ({error})"
        ))
    })
}

fn invalid(message: String) -> Error {
    Error::new(message).code("arguments").fatal()
}

fn takes(names: &[&str]) -> String {
    match names {
        [] => "the handler takes no arguments".to_owned(),
        _ => format!("the handler takes `{}`", names.join("`, `")),
    }
}

/// A value for an error message: its kind and the first 40 characters.
pub(crate) fn found(value: &Value) -> String {
    const LONGEST: usize = 40;
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(values) => return format!("an array of {}", values.len()),
        Value::Object(fields) => return format!("an object of {} fields", fields.len()),
    };
    let text = match value {
        // Truncated first: a megabyte of text need not be quoted only to be dropped.
        Value::String(text) => Value::from(text.chars().take(LONGEST).collect::<String>()),
        other => other.clone(),
    };
    let cut = matches!(value, Value::String(text) if text.chars().nth(LONGEST).is_some());
    format!("{kind} {text}{}", if cut { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.expect_err("these arguments are wrong");
        assert_eq!(error.code_text(), "arguments");
        error.message().to_owned()
    }

    fn parse(text: &str) -> Result<Arguments> {
        Arguments::parse(text, &["a", "b"], false)
    }

    #[test]
    fn objects_arrays_and_null_are_accepted() {
        for text in [r#"{"b": 3, "a": 2}"#, "[2, 3]"] {
            let mut args = parse(text).expect("both forms are legal");
            assert_eq!(args.required::<i64>("a", "i64"), Ok(2));
            assert_eq!(args.required::<i64>("b", "i64"), Ok(3));
        }
        let mut none = parse("null").expect("null means no arguments");
        assert_eq!(none.optional::<i64>("a", "i64"), Ok(None));
        assert_eq!(none.or_default("b", "i64", || 7), Ok(7));
    }

    #[test]
    fn an_error_names_the_argument_the_type_and_what_was_found() {
        let mut args = parse(r#"{"a": "two"}"#).expect("an object is legal");
        assert_eq!(
            message(args.required::<i64>("a", "i64")),
            "argument `a`: expected `i64`, found a string \"two\" \
             (invalid type: string \"two\", expected i64)"
        );
        assert_eq!(
            message(args.required::<i64>("b", "i64")),
            "argument `b` is missing, expected `i64`"
        );
    }

    #[test]
    fn unknown_surplus_and_malformed_arguments_are_rejected() {
        assert_eq!(
            message(parse(r#"{"c": 1}"#)),
            "unknown argument `c`: the handler takes `a`, `b`"
        );
        assert_eq!(
            message(parse("[1, 2, 3]")),
            "got 3 arguments: the handler takes `a`, `b`"
        );
        assert_eq!(
            message(parse("7")),
            "the arguments must be a JSON object or array, found a number 7"
        );
        assert!(message(parse("{")).starts_with("the arguments are not JSON"));
        assert!(Arguments::parse(r#"{"c": 1}"#, &["a"], true).is_ok());
    }

    #[test]
    fn a_long_value_is_truncated_in_the_message() {
        let text = found(&Value::from("é".repeat(1_000)));
        assert_eq!(text, format!("a string \"{}\"...", "é".repeat(40)));
    }
}
