//! The child tasks of one attempt: collected while it runs, and stored by the engine
//! together with its success.

use std::collections::HashSet;
use std::sync::Arc;

use crate::attempt::state::{CapabilityContext, StoreData};
use crate::capability::push::child::check;
use crate::capability::push::rights::settle;
use pgtq_task::{Name, NewTask, PushFacts};

/// Maximum bytes of arguments of all children of one attempt; they stay in the runner's
/// memory until the attempt ends.
const MAX_CHILDREN_BYTES: usize = 8 << 20;
/// Bytes of host memory that a child takes besides its texts.
const CHILD_BYTES: u64 = 512;

/// The children of one attempt so far.
struct Children {
    tasks: Vec<NewTask>,
    /// Bytes of their arguments.
    bytes: usize,
    /// Their lanes: queue, handler and priority.
    lanes: HashSet<(Option<Name>, Name, i32)>,
}

impl CapabilityContext for Children {
    fn new(_: &StoreData) -> Self {
        Children {
            tasks: Vec::new(),
            bytes: 0,
            lanes: HashSet::new(),
        }
    }
}

/// Takes the children of an attempt that has ended.
pub(crate) fn take_children(state: &mut StoreData) -> Vec<NewTask> {
    let children = state.used_context::<Children>();
    children.map_or_else(Vec::new, |children| std::mem::take(&mut children.tasks))
}

/// Adds one child. The error tells the guest's author what to change.
pub(crate) fn push(
    state: &mut StoreData,
    handler: &str,
    args: String,
    options: &str,
) -> Result<(), String> {
    let Some(attempt) = &state.attempt else {
        return Err("a plugin cannot push while it describes itself".to_owned());
    };
    let parent = attempt.task.id;
    let limit = state.limits.pushes;
    let children = state.context::<Children>();
    let bytes = children.bytes + args.len();
    if children.tasks.len() >= limit as usize {
        return Err(format!(
            "this attempt has pushed {limit} tasks already, which is its limit; push one task that pushes the rest, or raise `limits.pushes`"
        ));
    }
    if state.logs.lock().holds_a_secret(&args) {
        return Err("the arguments contain a secret, and would be stored; let the other handler request the secret itself".to_owned());
    }
    if bytes > MAX_CHILDREN_BYTES {
        return Err(format!(
            "the tasks that this attempt pushes have more than {} MiB of arguments in all; store the data elsewhere and push a reference",
            MAX_CHILDREN_BYTES >> 20
        ));
    }
    let (mut child, priority) = check(handler, args, options)?;
    child.parent = Some(parent);
    let Some(access) = state.push_access() else {
        return Err("this attempt has no right to push".to_owned());
    };
    let facts = access.service::<Arc<PushFacts>>();
    facts.note_push();
    if let Err(denied) = settle(access, facts, &mut child, priority) {
        return Err(denied.report(state).message);
    }
    let full = facts.check(child.handler.as_str());
    full.map_err(|full| full.to_string())?;
    let lane = (child.queue.clone(), child.handler.clone(), child.priority);
    let most = state.limits.lanes as usize;
    let lanes = &state.context::<Children>().lanes;
    if lanes.len() >= most && !lanes.contains(&lane) {
        return Err(format!(
            "this attempt has pushed to {most} lanes already, which is its limit: a lane is a queue, a handler and a priority, and lanes that have tasks count too; push to fewer queues, push one task that pushes the rest, or raise `limits.lanes`"
        ));
    }
    let cost = (child.args.len() + child.key.as_ref().map_or(0, String::len)) as u64 + CHILD_BYTES;
    state.account.take(cost).map_err(|_| {
        format!(
            "the host keeps {} bytes for this attempt already, which is its limit; push less, or raise `limits.host_bytes`",
            state.limits.host_bytes
        )
    })?;
    let children = state.context::<Children>();
    children.lanes.insert(lane);
    children.tasks.push(child);
    children.bytes = bytes;
    Ok(())
}
