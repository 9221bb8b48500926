//! Judges what a run has left. Pure: facts go in, violations come out.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{End, Facts, Try};

/// Something that must never be: which promise, and what broke it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

/// A rule that is broken by these.
fn broken(rule: &'static str, what: impl IntoIterator<Item = String>) -> Vec<Violation> {
    let all = what.into_iter();
    all.map(|what| Violation { rule, what }).collect()
}

/// Every rule.
pub(crate) fn check(facts: &Facts) -> Vec<Violation> {
    let seen = broken("nothing changes after its end", facts.seen.iter().cloned());
    [
        lost(facts),
        left(facts),
        doubled(facts),
        strangers(facts),
        promises(facts),
        families(facts),
        effects(facts),
        fences(facts),
        counts(facts),
        unexplained(facts),
        late(facts),
        seen,
    ]
    .concat()
}

fn by_id(facts: &Facts) -> BTreeMap<i64, &End> {
    facts.ends.iter().map(|end| (end.id, end)).collect()
}

/// What was acknowledged has ended; what was rolled back never was. A sequence that
/// only undone transactions have moved may go back when the server crashes: the
/// id of a push that was rolled back can then be that of another, acknowledged one.
fn lost(facts: &Facts) -> Vec<Violation> {
    let ends = by_id(facts);
    let lost = facts.pushed.iter().filter(|(id, _)| !ends.contains_key(id));
    let lost = lost.map(|(id, kind)| format!("task {id} ({kind:?}) has no end"));
    let given_out_again = |id: &i64| facts.pushed.iter().any(|(pushed, _)| pushed == id);
    let undone = facts.undone.iter();
    let undone = undone.filter(|id| ends.contains_key(id) && !given_out_again(id));
    let undone = undone.map(|id| format!("task {id} was rolled back and has run"));
    broken("an acknowledged task ends", lost.chain(undone))
}

/// The lease of a dead runner, the pauses of who looks for it, and what the database
/// itself was down for: several times what has been seen. In seconds.
const TAKEN_BACK: f64 = 90.0;

/// What a dead runner held is taken back soon, by the database's clock.
fn late(facts: &Facts) -> Vec<Violation> {
    let late = facts.rescues().into_iter().filter(|at| *at > TAKEN_BACK);
    broken(
        "tasks of the dead are taken back",
        late.map(|at| format!("one was after {at:.0} s")),
    )
}

/// Nothing is left where tasks wait or run.
fn left(facts: &Facts) -> Vec<Violation> {
    let places = ["claims", "popped", "runnable", "scheduled"].into_iter();
    let left = places.zip(facts.left).filter(|(_, n)| *n > 0);
    broken(
        "nothing is left",
        left.map(|(place, n)| format!("{n} rows in {place}")),
    )
}

/// One end for each task, one task for each key.
fn doubled(facts: &Facts) -> Vec<Violation> {
    let mut ids = BTreeSet::new();
    let twice = facts.ends.iter().filter(|end| !ids.insert(end.id));
    let twice = twice.map(|end| format!("task {} ended again under claim {}", end.id, end.claim));
    let mut keys = BTreeMap::new();
    let keyed = facts
        .ends
        .iter()
        .filter_map(|end| Some((end.key.as_ref()?, end.id)));
    let same = keyed.filter_map(|(key, id)| {
        let first = *keys.entry(key).or_insert(id);
        (first != id).then(|| format!("tasks {first} and {id} have the key {key}"))
    });
    broken("a task ends once", twice.chain(same))
}

/// Every task was pushed by somebody.
fn strangers(facts: &Facts) -> Vec<Violation> {
    let known: BTreeSet<i64> = facts.pushed.iter().map(|(id, _)| *id).collect();
    let roots = facts.ends.iter().filter(|end| end.parent.is_none());
    let ids: BTreeSet<i64> = roots.map(|end| end.id).collect();
    let n_strangers = ids.difference(&known).count();
    let too_many = n_strangers > facts.n_unknown;
    let what = format!(
        "{n_strangers} tasks of no known push; {} pushes had no answer",
        facts.n_unknown
    );
    broken("a task was pushed", too_many.then_some(what))
}

/// Failed for what its runners died of, as three lone crashes demand.
fn is_blamed(end: &End) -> bool {
    end.state == "failed" && end.error == "crash" && end.crashes >= 3
}

