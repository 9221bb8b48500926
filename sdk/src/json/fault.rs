//! Why a value cannot be written as JSON, and at which place.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::error::Error;

/// One element of the path to a place inside a value.
#[derive(Debug)]
pub(super) enum Step {
    Item(usize),
    Field(String),
}

/// The path to a fault, recorded from the inside outwards.
#[derive(Default)]
pub(super) struct Trail {
    number: Cell<Option<&'static str>>,
    steps: RefCell<Vec<Step>>,
}

impl Trail {
    /// Records the name of a number that JSON does not have.
    #[cold]
    pub(super) fn number(&self, name: &'static str) {
        self.number.set(Some(name));
    }

    #[cold]
    pub(super) fn field(&self, name: &str) {
        self.steps.borrow_mut().push(Step::Field(name.to_owned()));
    }

    #[cold]
    pub(super) fn item(&self, index: usize) {
        self.steps.borrow_mut().push(Step::Item(index));
    }

    /// The recorded fault; its text is that of `error` unless a number was recorded.
    #[cold]
    pub(super) fn fault(&self, error: &serde_json::Error) -> Fault {
        let mut steps = self.steps.take();
        steps.reverse();
        Fault {
            steps,
            problem: match self.number.get() {
                Some(number) => Problem::Number(number),
                None => Problem::Other(error.to_string()),
            },
            is_parameter: false,
        }
    }
}

/// Why a value cannot be written as JSON, and at which place.
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
    /// The message of serde.
    Other(String),
}

impl Fault {
    /// Marks the value as a list of statement parameters.
    pub(super) fn of_parameters(mut self) -> Self {
        self.is_parameter = true;
        self
    }

    /// Prefixes the path with the list item at `index`.
    pub(super) fn in_item(mut self, index: usize) -> Self {
        self.steps.insert(0, Step::Item(index));
        self
    }

    /// An error that names the whole value, as in `the result`.
    pub(crate) fn about(self, whole: &str) -> Error {
        Error::new(self).within(whole).code("json")
    }

    /// The number, if the value itself is NaN or an infinity.
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

/// With the code `json`; retries by policy.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Error::new(fault).code("json")
    }
}
