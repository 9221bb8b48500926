//! One child task as the guest describes it. What the database would reject is rejected
//! here, to the guest, which can still react: in the transaction that ends the attempt it
//! would make the parent fail.

use std::time::Duration;

use crate::json;
use pgtq_task::{MAX_ARGS_BYTES, Name, NewTask, Retries};

/// The longest options of one push, in bytes: several times the size of a key and names.
const MAX_OPTIONS_BYTES: usize = 4 << 10;
/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 512;
/// A century: keeps every delay within what the database can add to now.
const MAX_DELAY_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// The options of one push, as the contract lists them.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ChildOptions {
    queue: Option<String>,
    priority: Option<i32>,
    delay_ms: Option<u64>,
    retries: Option<Retries>,
    key: Option<String>,
}

/// The child without the parts that rights decide, and the priority that it requests.
pub(super) fn check(
    handler: &str,
    args: String,
    options: &str,
) -> Result<(NewTask, Option<i32>), String> {
    let handler = Name::new(handler).map_err(|error| format!("handler {error}"))?;
    if args.len() > MAX_ARGS_BYTES {
        return Err(format!(
            "the arguments have {} bytes, the limit is {MAX_ARGS_BYTES}; store the data elsewhere and push a reference",
            args.len()
        ));
    }
    json::check(&args).map_err(|error| format!("the arguments are not JSON: {error}"))?;
    if !args.trim_start().starts_with(['{', '[']) {
        return Err("the arguments are neither a JSON object (parameters by name) nor an array (by position); use `{}` for none".to_owned());
    }
    if options.len() > MAX_OPTIONS_BYTES {
        return Err(format!(
            "the push options have {} bytes, the limit is {MAX_OPTIONS_BYTES}",
            options.len()
        ));
    }
    let options = if options.is_empty() {
        ChildOptions::default()
    } else {
        serde_json::from_str(options).map_err(|error| format!("push options: {error}"))?
    };
    let queue = options.queue.map(|queue| Name::new(&queue)).transpose();
    if options.delay_ms.is_some_and(|delay| delay > MAX_DELAY_MS) {
        return Err(format!("delay_ms is above a century ({MAX_DELAY_MS})"));
    }
    if let Some(key) = &options.key
        && (key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains('\0'))
    {
        return Err(format!(
            "key must have 1 to {MAX_KEY_BYTES} bytes and no NUL"
        ));
    }
    let child = NewTask {
        queue: queue.map_err(|error| format!("queue {error}"))?,
        delay: options.delay_ms.map(Duration::from_millis),
        retries: options.retries,
        key: options.key,
        ..NewTask::new(handler, args)
    };
    Ok((child, options.priority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(handler: &str, args: &str, options: &str) -> String {
        check(handler, args.to_owned(), options).expect_err("must be refused")
    }

    #[test]
    fn a_child_carries_its_options() {
        let options =
            r#"{"queue":"mail","priority":-5,"delay_ms":1500,"retries":"forever","key":"k"}"#;
        let (child, priority) = check("send", "[1]".into(), options).expect("valid");
        assert_eq!(child.queue.as_ref().map(Name::as_str), Some("mail"));
        assert_eq!((priority, child.key.as_deref()), (Some(-5), Some("k")));
        assert_eq!(child.delay, Some(Duration::from_millis(1_500)));
        assert_eq!(child.retries, Some(Retries::Forever));
    }

    #[test]
    fn children_that_the_database_would_reject_are_rejected_here() {
        assert!(refused("a b", "[]", "").starts_with("handler"));
        assert!(refused("h", "{", "").contains("not JSON"));
        for scalar in ["5", "null", "\"text\"", " true"] {
            assert!(refused("h", scalar, "").contains("neither a JSON object"));
        }
        assert!(refused("h", &"[".repeat(1_000), "").contains("deep"));
        assert!(
            refused("h", &format!("[\"{}\"]", "x".repeat(MAX_ARGS_BYTES)), "").contains("limit")
        );
        assert!(refused("h", "[]", r#"{"queue":"a b"}"#).starts_with("queue"));
        assert!(refused("h", "[]", r#"{"delay_ms":-1}"#).contains("push options"));
        assert!(refused("h", "[]", r#"{"delay_ms":18446744073709551615}"#).contains("century"));
        assert!(refused("h", "[]", r#"{"color":"red"}"#).contains("color"));
        let long = format!(r#"{{"retries":"{}"}}"#, "\u{7f}".repeat(MAX_OPTIONS_BYTES));
        assert!(refused("h", "[]", &long).contains("limit"));
        assert!(refused("h", "[]", r#"{"retries":[1,1]}"#).contains("a count or"));
        assert!(refused("h", "[]", r#"{"key":""}"#).contains("key"));
        assert!(refused("h", "[]", r#"{"key":"a\u0000b"}"#).contains("NUL"));
        assert!(refused("h", "[]", "[1").contains("push options"));
    }
}
