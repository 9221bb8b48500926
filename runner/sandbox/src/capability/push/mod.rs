//! Child tasks: validated here, collected with the attempt, and stored by the engine
//! together with its success.
//!
//! Every child that the database would reject is rejected here, to the guest, which can
//! still react: in the transaction that ends the attempt it would make the parent fail.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::attempt::access::{Denied, list};
use crate::attempt::state::State;
use crate::json;
use pgtq_task::{
    GrantBook, HandlerInfo, HandlerRule, MAX_ARGS_BYTES, Name, NewTask, PushDefaults, PushFacts,
    PushRule, Retries,
};

/// Maximum bytes of arguments of all children of one attempt; they stay in the runner's
/// memory until the attempt ends.
const MAX_CHILDREN_BYTES: usize = 8 << 20;
/// Bytes of host memory that a child takes besides its texts.
const CHILD_BYTES: u64 = 512;
/// The longest options of one push, in bytes: several times the size of a key and names.
const MAX_OPTIONS_BYTES: usize = 4 << 10;
/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 512;
/// A century: keeps every delay within what the database can add to now.
const MAX_DELAY_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// The handlers of one plugin file, with what each declares for pushes to it.
pub(crate) type OwnHandlers = Arc<BTreeMap<Name, PushDefaults>>;

/// All handlers of one file.
pub(crate) fn own_handlers(handlers: &[HandlerInfo]) -> OwnHandlers {
    let own = handlers.iter();
    Arc::new(
        own.map(|info| (info.name.clone(), info.push.clone()))
            .collect(),
    )
}

/// What one handler may push, before grants.
pub(crate) struct PushRights {
    /// The plugin's name in grants.
    plugin: Arc<str>,
    own: OwnHandlers,
    /// The handler that pushes.
    info: Arc<HandlerInfo>,
    facts: Arc<PushFacts>,
}

impl PushRights {
    pub(crate) fn new(
        plugin: Arc<str>,
        own: OwnHandlers,
        info: Arc<HandlerInfo>,
        facts: Arc<PushFacts>,
    ) -> Self {
        PushRights {
            plugin,
            own,
            info,
            facts,
        }
    }

    /// The same for a file of another name.
    pub(crate) fn renamed(&self, plugin: Arc<str>) -> Self {
        PushRights {
            plugin,
            own: Arc::clone(&self.own),
            info: Arc::clone(&self.info),
            facts: Arc::clone(&self.facts),
        }
    }
}

/// What one attempt may push, by the grants as of its start.
#[derive(Clone)]
pub(crate) struct Pusher {
    rights: Arc<PushRights>,
    book: Arc<GrantBook>,
}

impl Pusher {
    pub(crate) fn new(rights: Arc<PushRights>, book: Arc<GrantBook>) -> Self {
        Pusher { rights, book }
    }

    /// The plugin's name in grants.
    pub(crate) fn plugin(&self) -> &str {
        &self.rights.plugin
    }

