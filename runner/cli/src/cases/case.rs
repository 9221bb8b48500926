//! The form of a case file. An unknown key is an error: it would be an
//! expectation that nobody checks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use pgtq_task::{Name, TaskId};

/// Bytes of a case file.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// What may be expected, in the order in which it is written and told.
pub(crate) const EXPECTATIONS: [&str; 10] = [
    "result",
    "error",
    "snoozed_ms",
    "cancelled",
    "pushed",
    "logs",
    "http_requests",
    "sql_statements",
    "state",
    "files",
];

/// One call of one handler, and what is to come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Whom it calls.
    pub(crate) handler: Name,
    /// For people.
    #[serde(default, rename = "description")]
    _description: String,
    /// With which arguments.
    #[serde(default = "no_arguments")]
    pub(crate) args: Value,
    /// Counted from 1.
    #[serde(default = "first")]
    pub(crate) attempt: u32,
    /// Facts about the task.
    #[serde(default)]
    pub(crate) task: Facts,
    /// Values of secrets.
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, String>,
    /// What earlier attempts saved, by name; `""` is the checkpoint.
    #[serde(default)]
    pub(crate) state: BTreeMap<String, Value>,
    /// Requests that are answered, each once.
    #[serde(default)]
    pub(crate) http: Vec<Exchange>,
    /// Statements that are answered, each once.
    #[serde(default)]
    pub(crate) sql: Vec<Statement>,
    /// Texts of files, by the guest's path.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// What the handler asks for and does not get here: `http`, `push`, or one rule.
    #[serde(default)]
    pub(crate) refuse: Vec<String>,
    /// What is to come of it, by the words of [`EXPECTATIONS`].
    #[serde(default)]
    pub(crate) expect: Map<String, Value>,
}

/// Facts about the task that do not matter to most handlers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Facts {
    pub(crate) id: i64,
    pub(crate) queue: Name,
    pub(crate) key: Option<String>,
    pub(crate) pushed_at: jiff::Timestamp,
}

impl Default for Facts {
    /// The same for every run: a golden case must not depend on the day.
    fn default() -> Self {
        Facts {
            id: 1,
            queue: Name::default_queue(),
            key: None,
            pushed_at: jiff::Timestamp::from_second(1_767_225_600).unwrap_or_default(),
        }
    }
}

impl Facts {
    pub(crate) fn id(&self) -> TaskId {
        TaskId(self.id)
    }
}

/// A request and its answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub(crate) request: Request,
    #[serde(default)]
    pub(crate) response: Response,
    /// Instead of an answer: what goes wrong with the connection.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// Which request is meant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(default = "get")]
    pub(crate) method: String,
    /// With the query; `*` at its end is whatever follows.
    pub(crate) url: String,
    /// A text, or any other JSON to which the body has to be equal.
    #[serde(default)]
    pub(crate) body: Option<Value>,
}

/// What is answered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// A text.
    pub(crate) body: String,
    /// JSON, instead of a text.
    pub(crate) json: Option<Value>,
}

impl Default for Response {
    fn default() -> Self {
        Response {
            status: 200,
            headers: BTreeMap::new(),
            body: String::new(),
            json: None,
        }
    }
}

/// A statement and its answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    /// White space does not matter; `*` at its end is whatever follows.
    pub(crate) statement: String,
    #[serde(default)]
    pub(crate) params: Option<Vec<Value>>,
    /// Arrays in the order of `columns`, or objects.
    #[serde(default)]
    pub(crate) rows: Vec<Value>,
    #[serde(default)]
    pub(crate) columns: Vec<Column>,
    /// The number of rows, if it is missing.
    #[serde(default)]
    pub(crate) affected: Option<u64>,
    /// Instead of an answer.
    #[serde(default)]
    pub(crate) error: Option<SqlError>,
}

/// A column: its name, or name and type.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Column {
    Name(String),
    Full {
        name: String,
        #[serde(rename = "type")]
        kind: String,
    },
}

/// How a statement fails.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlError {
    /// A SQLSTATE, or another code of the contract.
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

impl Case {
    /// Reads a case; the error says what is wrong, and where.
    pub(crate) fn read(text: &str) -> Result<Case, String> {
        let case: Case = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if case.attempt == 0 {
            return Err("`attempt` must be at least 1".to_owned());
        }
        if let Some(word) = case
            .expect
            .keys()
            .find(|word| !EXPECTATIONS.contains(&word.as_str()))
        {
            let known = EXPECTATIONS.join(", ");
            let meant = crate::config::keys::closest(word, EXPECTATIONS);
            let meant = meant.map_or_else(
                || format!("known keys are {known}"),
                |meant| format!("did you mean `{meant}`?"),
            );
            return Err(format!("unknown key `{word}` in `expect`; {meant}"));
        }
        Ok(case)
    }
}

fn no_arguments() -> Value {
    Value::Object(Map::new())
}

fn first() -> u32 {
    1
}

fn get() -> String {
    "GET".to_owned()
}
