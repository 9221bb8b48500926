//! Log lines, kept with the attempt: `info!(bytes = 12, "wrote {name}")`.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::host;
use crate::json;

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Structured fields of one line.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Adds one. NaN and the infinities are texts; another value that is not JSON
    /// is kept as the error's text.
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

/// Writes one line. The macros call this.
pub fn write(level: Level, message: std::fmt::Arguments<'_>, fields: Fields) {
    host::log(level, &message.to_string(), fields.0);
}

/// What the four macros share.
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

/// Logs a line for those who debug the plugin: `debug!(rows, "read")`.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) };
}

/// Logs a line: fields first, then a format string, as in `info!(bytes = 12, "wrote {name}")`.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::__log!(Info, $($line)+) };
}

/// Logs a line about something odd that does not stop the handler.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) };
}

/// Logs a line about something that went wrong.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::__log!(Error, $($line)+) };
}
