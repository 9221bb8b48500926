//! The handler's `HandlerInfo` as JSON text, generated at compile time for the
//! file's `pgtq.handlers` section and the manifest.
//!
//! The JSON is written by hand: a JSON library as a dependency of the macro would
//! slow down the build of every plugin.

use pgtq_contract::{Backoff, LimitRequest, Retries};

use crate::needs::Needs;
use crate::options::Options;
use crate::shape::Shape;
use crate::signature::Signature;

/// The JSON object of one handler, without the schema of its arguments.
pub(crate) fn info(name: &str, docs: &str, options: &Options, signature: &Signature) -> String {
    let (description, rest) = match docs.split_once("\n\n") {
        Some((first, rest)) => (first, rest.trim_start()),
        None => (docs, ""),
    };
    let positional: Vec<String> = match signature.parameters.as_slice() {
        [only] if matches!(only.shape, Shape::Whole(_)) => Vec::new(),
        all => all.iter().map(|parameter| text(&parameter.name)).collect(),
    };
    object(&[
        ("name", Some(text(name))),
        ("description", Some(text(&description.replace('\n', " ")))),
        ("docs", Some(text(rest))),
        ("positional", Some(format!("[{}]", positional.join(",")))),
        ("limits", Some(limits(&options.limits))),
        ("retry", Some(retry(options))),
        ("needs", needs(name, options)),
        ("push", push(options)),
    ])
}

/// The default queue and priority of pushes to the handler.
fn push(options: &Options) -> Option<String> {
    let queue = options.queue.as_ref().map(|queue| text(&queue.value()));
    let priority = options.priority.map(|priority| priority.to_string());
    let is_given = queue.is_some() || priority.is_some();
    is_given.then(|| object(&[("queue", queue), ("priority", priority)]))
}

/// The format of the runner's `task::Needs`, without empty fields. A priority below 0
/// adds the need to push with it.
fn needs(name: &str, options: &Options) -> Option<String> {
    let needs = &options.needs;
    let urgent = options.priority.filter(|priority| *priority < 0);
    let urgent = urgent.map(|priority| format!("{name} priority={priority}"));
    let mut push = needs.push.clone();
    push.extend(urgent.filter(|rule| !needs.push.contains(rule)));
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|item| text(item)).collect();
        (!texts.is_empty()).then(|| format!("[{}]", texts.join(",")))
    };
    (*needs != Needs::default() || !push.is_empty()).then(|| {
        object(&[
            ("http", list(&needs.http)),
            ("tcp", list(&needs.tcp)),
            ("sql", needs.sql.then(|| "true".to_owned())),
            ("secrets", list(&needs.secrets)),
            ("files", list(&needs.files)),
            ("push", list(&push)),
        ])
    })
}

fn limits(limits: &LimitRequest) -> String {
    object(&[
        ("fuel", limits.fuel.map(|n| n.to_string())),
        ("timeout_ms", limits.timeout_ms.map(|n| n.to_string())),
        ("memory", limits.memory.map(|n| n.to_string())),
    ])
}

fn retry(options: &Options) -> String {
    let retries = options.retries.as_ref().map(|retries| match retries {
        Retries::Limited(count) => count.to_string(),
        Retries::Forever => text("forever"),
    });
    let backoff = options.backoff.map(|Backoff { first_ms, max_ms }| {
        object(&[
            ("first_ms", Some(first_ms.to_string())),
            ("max_ms", Some(max_ms.to_string())),
        ])
    });
    object(&[("retries", retries), ("backoff", backoff)])
}

fn object(fields: &[(&str, Option<String>)]) -> String {
    let given = fields.iter().filter_map(|(key, value)| {
        let value = value.as_ref()?;
        Some(format!("{}:{value}", text(key)))
    });
    format!("{{{}}}", given.collect::<Vec<_>>().join(","))
}

/// A JSON string.
fn text(value: &str) -> String {
    let mut json = String::from('"');
    for c in value.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            c if c < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
