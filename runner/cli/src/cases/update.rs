//! Writes the actual outcome to the expectations of a case, and keeps the rest of the file.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::case::{Case, EXPECTATIONS};
use super::observed::Observed;

/// The text of the case file with an updated `expect`. The case must have been read from
/// this text.
pub(crate) fn updated(text: &str, case: &Case, observed: &Observed) -> Result<String, String> {
    let expect = written(case, observed);
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(old) = fields.get("expect") {
        // A raw value borrows from the text that it was read from.
        let start = old.get().as_ptr() as usize - text.as_ptr() as usize;
        let end = start + old.get().len();
        return Ok(format!("{}{expect}{}", &text[..start], &text[end..]));
    }
    let end = text.rfind('}').ok_or("the case is not a JSON object")?;
    let before = text[..end].trim_end();
    let comma = if fields.is_empty() { "" } else { "," };
    Ok(format!(
        "{before}{comma}\n  \"expect\": {expect}\n{}",
        &text[end..]
    ))
}

/// `expect` as JSON text, indented as a field of an object.
fn written(case: &Case, observed: &Observed) -> String {
    let mut lines = Vec::new();
    for word in EXPECTATIONS {
        if let Some(value) = value(word, case, observed) {
            let pretty = format!("{value:#}").replace('\n', "\n    ");
            lines.push(format!("    \"{word}\": {pretty}"));
        }
    }
    format!("{{\n{}\n  }}", lines.join(",\n"))
}

/// The value to write for a key, if it differs from that of a handler without effects. Log
/// lines change often, so they are written only if the case expects some.
fn value(word: &str, case: &Case, observed: &Observed) -> Option<Value> {
    let got = observed.facts.get(word)?;
    let before = match word {
        "logs" if !case.expect.contains_key("logs") => return None,
        "state" => serde_json::to_value(&case.state).ok()?,
        "files" => return changed_files(case, got),
        "http_requests" => return Some(requests(got)).filter(|list| *list != empty()),
        "error" => return Some(error(got)),
        "pushed" | "sql_statements" | "logs" => empty(),
        _ => return Some(got.clone()),
    };
    (before != *got).then(|| got.clone())
}

fn empty() -> Value {
    Value::Array(Vec::new())
}

/// Keeps the first line of the message, because the others are a backtrace.
fn error(got: &Value) -> Value {
    let mut error = got.clone();
    if let Some(message) = error["message"].as_str() {
        let first = message.lines().next().unwrap_or_default().to_owned();
        error["message"] = first.into();
    }
    error
}

fn changed_files(case: &Case, got: &Value) -> Option<Value> {
    let got = got.as_object()?;
    let mut files: Map<String, Value> = got
        .iter()
        .filter(|(path, text)| case.files.get(*path).map(String::as_str) != text.as_str())
        .map(|(path, text)| (path.clone(), text.clone()))
        .collect();
    for path in case.files.keys().filter(|path| !got.contains_key(*path)) {
        files.insert(path.clone(), Value::Null);
    }
    (!files.is_empty()).then_some(Value::Object(files))
}

/// Keeps only the headers that contain a secret, because libraries set the others.
fn requests(got: &Value) -> Value {
    let mut requests = got.clone();
    for request in requests.as_array_mut().into_iter().flatten() {
        let Some(request) = request.as_object_mut() else {
            continue;
        };
        if let Some(Value::Object(headers)) = request.get_mut("headers") {
            headers.retain(|_, value| {
                value
                    .as_str()
                    .is_some_and(|text| text.contains("{{secret:"))
            });
        }
        request.retain(|_, value| !matches!(value, Value::Object(fields) if fields.is_empty()));
        request.retain(|_, value| value.as_str() != Some(""));
    }
    requests
}
