//! Converts the arguments of a task on the command line to JSON.
//!
//! There are four forms: `a=2 b=3` (typed by the handler's schema; `a:=[1,2]` is JSON,
//! `a=@file` reads text), one JSON object or array, `@file`, and `-` for standard input.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::config::keys::closest;
use pgtq_task::{HandlerInfo, MAX_ARGS_BYTES};

use super::error::{Exit, Problem};
use super::{json, schema};

/// Returns the arguments as JSON text. Reads `stdin` only for `-`.
pub(crate) fn read(
    words: &[String],
    handler: Option<&HandlerInfo>,
    stdin: &mut dyn Read,
) -> Result<String, Problem> {
    let text = match words {
        [] => "{}".to_owned(),
        [one] if one == "-" => {
            let mut text = String::new();
            stdin
                .take(MAX_ARGS_BYTES as u64 + 1)
                .read_to_string(&mut text)
                .map_err(|error| Problem::failed(format!("cannot read standard input: {error}")))?;
            text
        }
        [one] if one.starts_with('@') => file(&one[1..])?,
        [one] if one.starts_with(['{', '[']) => one.clone(),
        pairs => fields(pairs, handler)?,
    };
    let text = text.trim();
    size(text)?;
    let value = parse(text)?;
    if let Some(handler) = handler {
        fit(handler, &value)?;
    }
    Ok(text.to_owned())
}

/// Parses JSON text. The error contains the position.
pub(crate) fn parse(text: &str) -> Result<Value, Problem> {
    let value = json::read(text).map_err(|error| {
        too_deep("arguments are", &error).unwrap_or_else(|| {
            Problem::usage(format!("arguments are not JSON: {error}"))
                .help("write `name=value` pairs, an object '{\"name\": 1}', an array '[1]', @FILE, or - for standard input")
        })
    })?;
    match value {
        Value::Object(_) | Value::Array(_) => Ok(value),
        _ => Err(
            Problem::usage("arguments must be a JSON object or array, not a single value")
                .help("write `name=value`, or '[1]' for positional arguments"),
        ),
    }
}

/// The error for JSON that exceeds the parser's depth limit; `what` begins its message.
fn too_deep(what: &str, error: &serde_json::Error) -> Option<Problem> {
    json::is_too_deep(error).then(|| {
        Problem::usage(format!("{what} nested more than 127 levels deep"))
            .help("pass a flatter structure, or the inner part as a string")
    })
}

/// Checks the size limit of the database.
pub(crate) fn size(text: &str) -> Result<(), Problem> {
    match text.len() > MAX_ARGS_BYTES {
        true => Err(Problem::usage(format!(
            "arguments are larger than {MAX_ARGS_BYTES} bytes (1 MiB)"
        ))
        .help("store the data elsewhere and push a reference to it, such as a URL or a row id")),
        false => Ok(()),
    }
}

fn file(path: &str) -> Result<String, Problem> {
    std::fs::read_to_string(Path::new(path)).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        Problem::new(exit, format!("cannot read `{path}`: {error}"))
    })
}

