//! What is wrong with a value that cannot be written as JSON, and where in it.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::error::Error;

/// One step from a value to something inside of it.
#[derive(Debug)]
pub(super) enum Step {
    Item(usize),
    Field(String),
}

/// The way to a fault, noted from the inside outwards.
#[derive(Default)]
pub(super) struct Trail {
    number: Cell<Option<&'static str>>,
    steps: RefCell<Vec<Step>>,
}

impl Trail {
    /// Notes the name of a number that JSON does not have.
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

    /// The fault that `error` stands for.
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
    /// The value was a list of statement parameters.
    pub(super) fn of_parameters(mut self) -> Self {
        self.is_parameter = true;
        self
    }

    /// The value was the item at `index` of a list.
    pub(super) fn in_item(mut self, index: usize) -> Self {
        self.steps.insert(0, Step::Item(index));
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
