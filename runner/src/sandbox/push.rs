//! Child tasks: checked here, collected with the attempt, stored by others
//! together with its success.
//!
//! Everything that would make the database refuse a child is refused here, to
//! the guest that can still do something about it: in the transaction that
//! ends the attempt it would take the parent down.

use std::borrow::Cow;
use std::time::Duration;

use super::json;
use super::state::{State, lock};
use crate::task::{MAX_ARGS_BYTES, Name, NewTask, Retries};

/// Bytes of arguments that the children of one attempt may have in all; they
/// stand in the runner's memory until the attempt ends.
const MAX_CHILDREN_BYTES: usize = 8 << 20;
/// Bytes of the host's memory that a child takes besides its texts.
const CHILD_BYTES: u64 = 512;
/// Longest idempotency key, bytes.
const MAX_KEY_BYTES: usize = 512;
/// A century: keeps every delay inside what the database can add to now.
const MAX_DELAY_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// The options of one push, as the contract lists them.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    queue: Option<String>,
    priority: i32,
    delay_ms: Option<u64>,
    retries: Option<Retries>,
    key: Option<String>,
}

/// Notes one child. The error says to the guest's author what to change.
pub(super) fn push(
    state: &mut State,
    handler: &str,
    args: String,
    options: &str,
) -> Result<(), String> {
    let Some(attempt) = &state.attempt else {
        return Err("a plugin cannot push while it describes itself".to_owned());
    };
    let limit = state.limits.pushes;
    if state.children.len() >= limit as usize {
        return Err(format!(
            "this attempt has pushed {limit} tasks already, which is its limit; push one task that pushes the rest, or raise `pushes`"
        ));
    }
    if holds_a_secret(state, &args) {
        return Err("the arguments hold a secret, and would be stored; let the other handler ask for the secret itself".to_owned());
    }
    let bytes = state.children_bytes + args.len();
    if bytes > MAX_CHILDREN_BYTES {
        return Err(format!(
            "the tasks that this attempt pushes have more than {} MiB of arguments in all; store the data elsewhere and push a reference",
            MAX_CHILDREN_BYTES >> 20
        ));
    }
    let mut child = check(handler, args, options)?;
    child.parent = Some(attempt.task.id);
    let cost = (child.args.len() + child.key.as_ref().map_or(0, String::len)) as u64 + CHILD_BYTES;
    state.account.take(cost).map_err(|_| {
        format!(
            "the host keeps {} bytes for this attempt already, which is its limit; push less, or raise `host_bytes`",
            state.limits.host_bytes
        )
    })?;
    state.children.push(child);
    state.children_bytes = bytes;
    Ok(())
}

/// Whether a text that is to be stored has one of the attempt's secrets in it.
pub(super) fn holds_a_secret(state: &State, text: &str) -> bool {
    matches!(lock(&state.logs).hidden(text), Cow::Owned(_))
}

fn check(handler: &str, args: String, options: &str) -> Result<NewTask, String> {
    let handler = Name::new(handler).map_err(|error| format!("handler {error}"))?;
    if args.len() > MAX_ARGS_BYTES {
        return Err(format!(
            "the arguments have {} bytes, the limit is {MAX_ARGS_BYTES}; store the data elsewhere and push a reference",
            args.len()
        ));
    }
    json::check(&args).map_err(|error| format!("the arguments are not JSON: {error}"))?;
    let options = if options.is_empty() {
        Options::default()
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
    Ok(NewTask {
        queue: queue.map_err(|error| format!("queue {error}"))?,
        priority: options.priority,
        delay: options.delay_ms.map(Duration::from_millis),
        retries: options.retries,
        key: options.key,
        ..NewTask::new(handler, args)
    })
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
        let child = check("send", "[1]".into(), options).expect("valid");
        assert_eq!(child.queue.as_ref().map(Name::as_str), Some("mail"));
        assert_eq!((child.priority, child.key.as_deref()), (-5, Some("k")));
        assert_eq!(child.delay, Some(Duration::from_millis(1_500)));
        assert_eq!(child.retries, Some(Retries::Forever));
    }

    #[test]
    fn what_the_database_would_refuse_is_refused_here() {
        assert!(refused("a b", "1", "").starts_with("handler"));
        assert!(refused("h", "{", "").contains("not JSON"));
        assert!(refused("h", &"[".repeat(1_000), "").contains("deep"));
        assert!(refused("h", &format!("\"{}\"", "x".repeat(MAX_ARGS_BYTES)), "").contains("limit"));
        assert!(refused("h", "1", r#"{"queue":"a b"}"#).starts_with("queue"));
        assert!(refused("h", "1", r#"{"delay_ms":-1}"#).contains("push options"));
        assert!(refused("h", "1", r#"{"delay_ms":18446744073709551615}"#).contains("century"));
        assert!(refused("h", "1", r#"{"color":"red"}"#).contains("color"));
        assert!(refused("h", "1", r#"{"key":""}"#).contains("key"));
        assert!(refused("h", "1", r#"{"key":"a\u0000b"}"#).contains("NUL"));
        assert!(refused("h", "1", "[1").contains("push options"));
    }
}
