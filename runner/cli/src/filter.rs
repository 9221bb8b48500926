//! Task filters of all verbs: `state:failed handler:thumb* since:2h`, or the same as
//! options.

use std::time::Duration;

use clap::Args;

use crate::config::keys::closest;
use crate::config::values;
use pgtq_store::Filter;
use pgtq_task::{Name, State, TaskId};

use super::error::Problem;

const WORDS: [&str; 6] = ["state", "queue", "handler", "since", "error", "id"];

/// The filters as options, shared by all verbs that select tasks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterArgs {
    /// Only tasks in this state; can be repeated
    #[arg(long, value_name = "STATE", value_parser = state)]
    pub(crate) state: Vec<State>,
    /// Only tasks in this queue
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<Name>,
    /// Only tasks of this handler; `*` matches any text
    #[arg(long, value_name = "PATTERN")]
    pub(crate) handler: Option<String>,
    /// Only tasks pushed or finished within this time, such as 2h
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) since: Option<Duration>,
    /// Only tasks whose error message contains this text, ignoring case
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,
}

/// The selected tasks: task ids, or a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The task ids.
    pub(crate) ids: Vec<TaskId>,
    /// The filter.
    pub(crate) filter: Filter,
    /// Whether the filter is not empty.
    pub(crate) narrowed: bool,
}

/// Parses task ids and filters, and combines them with the options.
pub(crate) fn select(words: &[String], flags: &FilterArgs) -> Result<Selection, Problem> {
    let mut filter = Filter {
        states: flags.state.clone(),
        queue: flags.queue.clone(),
        handler: flags.handler.clone(),
        since: flags.since,
        error: flags.error.clone(),
        ..Filter::default()
    };
    let mut ids = Vec::new();
    for word in words {
        if word.bytes().all(|b| b.is_ascii_digit()) {
            ids.push(id(word)?);
            continue;
        }
        let (name, value) = word.split_once(':').ok_or_else(|| not_a_filter(word))?;
        match name {
            "state" => {
                for one in value.split(',') {
                    filter.states.push(state(one).map_err(Problem::usage)?);
                }
            }
            "queue" => filter.queue = Some(Name::new(value)?),
            "handler" => filter.handler = Some(value.to_owned()),
            "since" => filter.since = Some(values::duration(value).map_err(Problem::usage)?),
            "error" => filter.error = Some(value.to_owned()),
            "id" => ids.push(id(value)?),
            _ => return Err(not_a_filter(word)),
        }
    }
    if let Some(pattern) = &filter.handler {
        // A pattern consists of the characters of names and `*`.
        Name::new(&pattern.replace('*', "x"))?;
    }
    let narrowed = filter != Filter::default();
    if !ids.is_empty() && narrowed {
        return Err(Problem::usage("task ids and filters cannot be combined")
            .help("pass either task ids or filters"));
    }
    Ok(Selection {
        ids,
        filter,
        narrowed,
    })
}

/// Parses a task id.
pub(crate) fn id(text: &str) -> Result<TaskId, Problem> {
    text.parse().map_err(|_| {
        Problem::usage(format!(
            "{text:?} is not a task id: write a whole number such as 42"
        ))
    })
}

fn state(text: &str) -> Result<State, String> {
    State::parse(text).ok_or_else(|| {
        let names: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        let meant = closest(text, names.iter().copied());
        let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        format!(
            "{text:?} is not a state; states are {}{meant}",
            names.join(", ")
        )
    })
}

fn not_a_filter(word: &str) -> Problem {
    let head = word.split(':').next().unwrap_or(word);
    Problem::usage(format!("{word:?} is neither a task id nor a filter"))
        .maybe_help(closest(head, WORDS).map(|name| format!("did you mean `{name}:…`?")))
        .help("filters are state:, queue:, handler:, since: and error:, for example state:failed since:2h")
}
