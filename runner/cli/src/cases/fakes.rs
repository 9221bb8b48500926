//! Replacements for the network and the database, with the responses of the case.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::case::{Case, CaseColumn, CaseExchange, Statement};
use super::equal::{all_same, plain};
use crate::memory::Answers;
use pgtq_sandbox::{FakeHttp, FakeRequest, FakeResponse};
use pgtq_task::GuestError;

/// Limit on recorded requests and statements of one run.
const MAX_SEEN: usize = 10_000;

/// The responses of the current case. A sandbox has one and runs its cases in sequence.
#[derive(Debug, Default)]
pub(super) struct Fakes(Mutex<Script>);

/// Unused responses, and recorded requests.
#[derive(Debug, Default)]
pub(super) struct Script {
    http: Vec<CaseExchange>,
    sql: Vec<Statement>,
    secrets: BTreeMap<String, String>,
    /// Requests in order, with secrets replaced by placeholders.
    pub(super) requests: Vec<Value>,
    /// Statements in order.
    pub(super) statements: Vec<Value>,
    /// Requests and statements without a response.
    pub(super) unanswered: Vec<String>,
}

impl Fakes {
    /// Starts this case.
    pub(super) fn begin(&self, case: &Case) {
        self.with(|script| {
            *script = Script {
                http: case.http.clone(),
                sql: case.sql.clone(),
                secrets: case.secrets.clone(),
                ..Script::default()
            };
        });
    }

    /// Ends the case and returns its recorded requests.
    pub(super) fn end(&self) -> Script {
        self.with(std::mem::take)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Script) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Script {
    /// Responses of the case that were not used.
    pub(super) fn unused(&self) -> Vec<String> {
        let http = self.http.iter().map(|exchange| {
            let request = &exchange.request;
            format!(
                "the request {} {} was not made",
                request.method, request.url
            )
        });
        let sql = self
            .sql
            .iter()
            .map(|statement| format!("the statement was not run: {}", plain(&statement.statement)));
        http.chain(sql).collect()
    }

    fn hidden(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|(_, value)| !value.is_empty());
        secrets.fold(text.to_owned(), |text, (name, value)| {
            text.replace(value, &format!("{{{{secret:{name}}}}}"))
        })
    }
}

impl FakeHttp for Fakes {
    fn answer(&self, request: FakeRequest) -> Result<FakeResponse, String> {
        self.with(|script| {
            let seen = seen(script, &request);
            if script.requests.len() < MAX_SEEN {
                script.requests.push(seen.clone());
            }
            let fits = |exchange: &CaseExchange| {
                let wanted = &exchange.request;
                wanted.method.eq_ignore_ascii_case(&request.method)
                    && is_like(&wanted.url, seen["url"].as_str().unwrap_or_default())
                    && wanted
                        .body
                        .as_ref()
                        .is_none_or(|body| *body == seen["body"])
            };
            let Some(at) = script.http.iter().position(fits) else {
                let what = format!("{} {}", request.method, seen["url"].as_str().unwrap_or(""));
                script
                    .unanswered
                    .push(format!("no response for the request {what}"));
                return Err(format!("the case has no response for {what}"));
            };
            let exchange = script.http.remove(at);
            match exchange.error {
                Some(error) => Err(error),
                None => Ok(response(&exchange)),
            }
        })
    }
}

/// The request in the format of a case.
fn seen(script: &Script, request: &FakeRequest) -> Value {
    let text = |bytes: &[u8]| script.hidden(&String::from_utf8_lossy(bytes));
    let headers: BTreeMap<String, String> = request
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    let body = text(&request.body);
    // A JSON body is easier to read and to compare as JSON.
    let body = match serde_json::from_str::<Value>(&body) {
        Ok(json @ (Value::Object(_) | Value::Array(_))) => json,
        _ => Value::String(body),
    };
    json!({
        "method": request.method, "url": script.hidden(&request.url),
        "headers": headers, "body": body,
    })
}

