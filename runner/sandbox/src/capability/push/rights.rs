//! Which pushes an attempt may make, by what its handler requests, the pushed handler
//! declares and the operator grants.

use crate::attempt::access::Access;
use crate::attempt::denied::{Denied, list};
use pgtq_task::{HandlerRule, Name, NewTask, PushDefaults, PushFacts, PushRule};

/// Applies what the child's handler declares, and puts its key into the plugin's scope,
/// unless the operator shares the applications' keys. An error if the push goes to
/// another plugin's handler and is not both requested and granted.
pub(super) fn settle(
    access: &Access,
    facts: &PushFacts,
    child: &mut NewTask,
    priority: Option<i32>,
) -> Result<(), Denied> {
    let handler = child.handler.as_str();
    let own = access
        .own_handlers()
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

    let granted: &[PushRule] = &access.grant().push;
    let is_shared = |rule: &PushRule| rule.shared_keys && allows(&rule);
    if child.key.is_some() && !granted.iter().any(is_shared) {
        child.key_scope = Some(access.plugin().clone());
    }
    let is_free = own.is_some_and(|declared| declared.are_free(queue, priority));
    let grants = is_free || granted.iter().any(|rule| allows(&rule));
    // What a handler declares for itself counts as requested.
    let is_declared =
        own.is_some_and(|declared| declared.queue() == queue && priority >= declared.priority);
    let requested = &access.needs().push;
    let asks = is_free || is_declared || requested.iter().any(|rule| allows(&rule));
    if asks && grants {
        return Ok(());
    }
    let rule = narrowest(child, defaults);
    let rules: Vec<String> = granted.iter().map(PushRule::to_string).collect();
    Err(Denied {
        what: format!("push {rule}"),
        need: (!asks).then(|| format!("push = \"{rule}\"")),
        grant: (!grants).then(|| list("push", rules, rule)),
    })
}

/// The rule that allows pushes like this one and no others, as it is written.
fn narrowest(child: &NewTask, defaults: &PushDefaults) -> String {
    let queue = child.queue.as_ref().map_or("default", Name::as_str);
    let priority = child.priority;
    let rule = PushRule {
        handlers: HandlerRule::Exactly(child.handler.clone()),
        queues: match defaults.queue() == queue {
            true => Vec::new(),
            false => child.queue.iter().cloned().collect(),
        },
        priority: (priority < defaults.priority.max(0)).then_some(priority),
        shared_keys: false,
    };
    rule.to_string()
}
