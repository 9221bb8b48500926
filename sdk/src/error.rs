//! [`Error`]: why an attempt failed, and what the runner does next.
//!
//! An error holds text only. The chain of sources is formatted when the error is
//! made.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// The result of a handler; the error type defaults to [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the runner does with a task whose attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Retry by the retry policy, or after the error's delay. Uses an attempt.
    Retry,
    /// Fail the task, without further attempts.
    Fail,
    /// Run the task again after the error's delay. Does not use an attempt.
    Snooze,
    /// End the task as cancelled.
    Cancel,
}

/// Why an attempt did not succeed, and what the runner does next.
///
/// Every `std::error::Error` converts into an `Error` that retries by policy, so
/// `?` works on all of them; the message holds the whole chain of sources. `Error`
/// itself does not implement `std::error::Error`, because the blanket conversion
/// would conflict with it.
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[handler]
/// fn parse(text: &str) -> Result<i64> {
///     if text.is_empty() {
///         return Err(fatal!("no number given"));
///     }
///     Ok(text.parse::<i64>()?)
/// }
///
/// let error = parse("x").expect_err("not a number");
/// assert_eq!(error.verdict(), pgtq_sdk::Verdict::Retry);
/// assert_eq!(error.message(), "invalid digit found in string");
/// ```
#[derive(Clone, PartialEq)]
pub struct Error {
    verdict: Verdict,
    delay: Option<Duration>,
    code: String,
    message: String,
    details: Option<Value>,
}

impl Error {
    /// An error that retries by the task's policy.
    pub fn new(message: impl fmt::Display) -> Self {
        Error {
            verdict: Verdict::Retry,
            delay: None,
            code: String::new(),
            message: message.to_string(),
            details: None,
        }
    }

    /// An error that retries by policy, from anything that converts into a boxed
    /// error: an `anyhow::Error`, a `Box<dyn Error>`, a string.
    pub fn caused_by(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause: Box<dyn std::error::Error + Send + Sync> = cause.into();
        Error::new(chain(cause.as_ref()))
    }

    /// An error reported by the host. `invalid` fails the task. The other codes
    /// retry, because the next attempt may succeed: after a denial, for example,
    /// once the operator has granted the capability.
    pub(crate) fn from_host(code: impl Into<String>, message: impl fmt::Display) -> Self {
        let error = Error::new(message).code(code);
        match error.code == "invalid" {
            true => error.fatal(),
            false => error,
        }
    }

    /// Prefixes the message with `what` and a colon.
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Fails the task now, regardless of its retry policy.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.verdict = Verdict::Fail;
        self.delay = None;
        self
    }

    /// Retries after `delay` (whole milliseconds) instead of the policy's delay.
    /// Uses an attempt.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.verdict = Verdict::Retry;
        self.delay = Some(delay);
        self
    }

    /// Sets a machine-readable code, as in `"card_declined"`. The history keeps
    /// it with the attempt.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Sets JSON to store with the message. It counts towards the size limit of
    /// results.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// What the runner does next.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The delay before the next attempt, if the error sets one.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// The human-readable message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The code; empty if none was set.
    pub fn code_text(&self) -> &str {
        &self.code
    }

    /// The JSON stored with the message.
    pub fn details_json(&self) -> Option<&Value> {
        self.details.as_ref()
    }
}

/// Runs the task again after `delay` (whole milliseconds), without using an
/// attempt.
///
/// ```
/// use pgtq_sdk::prelude::*;
///
/// #[handler]
/// fn collect(ready: bool) -> Result<()> {
///     if !ready {
///         return Err(snooze(secs(60)));
///     }
///     Ok(())
/// }
/// # assert!(collect(false).is_err());
/// ```
pub fn snooze(delay: Duration) -> Error {
    Error {
        verdict: Verdict::Snooze,
        delay: Some(delay),
        ..Error::new("snoozed")
    }
}

/// Ends the task as cancelled: `return Err(cancel("the order was deleted"))`.
pub fn cancel(reason: impl fmt::Display) -> Error {
    Error {
        verdict: Verdict::Cancel,
        ..Error::new(reason)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Error::new(chain(&error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.verdict, self.message)?;
        if let Some(delay) = self.delay {
            write!(f, " (after {delay:?})")?;
        }
        Ok(())
    }
}

/// Converts the error of a result: `read(id).fatal()?`.
pub trait ResultExt<T> {
    /// Converts an error into one that fails the task: see [`Error::fatal`].
    ///
    /// # Errors
    /// The converted error.
    fn fatal(self) -> Result<T>;
    /// Converts an error into one that retries after `delay`: see
    /// [`Error::retry_after`].
    ///
    /// # Errors
    /// The converted error.
    fn retry_after(self, delay: Duration) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn fatal(self) -> Result<T> {
        self.map_err(|error| error.into().fatal())
    }

    fn retry_after(self, delay: Duration) -> Result<T> {
        self.map_err(|error| error.into().retry_after(delay))
    }
}

/// An error that fails the task, with a formatted message:
/// `return Err(fatal!("no image {id}"))`. See [`Error::fatal`].
#[macro_export]
macro_rules! fatal {
    ($($format:tt)+) => {
        $crate::Error::new(::std::format_args!($($format)+)).fatal()
    };
}

/// An error that retries by policy, with a formatted message:
/// `return Err(retry!("{host} is busy"))`. See [`Error::new`].
#[macro_export]
macro_rules! retry {
    ($($format:tt)+) => {
        $crate::Error::new(::std::format_args!($($format)+))
    };
}

/// `outer: cause: root`. A cause is left out if the message already ends with its
/// text, because many errors print their source themselves.
fn chain(error: &(dyn std::error::Error + '_)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the invoice has no number")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    fn outer() -> std::result::Result<i32, Outer> {
        "x".parse().map_err(Outer)
    }

    #[test]
    fn a_question_mark_retries_and_keeps_the_chain_of_sources() {
        fn handler() -> Result<i32> {
            Ok(outer()?)
        }
        let error = handler().expect_err("x is not a number");
        assert_eq!(error.verdict(), Verdict::Retry);
        assert_eq!(
            error.message(),
            "the invoice has no number: invalid digit found in string"
        );
    }

    #[test]
    fn an_error_can_be_turned_into_another_verdict() {
        let fatal = outer().fatal().expect_err("x is not a number");
        assert_eq!((fatal.verdict(), fatal.delay()), (Verdict::Fail, None));
        let later = outer()
            .retry_after(crate::secs(3))
            .expect_err("not a number");
        assert_eq!(later.delay(), Some(crate::secs(3)));
        assert_eq!(fatal!("no {}", 7).message(), "no 7");
        assert_eq!(snooze(crate::secs(9)).verdict(), Verdict::Snooze);
        assert_eq!(cancel("not needed").verdict(), Verdict::Cancel);
        assert_eq!(Error::caused_by("a text").message(), "a text");
    }
}
