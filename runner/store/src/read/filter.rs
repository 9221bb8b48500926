//! Which tasks a list, a count or an operation is about.

use std::borrow::Cow;
use std::time::Duration;

use crate::sql::Sql;
use pgtq_task::{Name, State, TaskId};

/// Selects tasks. Every field narrows the selection; the default is all, newest first, 50 of
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Any of these; empty means all.
    pub states: Vec<State>,
    /// This queue.
    pub queue: Option<Name>,
    /// A name, or a pattern with `*`.
    pub handler: Option<String>,
    /// Pushed or finished no longer ago than this.
    pub since: Option<Duration>,
    /// The error message contains this text (case-insensitive).
    pub error: Option<String>,
    /// At most this many.
    pub limit: u32,
    /// Only ids below this one: the last id of the previous page.
    pub before: Option<TaskId>,
}

impl Default for Filter {
    fn default() -> Self {
        Filter {
            states: Vec::new(),
            queue: None,
            handler: None,
            since: None,
            error: None,
            limit: 50,
            before: None,
        }
    }
}

impl Filter {
    /// Inlines the states into the statement: with literals Postgres skips the tables of other
    /// states and uses the index of failures.
    pub(crate) fn statement(&self, text: impl Into<Cow<'static, str>>) -> Sql {
        let states: &[State] = if self.states.is_empty() {
            &State::ALL
        } else {
            &self.states
        };
        let list: Vec<String> = states.iter().map(|state| format!("'{state}'")).collect();
        Sql {
            name: None,
            text: text.into().replace("{{states}}", &list.join(", ")).into(),
        }
    }

    pub(crate) fn params(&self) -> FilterParams<'_> {
        FilterParams {
            queue: self.queue.as_ref().map(Name::as_str),
            handler: self
                .handler
                .as_deref()
                .map(|glob| like(glob).replace('*', "%")),
            since: self.since.map(|age| age.as_secs_f64().min(3.2e9)),
            error: self
                .error
                .as_deref()
                .map(|text| format!("%{}%", like(text))),
        }
    }
}

pub(crate) struct FilterParams<'a> {
    pub(crate) queue: Option<&'a str>,
    pub(crate) handler: Option<String>,
    pub(crate) since: Option<f64>,
    pub(crate) error: Option<String>,
}

/// `text` as a LIKE pattern that matches only itself.
fn like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}
