//! Each rule, broken by the smallest run that breaks it and no other.

use super::*;
use crate::workload::Kind;

/// Task 1 adds, 2 books with its child 3, 4 is undone after a crash.
fn good() -> Facts {
    let end = |id, state: &str, handler: &str, claim| End {
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
    let one = |claim, kind: &str| Try {
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
        ends: vec![
            end(1, "complete", "add_numbers", 1),
            end(2, "complete", "flaky.rows", 1),
            end(3, "complete", "flaky.rows", 2),
            end(4, "failed", "flaky.rows", 5),
        ],
        tries: vec![one(3, "crash"), one(4, "error")],
        rows: vec![2, 3],
        deaths: vec![crate::facts::Death {
            at: 4.0,
            held: vec![(4, 3)],
        }],
        excused: BTreeSet::from([1]),
        ..Facts::default()
    };
    facts.ends[0].result = "5".to_owned();
    facts.ends[0].key = Some("k".to_owned());
    facts.ends[2].parent = Some(2);
    facts.ends[3].attempts = 2;
    facts
}

/// The rules that a changed run breaks.
fn breaks(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = good();
    change(&mut facts);
    let mut rules: Vec<&str> = check(&facts).iter().map(|found| found.rule).collect();
    rules.dedup();
    rules
}

#[test]
fn a_good_run_breaks_nothing() {
    assert_eq!(check(&good()), []);
    assert_eq!(
        (good().rescues(), good().restarts()),
        (vec![0.5], vec![1.0])
    );
}

#[test]
fn a_task_without_an_end_is_lost() {
    let rules = breaks(|facts| facts.pushed.push((7, Kind::Greet)));
    assert_eq!(rules, ["an acknowledged task ends"]);
    let rules = breaks(|facts| facts.undone.push(3));
    assert_eq!(rules, ["an acknowledged task ends"]);
    // Its id was given out again after a crash.
    assert!(breaks(|facts| facts.undone.push(1)).is_empty());
    assert_eq!(
        breaks(|facts| facts.left = [1, 0, 0, 0]),
        ["nothing is left"]
    );
}

#[test]
fn a_task_ends_once_and_a_key_makes_one() {
    let rules = breaks(|facts| facts.ends.push(facts.ends[0].clone()));
    assert_eq!(rules, ["a task ends once"]);
    let rules = breaks(|facts| {
        let twin = End {
            id: 8,
            ..facts.ends[0].clone()
        };
        facts.pushed.push((8, Kind::Add(2, 3)));
        facts.ends.push(twin);
    });
    assert_eq!(rules, ["a task ends once"]);
}

#[test]
fn a_task_that_nobody_pushed_is_a_stranger() {
    let stranger = |facts: &mut Facts| {
        facts.pushed.remove(0);
    };
    assert_eq!(breaks(stranger), ["a task was pushed"]);
    let excused = |facts: &mut Facts| {
        stranger(facts);
        facts.n_unknown = 1;
    };
    assert!(breaks(excused).is_empty());
}

#[test]
fn a_task_ends_as_it_must_unless_it_is_blamed() {
    let wrong = |facts: &mut Facts| facts.ends[0].result = "6".to_owned();
    assert_eq!(breaks(wrong), ["a task ends as its handler decides"]);
    let blamed = |facts: &mut Facts| {
        let end = &mut facts.ends[0];
        (end.state, end.error) = ("failed".to_owned(), "crash".to_owned());
        end.crashes = 3;
    };
    assert!(breaks(blamed).is_empty());
}

#[test]
fn children_and_rows_come_with_the_end() {
    let twins = |facts: &mut Facts| {
        let twin = End {
            id: 5,
            ..facts.ends[2].clone()
        };
        facts.ends.push(twin);
        facts.rows.push(5);
    };
    assert_eq!(breaks(twins), ["children come with their parent's end"]);
    for change in [2, 4, 77] {
        let rules = breaks(|facts| facts.rows.push(change));
        assert_eq!(rules, ["effects and outcome are one"], "{change}");
    }
    let rules = breaks(|facts| facts.rows.clear());
    assert_eq!(rules, ["effects and outcome are one"]);
}

#[test]
fn a_stale_ending_shows() {
    let rule = ["no stale ending counts"];
    assert_eq!(breaks(|facts| facts.ends[3].claim = 4), rule);
    assert_eq!(breaks(|facts| facts.ends[3].claim = 3), rule);
    let again = |facts: &mut Facts| facts.tries.push(facts.tries[0].clone());
    assert_eq!(breaks(again), rule);
}

#[test]
fn attempts_and_crashes_need_their_reasons() {
    let uncounted = |facts: &mut Facts| facts.ends[2].attempts = 2;
    assert_eq!(breaks(uncounted), ["attempts are counted"]);
    let rules = breaks(|facts| facts.excused.clear());
    assert_eq!(rules, ["a lease that holds is respected"]);
    let rules = breaks(|facts| facts.seen.push("task 1 ran again".to_owned()));
    assert_eq!(rules, ["nothing changes after its end"]);
}

#[test]
fn a_task_that_is_taken_back_too_late_shows() {
    let rules = breaks(|facts| facts.tries[0].ended += 100.0);
    assert_eq!(rules, ["tasks of the dead are taken back"]);
}
