//! Names of queues and handlers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a queue or a handler: 1 to 128 of `A-Z a-z 0-9 _ . : -`.
///
/// The database's functions enforce the same rule. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// The rejected text, cut to 140 characters.
    pub text: String,
    /// The rule that it breaks.
    pub fault: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a name: 1 to {} of the characters A-Z a-z 0-9 _ . : - are allowed",
            self.text,
            Name::MAX
        )
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// Maximum bytes of a name.
    pub const MAX: usize = 128;

    /// The queue that a push without a queue goes to.
    pub fn default_queue() -> Self {
        Name(Arc::from("default"))
    }

    /// Validates `text` and makes a name of it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
        let fault = if text.is_empty() {
            "a name has at least one character"
        } else if text.len() > Self::MAX {
            "a name has at most 128 characters"
        } else if !text.bytes().all(legal) {
            "a name is made of A-Z a-z 0-9 _ . : -"
        } else {
            return Ok(Name(Arc::from(text)));
        };
        Err(NameError {
            text: text.chars().take(140).collect(),
            fault,
        })
    }

    /// A name from the database, which has validated it.
    pub fn trusted(text: &str) -> Self {
        Name(Arc::from(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Name::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_letters_digits_and_four_marks() {
        for good in [
            "a",
            "add_numbers",
            "billing.charge:v2",
            "A-1",
            &"x".repeat(128),
        ] {
            assert_eq!(
                Name::new(good).map(|n| n.as_str().to_owned()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            " ",
            "a b",
            "é",
            "a/b",
            "a\0",
            "'; drop",
            &"x".repeat(129),
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
