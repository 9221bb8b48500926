//! Tests of each rule, with a minimal run that violates only that rule.

use super::*;
use crate::workload::Kind;

/// Task 1 adds, 2 books with its child 3, 4 is rolled back after a crash.
fn good() -> Facts {
    let end = |id, state: &str, handler: &str, claim| Outcome {
        id,
        state: state.to_owned(),
        handler: handler.to_owned(),
        attempts: 1,
        crashes: 0,
        claim,
        parent: None,
        key: None,
        error: String::new(),
        result: String::new(),
        started: 20.0,
    };
    let one = |claim, kind: &str| Attempt {
        task: 4,
        claim,
        runner: 1,
        kind: kind.to_owned(),
        started: 5.0,
        ended: 4.5,
    };
    let mut facts = Facts {
        pushed: vec![(1, Kind::Add(2, 3)), (2, Kind::Book), (4, Kind::Undone)],
        undone: vec![9],
        outcomes: vec![
            end(1, "complete", "add_numbers", 1),
            end(2, "complete", "flaky.rows", 1),
            end(3, "complete", "flaky.rows", 2),
            end(4, "failed", "flaky.rows", 5),
        ],
        attempts: vec![one(3, "crash"), one(4, "error")],
        rows: vec![2, 3],
        kills: vec![crate::facts::Kill {
            at: 4.0,
            held: vec![(4, 3)],
        }],
        excused: BTreeSet::from([1]),
        ..Facts::default()
    };
    facts.outcomes[0].result = "5".to_owned();
    facts.outcomes[0].key = Some("k".to_owned());
    facts.outcomes[2].parent = Some(2);
    facts.outcomes[3].attempts = 2;
    facts
}

/// The rules violated by a changed run.
fn violated(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = good();
    change(&mut facts);
    let mut rules: Vec<&str> = check(&facts).iter().map(|found| found.rule).collect();
    rules.dedup();
    rules
}

#[test]
fn a_valid_run_violates_no_rule() {
    assert_eq!(check(&good()), []);
    assert_eq!(
        (good().rescues(), good().restarts()),
        (vec![0.5], vec![1.0])
    );
}

#[test]
fn a_task_without_an_outcome_is_lost() {
    let rules = violated(|facts| facts.pushed.push((7, Kind::Greet)));
    assert_eq!(rules, ["every acknowledged task has an outcome"]);
    let rules = violated(|facts| facts.undone.push(3));
    assert_eq!(rules, ["every acknowledged task has an outcome"]);
    // Its id was reused after a crash.
    assert!(violated(|facts| facts.undone.push(1)).is_empty());
    assert_eq!(
        violated(|facts| facts.left = [1, 0, 0, 0]),
        ["no task is left"]
    );
}

#[test]
fn duplicate_outcomes_and_keys_are_detected() {
    let rules = violated(|facts| facts.outcomes.push(facts.outcomes[0].clone()));
    assert_eq!(rules, ["each task has one outcome"]);
    let rules = violated(|facts| {
        let twin = Outcome {
            id: 8,
            ..facts.outcomes[0].clone()
        };
        facts.pushed.push((8, Kind::Add(2, 3)));
        facts.outcomes.push(twin);
    });
    assert_eq!(rules, ["each task has one outcome"]);
}

#[test]
fn a_task_without_a_push_is_detected() {
    let unpushed = |facts: &mut Facts| {
        facts.pushed.remove(0);
    };
    assert_eq!(violated(unpushed), ["every task was pushed"]);
    let excused = |facts: &mut Facts| {
        unpushed(facts);
        facts.n_unknown = 1;
    };
    assert!(violated(excused).is_empty());
}

#[test]
fn a_wrong_outcome_is_detected_except_after_three_crashes() {
    let wrong = |facts: &mut Facts| facts.outcomes[0].result = "6".to_owned();
    assert_eq!(violated(wrong), ["outcomes are those of the handlers"]);
    let blamed = |facts: &mut Facts| {
        let end = &mut facts.outcomes[0];
        (end.state, end.error) = ("failed".to_owned(), "crash".to_owned());
        end.crashes = 3;
    };
    assert!(violated(blamed).is_empty());
}

#[test]
fn missing_children_and_rows_are_detected() {
    let twins = |facts: &mut Facts| {
        let twin = Outcome {
            id: 5,
            ..facts.outcomes[2].clone()
        };
        facts.outcomes.push(twin);
        facts.rows.push(5);
    };
    assert_eq!(
        violated(twins),
        ["children are committed with their parent"]
    );
    for change in [2, 4, 77] {
        let rules = violated(|facts| facts.rows.push(change));
        assert_eq!(
            rules,
            ["effects are committed with the outcome"],
            "{change}"
        );
    }
    let rules = violated(|facts| facts.rows.clear());
    assert_eq!(rules, ["effects are committed with the outcome"]);
}

#[test]
fn a_stale_outcome_is_detected() {
    let rule = ["stale outcomes are discarded"];
    assert_eq!(violated(|facts| facts.outcomes[3].claim = 4), rule);
    assert_eq!(violated(|facts| facts.outcomes[3].claim = 3), rule);
    let again = |facts: &mut Facts| facts.attempts.push(facts.attempts[0].clone());
    assert_eq!(violated(again), rule);
}

#[test]
fn unexplained_attempts_and_crashes_are_detected() {
    let uncounted = |facts: &mut Facts| facts.outcomes[2].attempts = 2;
    assert_eq!(violated(uncounted), ["attempts are counted"]);
    let rules = violated(|facts| facts.excused.clear());
    assert_eq!(rules, ["valid leases are respected"]);
    let rules = violated(|facts| facts.seen.push("task 1 ran again".to_owned()));
    assert_eq!(rules, ["final tasks do not change"]);
}

#[test]
fn a_late_rescue_is_detected() {
    let rules = violated(|facts| facts.attempts[0].ended += 100.0);
    assert_eq!(rules, ["tasks of crashed runners are rescued"]);
}
