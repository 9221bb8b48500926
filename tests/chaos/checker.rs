//! Checks the facts of a run against the rules. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{Attempt, Facts, Outcome};

/// A violation: the rule, and what violates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

/// The violations of a rule.
fn broken(rule: &'static str, what: impl IntoIterator<Item = String>) -> Vec<Violation> {
    let all = what.into_iter();
    all.map(|what| Violation { rule, what }).collect()
}

/// Checks all rules.
pub(crate) fn check(facts: &Facts) -> Vec<Violation> {
    let seen = broken("final tasks do not change", facts.seen.iter().cloned());
    [
        lost(facts),
        left(facts),
        duplicates(facts),
        unpushed(facts),
        wrong_outcomes(facts),
        children(facts),
        effects(facts),
        stale_outcomes(facts),
        counts(facts),
        unexplained_crashes(facts),
        late_rescues(facts),
        seen,
    ]
    .concat()
}

fn by_id(facts: &Facts) -> BTreeMap<i64, &Outcome> {
    facts.outcomes.iter().map(|end| (end.id, end)).collect()
}

/// Every acknowledged task has an outcome, and no rolled back one has. A server crash can
/// reset a sequence that only rolled back transactions have advanced, so the id of a
/// rolled back push may be reused by an acknowledged one.
fn lost(facts: &Facts) -> Vec<Violation> {
    let outcomes = by_id(facts);
    let lost = facts
        .pushed
        .iter()
        .filter(|(id, _)| !outcomes.contains_key(id));
    let lost = lost.map(|(id, kind)| format!("task {id} ({kind:?}) has no outcome"));
    let is_reused = |id: &i64| facts.pushed.iter().any(|(pushed, _)| pushed == id);
    let undone = facts.undone.iter();
    let undone = undone.filter(|id| outcomes.contains_key(id) && !is_reused(id));
    let undone = undone.map(|id| format!("task {id} was rolled back and has run"));
    broken("every acknowledged task has an outcome", lost.chain(undone))
}

/// The longest time until a rescue, in seconds: the lease, the interval of rescues and the
/// downtime of the database. Several times the observed maximum.
const MAX_RESCUE: f64 = 90.0;

/// Tasks of a crashed runner are rescued in time, by the database's clock.
fn late_rescues(facts: &Facts) -> Vec<Violation> {
    let late = facts.rescues().into_iter().filter(|at| *at > MAX_RESCUE);
    broken(
        "tasks of crashed runners are rescued",
        late.map(|at| format!("one was after {at:.0} s")),
    )
}

/// No waiting or running task is left.
fn left(facts: &Facts) -> Vec<Violation> {
    let places = ["claims", "popped", "runnable", "scheduled"].into_iter();
    let left = places.zip(facts.left).filter(|(_, n)| *n > 0);
    broken(
        "no task is left",
        left.map(|(place, n)| format!("{n} rows in {place}")),
    )
}

/// Each task has one outcome, each key one task.
fn duplicates(facts: &Facts) -> Vec<Violation> {
    let mut ids = BTreeSet::new();
    let twice = facts.outcomes.iter().filter(|end| !ids.insert(end.id));
    let twice = twice.map(|end| format!("task {} ended again under claim {}", end.id, end.claim));
    let mut keys = BTreeMap::new();
    let keyed = facts
        .outcomes
        .iter()
        .filter_map(|end| Some((end.key.as_ref()?, end.id)));
    let same = keyed.filter_map(|(key, id)| {
        let first = *keys.entry(key).or_insert(id);
        (first != id).then(|| format!("tasks {first} and {id} have the key {key}"))
    });
    broken("each task has one outcome", twice.chain(same))
}

/// Every task without a parent was pushed.
fn unpushed(facts: &Facts) -> Vec<Violation> {
    let known: BTreeSet<i64> = facts.pushed.iter().map(|(id, _)| *id).collect();
    let roots = facts.outcomes.iter().filter(|end| end.parent.is_none());
    let ids: BTreeSet<i64> = roots.map(|end| end.id).collect();
    let n_unpushed = ids.difference(&known).count();
    let too_many = n_unpushed > facts.n_unknown;
    let what = format!(
        "{n_unpushed} tasks of no known push; {} pushes had no answer",
        facts.n_unknown
    );
    broken("every task was pushed", too_many.then_some(what))
}

/// Whether the task failed because of three crashes, which is allowed.
fn is_blamed(end: &Outcome) -> bool {
    end.state == "failed" && end.error == "crash" && end.crashes >= 3
}