/// Each kind has the end, the result and the attempts that it must have.
fn promises(facts: &Facts) -> Vec<Violation> {
    let ends = by_id(facts);
    let pairs = facts.pushed.iter();
    let pairs = pairs.filter_map(|(id, kind)| Some((*ends.get(id)?, kind)));
    let wrong = pairs.filter_map(|(end, kind)| {
        let promise = kind.promise();
        let result = promise.result.as_ref();
        let kept = end.state == promise.state
            && result.is_none_or(|result| *result == end.result)
            && promise.attempts.is_none_or(|n| n == end.attempts);
        let kept = kept || is_blamed(end);
        (!kept).then(|| format!("{kind:?}: {end:?}"))
    });
    broken("a task ends as its handler decides", wrong)
}

/// The children of those that completed are all there, those of others never were.
fn families(facts: &Facts) -> Vec<Violation> {
    let mut children: BTreeMap<i64, usize> = BTreeMap::new();
    for parent in facts.ends.iter().filter_map(|end| end.parent) {
        *children.entry(parent).or_default() += 1;
    }
    let ends = by_id(facts);
    let pairs = facts.pushed.iter();
    let pairs = pairs.filter_map(|(id, kind)| Some((*ends.get(id)?, kind)));
    let wrong = pairs.filter_map(|(end, kind)| {
        let n = children.get(&end.id).copied().unwrap_or_default();
        let wanted = match end.state.as_str() {
            "complete" => kind.promise().children,
            _ => 0,
        };
        (n != wanted).then(|| format!("task {} has {n} children, not {wanted}", end.id))
    });
    broken("children come with their parent's end", wrong)
}

/// One row for each task that inserts one and completed, none for others.
fn effects(facts: &Facts) -> Vec<Violation> {
    let mut rows: BTreeMap<i64, usize> = BTreeMap::new();
    for task in &facts.rows {
        *rows.entry(*task).or_default() += 1;
    }
    let with = facts.ends.iter().filter(|end| end.handler == "flaky.rows");
    let wrong = with.filter_map(|end| {
        let n = rows.get(&end.id).copied().unwrap_or_default();
        let wanted = usize::from(end.state == "complete");
        (n != wanted).then(|| format!("task {} is {} and has {n} rows", end.id, end.state))
    });
    let ends = by_id(facts);
    let orphans = rows.keys().filter(|id| !ends.contains_key(id));
    let orphans = orphans.map(|id| format!("task {id} has a row and no end"));
    let wrong: Vec<String> = wrong.chain(orphans).collect();
    broken("effects and outcome are one", wrong)
}

/// One ending for each task under each claim, the last one under the newest.
fn fences(facts: &Facts) -> Vec<Violation> {
    let mut endings = BTreeSet::new();
    let again = facts
        .tries
        .iter()
        .filter(|one| !endings.insert((one.task, one.claim)));
    let again: Vec<String> = again
        .map(|one| format!("task {} ended again under claim {}", one.task, one.claim))
        .collect();
    let stale = facts.ends.iter().filter(|end| end.claim != 0);
    let stale = stale.filter(|end| {
        let newest = endings.range((end.id, i64::MIN)..=(end.id, i64::MAX));
        newest.last().is_some_and(|(_, claim)| *claim >= end.claim)
    });
    let stale = stale.map(|end| {
        format!(
            "task {} ended under claim {}, an old one",
            end.id, end.claim
        )
    });
    broken("no stale ending counts", again.into_iter().chain(stale))
}

/// Attempts that count are counted, others are not.
fn counts(facts: &Facts) -> Vec<Violation> {
    let mut counted: BTreeMap<i64, i32> = BTreeMap::new();
    for one in facts.tries.iter().filter(|one| is_counted(one)) {
        *counted.entry(one.task).or_default() += 1;
    }
    let complete = facts.ends.iter().filter(|end| end.state == "complete");
    let wrong = complete.filter_map(|end| {
        let wanted = counted.get(&end.id).copied().unwrap_or_default() + 1;
        (end.attempts != wanted).then(|| {
            format!(
                "task {} says {} attempts, not {wanted}",
                end.id, end.attempts
            )
        })
    });
    broken("attempts are counted", wrong)
}

fn is_counted(one: &Try) -> bool {
    !["release", "isolate", "snooze", "lost", "crash"].contains(&one.kind.as_str())
}

/// Nobody loses a task to rescue who was not killed, stopped or cut off.
fn unexplained(facts: &Facts) -> Vec<Violation> {
    let lost = |one: &&Try| ["lost", "crash"].contains(&one.kind.as_str());
    let crashes = facts.tries.iter().filter(lost);
    let wrong = crashes.filter(|one| !facts.excused.contains(&one.runner));
    let wrong = wrong.map(|one| {
        format!(
            "task {} was taken from runner {}, to which nothing had happened",
            one.task, one.runner
        )
    });
    broken("a lease that holds is respected", wrong)
}

#[cfg(test)]
mod tests;
