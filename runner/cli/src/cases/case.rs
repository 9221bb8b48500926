//! The format of a case file. An unknown key is an error, because it could be an
//! expectation that is never checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use pgtq_task::{Name, TaskId};

/// Limit on the size of a case file in bytes.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// The keys of `expect`, in the order in which they are written and checked.
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

/// One call of one handler, and the expected outcome.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The handler to call.
    pub(crate) handler: Name,
    /// A comment.
    #[serde(default, rename = "description")]
    _description: String,
    /// The arguments.
    #[serde(default = "no_arguments")]
    pub(crate) args: Value,
    /// The attempt number, from 1.
    #[serde(default = "first")]
    pub(crate) attempt: u32,
    /// Facts about the task.
    #[serde(default)]
    pub(crate) task: CaseFacts,
    /// Values of secrets.
    #[serde(default)]
    pub(crate) secrets: BTreeMap<String, String>,
    /// State that earlier attempts saved, by name; `""` is the checkpoint.
    #[serde(default)]
    pub(crate) state: BTreeMap<String, Value>,
    /// HTTP requests with their responses, each used once.
    #[serde(default)]
    pub(crate) http: Vec<CaseExchange>,
    /// SQL statements with their results, each used once.
    #[serde(default)]
    pub(crate) sql: Vec<Statement>,
    /// Contents of files, by their path in the sandbox.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// Requested capabilities that are denied: `http`, `push`, or one rule.
    #[serde(default)]
    pub(crate) refuse: Vec<String>,
    /// The expected outcome, by the keys of [`EXPECTATIONS`].
    #[serde(default)]
    pub(crate) expect: Map<String, Value>,
}

/// Fields of the task that most handlers do not use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CaseFacts {
    pub(crate) id: i64,
    pub(crate) queue: Name,
    pub(crate) key: Option<String>,
    pub(crate) pushed_at: jiff::Timestamp,
}

impl Default for CaseFacts {
    /// Constant, because a golden case must not depend on the current time.
    fn default() -> Self {
        CaseFacts {
            id: 1,
            queue: Name::default_queue(),
            key: None,
            pushed_at: jiff::Timestamp::from_second(1_767_225_600).unwrap_or_default(),
        }
    }
}

impl CaseFacts {
    pub(crate) fn id(&self) -> TaskId {
        TaskId(self.id)
    }
}

/// An HTTP request and its response.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseExchange {
    pub(crate) request: RequestMatch,
    #[serde(default)]
    pub(crate) response: Response,
    /// A connection error instead of a response.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// The request to match.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestMatch {
    #[serde(default = "get")]
    pub(crate) method: String,
    /// The URL with its query; `*` at the end matches any text.
    pub(crate) url: String,
    /// A string or any other JSON value that equals the body.
    #[serde(default)]
    pub(crate) body: Option<Value>,
}

/// The response.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// The body as text.
    pub(crate) body: String,
    /// The body as JSON, instead of text.
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

/// A SQL statement and its result.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    /// Whitespace is ignored; `*` at the end matches any text.
    pub(crate) statement: String,
    #[serde(default)]
    pub(crate) params: Option<Vec<Value>>,
    /// Arrays in the order of `columns`, or objects.
    #[serde(default)]
    pub(crate) rows: Vec<Value>,
    #[serde(default)]
    pub(crate) columns: Vec<CaseColumn>,
    /// The number of affected rows; if missing, the number of `rows`.
    #[serde(default)]
    pub(crate) affected: Option<u64>,
    /// An error instead of a result.
    #[serde(default)]
    pub(crate) error: Option<SqlError>,
}

/// A column: its name, or its name and type.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum CaseColumn {
    Name(String),
    Full {
        name: String,
        #[serde(rename = "type")]
        kind: String,
    },
}

/// The error of a statement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlError {
    /// A SQLSTATE, or another error code of the plugin contract.
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

impl Case {
    /// Parses a case. The error contains the position.
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