/// The outcome of each task is the expected one of its kind.
fn wrong_outcomes(facts: &Facts) -> Vec<Violation> {
    let outcomes = by_id(facts);
    let pairs = facts.pushed.iter();
    let pairs = pairs.filter_map(|(id, kind)| Some((*outcomes.get(id)?, kind)));
    let wrong = pairs.filter_map(|(end, kind)| {
        let expected = kind.expected();
        let result = expected.result.as_ref();
        let kept = end.state == expected.state
            && result.is_none_or(|result| *result == end.result)
            && expected.attempts.is_none_or(|n| n == end.attempts);
        let kept = kept || is_blamed(end);
        (!kept).then(|| format!("{kind:?}: {end:?}"))
    });
    broken("outcomes are those of the handlers", wrong)
}

/// Completed parents have all their children, others have none.
fn children(facts: &Facts) -> Vec<Violation> {
    let mut children: BTreeMap<i64, usize> = BTreeMap::new();
    for parent in facts.outcomes.iter().filter_map(|end| end.parent) {
        *children.entry(parent).or_default() += 1;
    }
    let outcomes = by_id(facts);
    let pairs = facts.pushed.iter();
    let pairs = pairs.filter_map(|(id, kind)| Some((*outcomes.get(id)?, kind)));
    let wrong = pairs.filter_map(|(end, kind)| {
        let n = children.get(&end.id).copied().unwrap_or_default();
        let wanted = match end.state.as_str() {
            "complete" => kind.expected().children,
            _ => 0,
        };
        (n != wanted).then(|| format!("task {} has {n} children, not {wanted}", end.id))
    });
    broken("children are committed with their parent", wrong)
}

/// Each completed task that inserts a row has one, others have none.
fn effects(facts: &Facts) -> Vec<Violation> {
    let mut rows: BTreeMap<i64, usize> = BTreeMap::new();
    for task in &facts.rows {
        *rows.entry(*task).or_default() += 1;
    }
    let with = facts
        .outcomes
        .iter()
        .filter(|end| end.handler == "flaky.rows");
    let wrong = with.filter_map(|end| {
        let n = rows.get(&end.id).copied().unwrap_or_default();
        let wanted = usize::from(end.state == "complete");
        (n != wanted).then(|| format!("task {} is {} and has {n} rows", end.id, end.state))
    });
    let outcomes = by_id(facts);
    let orphans = rows.keys().filter(|id| !outcomes.contains_key(id));
    let orphans = orphans.map(|id| format!("task {id} has a row and no outcome"));
    let wrong: Vec<String> = wrong.chain(orphans).collect();
    broken("effects are committed with the outcome", wrong)
}

/// Each task has one outcome per claim, and its final outcome has the newest claim.
fn stale_outcomes(facts: &Facts) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let again = facts
        .attempts
        .iter()
        .filter(|one| !seen.insert((one.task, one.claim)));
    let again: Vec<String> = again
        .map(|one| format!("task {} ended again under claim {}", one.task, one.claim))
        .collect();
    let stale = facts.outcomes.iter().filter(|end| end.claim != 0);
    let stale = stale.filter(|end| {
        let newest = seen.range((end.id, i64::MIN)..=(end.id, i64::MAX));
        newest.last().is_some_and(|(_, claim)| *claim >= end.claim)
    });
    let stale = stale.map(|end| {
        format!(
            "task {} ended under claim {}, an old one",
            end.id, end.claim
        )
    });
    broken(
        "stale outcomes are discarded",
        again.into_iter().chain(stale),
    )
}

/// The attempt counts of completed tasks are correct.
fn counts(facts: &Facts) -> Vec<Violation> {
    let mut counted: BTreeMap<i64, i32> = BTreeMap::new();
    for one in facts.attempts.iter().filter(|one| is_counted(one)) {
        *counted.entry(one.task).or_default() += 1;
    }
    let complete = facts.outcomes.iter().filter(|end| end.state == "complete");
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

fn is_counted(one: &Attempt) -> bool {
    !["release", "isolate", "snooze", "lost", "crash"].contains(&one.kind.as_str())
}

/// Only runners that were killed, stopped or disconnected lose tasks to a rescue.
fn unexplained_crashes(facts: &Facts) -> Vec<Violation> {
    let lost = |one: &&Attempt| ["lost", "crash"].contains(&one.kind.as_str());
    let crashes = facts.attempts.iter().filter(lost);
    let wrong = crashes.filter(|one| !facts.excused.contains(&one.runner));
    let wrong = wrong.map(|one| {
        format!(
            "task {} was taken from runner {}, which had no fault",
            one.task, one.runner
        )
    });
    broken("valid leases are respected", wrong)
}

#[cfg(test)]
mod tests;