fn response(exchange: &CaseExchange) -> FakeResponse {
    let answer = &exchange.response;
    let mut headers: Vec<(String, String)> = answer.headers.clone().into_iter().collect();
    let body = match &answer.json {
        None => answer.body.clone(),
        Some(json) => {
            let named = |(name, _): &(String, String)| name.eq_ignore_ascii_case("content-type");
            if !headers.iter().any(named) {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            json.to_string()
        }
    };
    FakeResponse {
        status: answer.status,
        headers,
        body: body.into_bytes(),
    }
}

/// Answers SQL from the same script.
#[derive(Debug)]
pub(super) struct FakeSql(pub(super) Arc<Fakes>);

impl Answers for FakeSql {
    fn answer(&self, statement: &str, params: &str) -> Result<String, GuestError> {
        let params: Vec<Value> = serde_json::from_str(params)
            .map_err(|error| GuestError::new("invalid", format!("invalid parameters: {error}")))?;
        self.0.with(|script| {
            let text = plain(statement);
            if script.statements.len() < MAX_SEEN {
                let seen = json!({"statement": text, "params": params});
                script.statements.push(seen);
            }
            let fits = |known: &Statement| {
                is_like(&plain(&known.statement), &text)
                    && known
                        .params
                        .as_ref()
                        .is_none_or(|wanted| all_same(wanted, &params))
            };
            let Some(at) = script.sql.iter().position(fits) else {
                let what = format!("{text} with {}", Value::from(params));
                script
                    .unanswered
                    .push(format!("no response for the statement {what}"));
                let message = format!("the case has no response for {what}");
                return Err(GuestError::new("unavailable", message));
            };
            rows(script.sql.remove(at))
        })
    }
}

/// The result in the format of the plugin contract.
fn rows(answer: Statement) -> Result<String, GuestError> {
    if let Some(error) = answer.error {
        let is_sqlstate =
            error.code.len() == 5 && !error.code.bytes().any(|b| b.is_ascii_lowercase());
        let code = match is_sqlstate {
            true => format!("sql:{}", error.code),
            false => error.code,
        };
        return Err(GuestError::new(code, error.message));
    }
    let names: Vec<String> = match answer.rows.first() {
        Some(Value::Object(first)) if answer.columns.is_empty() => first.keys().cloned().collect(),
        _ => answer
            .columns
            .iter()
            .map(|column| column.name().to_owned())
            .collect(),
    };
    let rows: Vec<Vec<Value>> = answer
        .rows
        .iter()
        .map(|row| match row {
            Value::Array(cells) => cells.clone(),
            Value::Object(cells) => {
                let cell = |name: &String| cells.get(name).cloned().unwrap_or_default();
                names.iter().map(cell).collect()
            }
            single => vec![single.clone()],
        })
        .collect();
    let columns: Vec<Value> = (0..names.len().max(rows.first().map_or(0, Vec::len)))
        .map(|n| {
            let written = answer.columns.get(n).and_then(CaseColumn::kind);
            let guessed = rows.iter().filter_map(|row| row.get(n)).find_map(kind_of);
            json!({
                "name": names.get(n).map_or("?column?", String::as_str),
                "type": written.or(guessed).unwrap_or("text"),
            })
        })
        .collect();
    let affected = answer.affected.unwrap_or(rows.len() as u64);
    Ok(json!({"columns": columns, "rows": rows, "affected": affected}).to_string())
}

impl CaseColumn {
    fn name(&self) -> &str {
        match self {
            CaseColumn::Name(name) | CaseColumn::Full { name, .. } => name,
        }
    }

    fn kind(&self) -> Option<&str> {
        match self {
            CaseColumn::Name(_) => None,
            CaseColumn::Full { kind, .. } => Some(kind),
        }
    }
}

fn kind_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("bool"),
        Value::Number(number) if number.is_f64() => Some("float8"),
        Value::Number(_) => Some("int8"),
        Value::String(_) => Some("text"),
        Value::Array(_) | Value::Object(_) => Some("jsonb"),
    }
}

/// Whether a text equals the expected one, or starts with it if it ends with `*`.
fn is_like(wanted: &str, text: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => wanted == text,
    }
}
