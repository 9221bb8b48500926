//! Log lines, stored with the attempt: `info!(bytes = 12, "wrote {name}")`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::host;
use crate::json;
use crate::level::Level;

/// The structured fields of one line.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Adds a field. NaN and infinities become strings; for another value that
    /// cannot be written as JSON the field is the error's text.
    #[must_use]
    pub fn add(mut self, key: &str, value: impl Serialize) -> Self {
        let value = json::value(&value).unwrap_or_else(|fault| match fault.number() {
            Some(number) => number.into(),
            None => fault.to_string().into(),
        });
        self.0.insert(key.to_owned(), value);
        self
    }
}

/// Writes one line. Called by the macros.
pub fn write(level: Level, message: std::fmt::Arguments<'_>, fields: Fields) {
    host::log(level, &message.to_string(), fields.0);
}

/// The implementation of the four macros.
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($key:ident = $value:expr),+ , $format:literal $($rest:tt)*) => {
        $crate::log::write(
            $crate::Level::$level,
            ::std::format_args!($format $($rest)*),
            $crate::log::Fields::default()$(.add(::std::stringify!($key), &$value))+,
        )
    };
    ($level:ident, $format:literal $($rest:tt)*) => {
        $crate::log::write(
            $crate::Level::$level,
            ::std::format_args!($format $($rest)*),
            $crate::log::Fields::default(),
        )
    };
}

/// Logs a line at debug level: `debug!(rows = 12, "read {name}")`. See [`info!`](crate::info!).
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) };
}

/// Logs a line at info level: fields first, then a format string and its arguments.
///
/// A field is any value that is `Serialize`. The line is stored with the attempt;
/// `pgtq logs` prints it.
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// let ctx = Ctx::test();
/// let name = "a.csv";
/// info!(bytes = 12, "wrote {name}");
/// assert_eq!(ctx.logs()[0].message, "wrote a.csv");
/// assert_eq!(ctx.logs()[0].fields, json!({ "bytes": 12 }));
/// ```
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::__log!(Info, $($line)+) };
}

/// Logs a line at warn level: something unexpected that does not stop the handler.
/// See [`info!`](crate::info!).
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) };
}

/// Logs a line at error level. It does not fail the attempt: return an
/// [`Error`](crate::Error) for that. See [`info!`](crate::info!).
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::__log!(Error, $($line)+) };
}