    /// Applies what the child's handler declares, and puts its key into the plugin's
    /// scope, unless the operator shares the applications' keys. An error if the push
    /// goes to another plugin's handler and is not both requested and granted.
    fn settle(&self, child: &mut NewTask, priority: Option<i32>) -> Result<(), Denied> {
        let PushRights {
            plugin,
            own,
            info,
            facts,
        } = &*self.rights;
        let handler = child.handler.as_str();
        let own = own
            .get(handler)
            .filter(|_| !facts.is_served_elsewhere(handler));
        // What handlers of other plugins declare is not known here.
        let others = PushDefaults::default();
        let defaults = own.unwrap_or(&others);
        child.priority = priority.unwrap_or(defaults.priority);
        if child.queue.is_none() {
            child.queue.clone_from(&defaults.queue);
        }
        let queue = child.queue.as_ref().map_or("default", Name::as_str);
        let priority = child.priority;
        let allows = |rule: &&PushRule| rule.allows(handler, queue, priority, defaults);

        let granted: &[PushRule] = match self.book.plugins.get(&**plugin) {
            Some(grant) => &grant.push,
            None => &[],
        };
        let is_shared = |rule: &PushRule| rule.shared_keys && allows(&rule);
        if child.key.is_some() && !granted.iter().any(is_shared) {
            child.key_scope = Some(Arc::clone(plugin));
        }
        let is_free = own.is_some_and(|declared| declared.are_free(queue, priority));
        let grants = is_free || granted.iter().any(|rule| allows(&rule));
        // What a handler declares for itself counts as requested.
        let is_declared =
            own.is_some_and(|declared| declared.queue() == queue && priority >= declared.priority);
        let asks = is_free || is_declared || info.needs.push.iter().any(|rule| allows(&rule));
        if asks && grants {
            return Ok(());
        }
        let rule = PushRule {
            handlers: HandlerRule::Exactly(child.handler.clone()),
            queues: match defaults.queue() == queue {
                true => Vec::new(),
                false => child.queue.iter().cloned().collect(),
            },
            priority: (priority < defaults.priority.max(0)).then_some(priority),
            shared_keys: false,
        }
        .to_string();
        let rules: Vec<String> = granted.iter().map(PushRule::to_string).collect();
        Err(Denied {
            what: format!("push {rule}"),
            need: (!asks).then(|| format!("push = \"{rule}\"")),
            grant: (!grants).then(|| list("push", rules, rule)),
        })
    }
}

/// The options of one push, as the contract lists them.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    queue: Option<String>,
    priority: Option<i32>,
    delay_ms: Option<u64>,
    retries: Option<Retries>,
    key: Option<String>,
}

/// Adds one child. The error tells the guest's author what to change.
pub(crate) fn push(
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
        return Err("the arguments contain a secret, and would be stored; let the other handler request the secret itself".to_owned());
    }
    let bytes = state.children_bytes + args.len();
    if bytes > MAX_CHILDREN_BYTES {
        return Err(format!(
            "the tasks that this attempt pushes have more than {} MiB of arguments in all; store the data elsewhere and push a reference",
            MAX_CHILDREN_BYTES >> 20
        ));
    }
    let (mut child, priority) = check(handler, args, options)?;
    child.parent = Some(attempt.task.id);
    let Some(pusher) = &state.pusher else {
        return Err("this attempt has no right to push".to_owned());
    };
    pusher.rights.facts.note_push();
    if let Err(denied) = pusher.settle(&mut child, priority) {
        return Err(denied.report(state).message);
    }
    let full = pusher.rights.facts.check(child.handler.as_str());
    full.map_err(|full| full.to_string())?;
    let lane = (child.queue.clone(), child.handler.clone(), child.priority);
    let most = state.limits.lanes as usize;
    if state.child_lanes.len() >= most && !state.child_lanes.contains(&lane) {
        return Err(format!(
            "this attempt has pushed to {most} lanes already, which is its limit: a lane is a queue, a handler and a priority, and lanes that have tasks count too; push to fewer queues, push one task that pushes the rest, or raise `lanes`"
        ));
    }
    let cost = (child.args.len() + child.key.as_ref().map_or(0, String::len)) as u64 + CHILD_BYTES;
    state.account.take(cost).map_err(|_| {
        format!(
            "the host keeps {} bytes for this attempt already, which is its limit; push less, or raise `host_bytes`",
            state.limits.host_bytes
        )
    })?;
    state.child_lanes.insert(lane);
    state.children.push(child);
    state.children_bytes = bytes;
    Ok(())
}

/// Whether a text that is to be stored contains one of the attempt's secrets.
pub(crate) fn holds_a_secret(state: &State, text: &str) -> bool {
    matches!(state.logs.lock().hidden(text), Cow::Owned(_))
}

/// The child without the parts that rights decide, and the priority that it requests.
fn check(handler: &str, args: String, options: &str) -> Result<(NewTask, Option<i32>), String> {
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
