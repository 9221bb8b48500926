//! How an attempt that did not succeed says so.
//!
//! Owns [`Error`], the word of a handler to its runner. It keeps text only: the
//! chain of causes is read when the error is made, for the guest ends right after.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// A handler's result; the error is [`Error`] unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the runner should do with a task whose attempt did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again by the retry policy, or after the given delay.
    Retry,
    /// Give up now.
    Fail,
    /// Come back after the given delay. Costs no attempt.
    Snooze,
    /// Take the task back.
    Cancel,
}

/// Why an attempt did not succeed, and what should happen next.
///
/// Every `std::error::Error` converts into one that retries by policy, so `?`
/// works on all of them; the message holds the whole chain of sources. This
/// type is not a `std::error::Error` itself, which is what makes that possible.
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

    /// An error that retries by policy, made of anything that can become a boxed
    /// error: an `anyhow::Error`, a `Box<dyn Error>`, a text.
    pub fn caused_by(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause: Box<dyn std::error::Error + Send + Sync> = cause.into();
        Error::new(chain(cause.as_ref()))
    }

    /// What the host answers instead of doing what it was asked for. All but
    /// `invalid` may be otherwise at the next attempt; a denial, for one, once
    /// the operator has granted what is missing.
    pub(crate) fn from_host(code: impl Into<String>, message: impl fmt::Display) -> Self {
        let error = Error::new(message).code(code);
        match error.code == "invalid" {
            true => error.fatal(),
            false => error,
        }
    }

    /// The same error with words before its message.
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Gives up: the task is failed now, whatever its retry policy says.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.verdict = Verdict::Fail;
        self.delay = None;
        self
    }

    /// Retries after `delay` instead of the policy's delay. Counts as an attempt.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.verdict = Verdict::Retry;
        self.delay = Some(delay);
        self
    }

    /// A short word for programs that read the history.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// JSON kept beside the message. It counts towards the result's size limit.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// What should happen to the task.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How long to wait, where the error says so.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The word for programs, empty when none was given.
    pub fn code_text(&self) -> &str {
        &self.code
    }

    /// The JSON for programs.
    pub fn details_json(&self) -> Option<&Value> {
        self.details.as_ref()
    }
}

/// Comes back after `delay` without having used up an attempt: `return Err(snooze(secs(60)))`.
pub fn snooze(delay: Duration) -> Error {
    Error {
        verdict: Verdict::Snooze,
        delay: Some(delay),
        ..Error::new("snoozed")
    }
}

/// Takes the task back: it ends as cancelled, with `reason` for people.
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

/// Says what a failed step means for the task: `read(id).fatal()?`.
pub trait ResultExt<T> {
    /// Gives up on an error: the task is failed now.
    fn fatal(self) -> Result<T>;
    /// On an error, retries after `delay` instead of the policy's delay.
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

/// An error that gives up, with a formatted message: `return Err(fatal!("no image {id}"))`.
#[macro_export]
macro_rules! fatal {
    ($($format:tt)+) => {
        $crate::Error::new(::std::format_args!($($format)+)).fatal()
    };
}

/// An error that retries by policy, with a formatted message: `return Err(retry!("{host} is busy"))`.
#[macro_export]
macro_rules! retry {
    ($($format:tt)+) => {
        $crate::Error::new(::std::format_args!($($format)+))
    };
}

/// `outer: cause: root`. A cause whose text the message already ends with is
/// left out, for many errors print their source themselves.
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
        let error = handler().expect_err("x is no number");
        assert_eq!(error.verdict(), Verdict::Retry);
        assert_eq!(
            error.message(),
            "the invoice has no number: invalid digit found in string"
        );
    }

    #[test]
    fn a_step_says_what_its_error_means() {
        let fatal = outer().fatal().expect_err("x is no number");
        assert_eq!((fatal.verdict(), fatal.delay()), (Verdict::Fail, None));
        let later = outer().retry_after(crate::secs(3)).expect_err("no number");
        assert_eq!(later.delay(), Some(crate::secs(3)));
        assert_eq!(fatal!("no {}", 7).message(), "no 7");
        assert_eq!(snooze(crate::secs(9)).verdict(), Verdict::Snooze);
        assert_eq!(cancel("not needed").verdict(), Verdict::Cancel);
        assert_eq!(Error::caused_by("a text").message(), "a text");
    }
}