fn fields(pairs: &[String], handler: Option<&HandlerInfo>) -> Result<String, Problem> {
    let mut object = BTreeMap::new();
    for pair in pairs {
        let (name, value) = field(pair, handler)?;
        if object.insert(name.clone(), value).is_some() {
            return Err(Problem::usage(format!("argument `{name}` is given twice")));
        }
    }
    let fields = object
        .iter()
        .map(|(name, value)| format!("{}:{value}", quoted(name)));
    Ok(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Returns the name of an argument and its value as JSON text.
fn field(pair: &str, handler: Option<&HandlerInfo>) -> Result<(String, String), Problem> {
    let Some((left, right)) = pair.split_once('=') else {
        return Err(
            Problem::usage(format!("{pair:?} is not of the form name=value"))
                .help("write `name=value`, or pass all arguments as one quoted JSON text"),
        );
    };
    let text = |right: &str| match right.strip_prefix('@') {
        Some(path) => file(path),
        None => Ok(right.to_owned()),
    };
    if let Some(name) = left.strip_suffix(':') {
        let json = text(right)?;
        json::read(&json).map_err(|error| {
            too_deep(&format!("argument `{name}` is"), &error).unwrap_or_else(|| {
                Problem::usage(format!("argument `{name}` is not JSON: {error}"))
            })
        })?;
        return Ok((name.to_owned(), json.trim().to_owned()));
    }
    if right.starts_with('@') {
        return Ok((left.to_owned(), quoted(&text(right)?)));
    }
    let types = handler
        .and_then(|handler| handler.arguments.as_ref())
        .map(|schema| types_of(schema, left));
    Ok((left.to_owned(), typed(left, right, types.as_deref())?))
}

/// Returns JSON text. `types` is `None` without a schema: then numbers, `true`, `false`
/// and `null` are JSON values, and any other text is a string.
fn typed(name: &str, text: &str, types: Option<&[String]>) -> Result<String, Problem> {
    let types = types.unwrap_or_default();
    let allows = |wanted: &str| types.iter().any(|known| known == wanted);
    if allows("string") {
        return Ok(match (text, allows("null")) {
            ("null", true) => "null".to_owned(),
            _ => quoted(text),
        });
    }
    let json = text.trim();
    if types.is_empty() {
        // A number that exceeds the range of f64, such as `12e999`, is read as a string.
        let value = serde_json::from_str::<Value>(text).ok();
        let scalar =
            value.filter(|value| !value.is_object() && !value.is_array() && !value.is_string());
        return Ok(scalar.map_or_else(|| quoted(text), |_| json.to_owned()));
    }
    let is_json = json::read(text).is_ok();
    is_json.then(|| json.to_owned()).ok_or_else(|| {
        Problem::usage(format!(
            "argument `{name}` must be of type {}, got {text:?}",
            types.join(" or ")
        ))
    })
}

/// The JSON types that the schema allows for property `name`; empty if it specifies none.
fn types_of(schema: &Value, name: &str) -> Vec<String> {
    let mut types = Vec::new();
    if let Some(property) = schema.pointer("/properties").and_then(|all| all.get(name)) {
        collect_types(schema, property, &mut types, 8, &mut 1_000);
    }
    types
}

// The schema comes from a plugin: `depth` limits cycles of `$ref`, `budget` limits cycles
// with many branches.
fn collect_types(
    root: &Value,
    schema: &Value,
    types: &mut Vec<String>,
    depth: u8,
    budget: &mut u32,
) {
    if depth == 0 || *budget == 0 {
        return;
    }
    *budget -= 1;
    match schema.get("type") {
        Some(Value::String(one)) => types.push(one.clone()),
        Some(Value::Array(many)) => {
            types.extend(many.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        _ => {}
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        for inner in schema
            .get(word)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            collect_types(root, inner, types, depth - 1, budget);
        }
    }
    let target = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| path.strip_prefix('#'))
        .and_then(|path| root.pointer(path));
    if let Some(target) = target {
        collect_types(root, target, types, depth - 1, budget);
    }
    let first = schema
        .get("enum")
        .and_then(Value::as_array)
        .and_then(|all| all.first());
    if first.is_some_and(Value::is_string) {
        types.push("string".to_owned());
    }
}

/// Checks arguments against the handler's schema.
pub(crate) fn fit(handler: &HandlerInfo, arguments: &Value) -> Result<(), Problem> {
    let Some(schema) = &handler.arguments else {
        return Ok(());
    };
    let named = by_name(handler, arguments)?;
    let Some(lines) = schema::violations(schema, &named) else {
        // An invalid schema must not prevent a push.
        return Ok(());
    };
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|all| all.keys().map(String::as_str).collect())
        .unwrap_or_default();
    if lines.is_empty() {
        return Ok(());
    }
    let unknown = named
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .find(|name| !known.contains(&name.as_str()));
    let meant = unknown.and_then(|name| closest(name, known.iter().copied()));
    Err(Problem::usage(format!(
        "arguments do not match the schema of handler `{}`\n{}",
        handler.name,
        lines.join("\n")
    ))
    .maybe_help(meant.map(|name| format!("did you mean `{name}`?")))
    .help(format!(
        "usage: {} {}",
        handler.name,
        usage(handler, schema, &known)
    )))
}

/// The parameters in order, with optional ones in brackets.
fn usage(handler: &HandlerInfo, schema: &Value, known: &[&str]) -> String {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required =
        |name: &str| required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
    let positional = handler.positional.iter().map(String::as_str);
    let rest = known
        .iter()
        .copied()
        .filter(|name| !handler.positional.iter().any(|known| known == name));
    positional
        .chain(rest)
        .map(|name| match is_required(name) {
            true => format!("{name}=…"),
            false => format!("[{name}=…]"),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn by_name(handler: &HandlerInfo, arguments: &Value) -> Result<Value, Problem> {
    let Value::Array(items) = arguments else {
        return Ok(arguments.clone());
    };
    if handler.positional.is_empty() {
        return Ok(arguments.clone());
    }
    if items.len() > handler.positional.len() {
        return Err(Problem::usage(format!(
            "handler `{}` takes at most {} arguments, got {}",
            handler.name,
            handler.positional.len(),
            items.len()
        ))
        .help(format!(
            "its arguments are: {}",
            handler.positional.join(", ")
        )));
    }
    let pairs = handler
        .positional
        .iter()
        .cloned()
        .zip(items.iter().cloned());
    Ok(Value::Object(pairs.collect()))
}
