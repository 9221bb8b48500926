use super::*;
use crate::verbs::lanes::sweep::{LanePosition, Slice};

fn key(handler: &str, priority: i32) -> LaneKey {
    LaneKey {
        priority,
        queue: "q".to_owned(),
        handler: handler.to_owned(),
    }
}

fn run(handler: &str, position: i64) -> LaneRun {
    LaneRun {
        key: key(handler, 0),
        n: 1,
        last: position,
    }
}

fn lanes(found: &[(&str, i32, i64)]) -> Lanes {
    let mut lanes = Lanes::new(QueueFilter::Except(Vec::new()));
    find(&mut lanes, found);
    lanes
}

/// A complete sweep that finds these lanes.
fn find(lanes: &mut Lanes, found: &[(&str, i32, i64)]) {
    let ranges = lanes.ranges();
    let found = found
        .iter()
        .map(|(handler, priority, first)| (key(handler, *priority), *first))
        .collect();
    let slice = Slice {
        found,
        stopped: None,
    };
    lanes.swept(&ranges, slice, Duration::ZERO);
}

#[test]
fn a_claim_starts_after_the_last_position_taken() {
    let mut lanes = lanes(&[("a", 0, 10)]);
    let shares = lanes.shares(2);
    assert_eq!((shares[0].after, shares[0].most), (9, 2));
    assert!(lanes.took(&shares, &[run("a", 10), run("a", 12)], 2));
    assert_eq!(lanes.shares(2)[0].after, 12);
}

#[test]
fn a_straggler_moves_the_cursor_back() {
    let mut lanes = lanes(&[("a", 0, 10)]);
    let shares = lanes.shares(9);
    lanes.took(&shares, &[run("a", 50)], 9);
    find(&mut lanes, &[("a", 0, 30)]);
    assert_eq!(lanes.shares(9)[0].after, 29);
}

#[test]
fn urgent_lanes_come_first_and_equal_ones_share() {
    let mut lanes = lanes(&[("a", 5, 1), ("b", 0, 1), ("c", 0, 1)]);
    let shares = lanes.shares(100);
    let priorities: Vec<i32> = shares.iter().map(|share| share.key.priority).collect();
    assert_eq!(priorities, [0, 0, 5]);
    assert_eq!((shares[0].most, shares[1].most), (50, 50));
}

#[test]
fn a_new_lane_is_served_during_a_flood() {
    let mut lanes = lanes(&[("flood", 0, 1), ("rare", 0, 1)]);
    let shares = lanes.shares(10);
    let flood: Vec<_> = (1..=5).map(|i| run("flood", i)).collect();
    lanes.took(&shares, &flood, 10);
    let shares = lanes.shares(10);
    assert_eq!(shares[0].key.handler, "rare");
    assert_eq!(shares[1].most, 10);
}

fn later(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

#[test]
fn the_cost_of_a_sweep_sets_its_pace() {
    let mut lanes = lanes(&[]);
    assert!(!lanes.sweep_due(false, later(40)) && lanes.sweep_due(false, later(60)));
    lanes.add_cost(Duration::from_millis(500));
    assert!(!lanes.sweep_due(true, later(9_000)) && lanes.sweep_due(true, later(11_000)));
}

#[test]
fn a_wakeup_makes_a_sweep_due_after_the_duration_of_the_last_one() {
    let mut lanes = lanes(&[]);
    assert_eq!(lanes.wakes_in(), None);
    lanes.wake();
    assert!(lanes.sweep_due(true, Instant::now()) && lanes.wakes_in().is_some());
    find(&mut lanes, &[]);
    assert_eq!(lanes.wakes_in(), None);
    lanes.add_cost(Duration::from_millis(500));
    lanes.wake();
    assert!(!lanes.sweep_due(true, later(400)) && lanes.sweep_due(true, later(600)));
}

#[test]
fn a_wakeup_during_a_sweep_wraps_around_and_skips_nothing() {
    let mut lanes = lanes(&[]);
    let part = |lanes: &mut Lanes, stopped: Option<&str>| {
        let slice = Slice {
            found: Vec::new(),
            stopped: stopped.map(|queue| place(queue, "a", 0)),
        };
        let ranges = lanes.ranges();
        lanes.swept(&ranges, slice, Duration::ZERO);
    };
    part(&mut lanes, Some("m"));
    lanes.wake();
    assert_eq!(lanes.ranges()[0].from, place("m", "a", 0));
    part(&mut lanes, None);
    assert_eq!(lanes.ranges()[0].from, place("", "", i64::MIN));
    assert_eq!(lanes.wakes_in(), Some(Duration::ZERO));
    part(&mut lanes, Some("k"));
    assert_eq!(lanes.wakes_in(), Some(Duration::ZERO));
    part(&mut lanes, Some("n"));
    assert_eq!((lanes.wakes_in(), lanes.n_sweeps()), (None, 2));
}

#[test]
fn a_new_handler_makes_a_sweep_due_and_an_old_one_loses_its_lanes() {
    let mut lanes = lanes(&[("a", 0, 1)]);
    lanes.set_handlers(&[Name::new("b").expect("legal")]);
    assert!(lanes.sweep_due(false, Instant::now()));
    assert!(lanes.shares(1).is_empty());
}

fn place(queue: &str, handler: &str, priority: i64) -> LanePosition {
    LanePosition {
        queue: queue.to_owned(),
        handler: handler.to_owned(),
        priority,
    }
}

#[test]
fn an_urgent_lane_comes_before_twenty_thousand_others_even_after_it_was_empty() {
    let names: Vec<String> = (0..20_000).map(|n| format!("h{n}")).collect();
    let many: Vec<(&str, i32, i64)> = names.iter().map(|name| (name.as_str(), 0, 1)).collect();
    let mut lanes = lanes(&[("urgent", -5, 1)]);
    let shares = lanes.shares(1);
    lanes.took(&shares, &[], 10);
    find(&mut lanes, &many);
    for _ in 0..3 {
        let shares = lanes.shares(500);
        assert_eq!(shares[0].key.handler, "urgent");
        assert!(shares.len() <= 256);
        lanes.took(&shares, &[], 500);
    }
}

#[test]
fn each_of_many_lanes_is_served_and_an_empty_one_is_not_probed_again() {
    let names: Vec<String> = (0..1_000).map(|n| format!("h{n}")).collect();
    let many: Vec<(&str, i32, i64)> = names.iter().map(|name| (name.as_str(), 0, 1)).collect();
    let mut lanes = lanes(&many);
    let mut seen = HashMap::new();
    let mut n_claims = 0;
    while lanes.wakes_in().is_some() {
        let shares = lanes.shares(500);
        let taken: Vec<LaneRun> = shares
            .iter()
            .filter(|share| !seen.contains_key(&share.key.handler))
            .map(|share| run(&share.key.handler, 1))
            .collect();
        for run in &taken {
            *seen.entry(run.key.handler.clone()).or_insert(0) += 1;
        }
        lanes.took(&shares, &taken, 500);
        n_claims += 1;
    }
    assert_eq!(seen.len(), 1_000);
    assert!(n_claims <= 17, "{n_claims} claims for 1,000 lanes");
}

#[test]
fn a_full_claim_keeps_unread_lanes_next_in_turn() {
    let names: Vec<String> = (0..200).map(|n| format!("h{n:03}")).collect();
    let many: Vec<(&str, i32, i64)> = names.iter().map(|name| (name.as_str(), 0, 1)).collect();
    let mut lanes = lanes(&many);
    let shares = lanes.shares(2);
    let taken = [run("h000", 1), run("h001", 1)];
    assert!(lanes.took(&shares, &taken, 2));
    assert_eq!(lanes.shares(2)[0].key.handler, "h002");
    // A failed claim took nothing: they are still next in turn.
    lanes.shares(500);
    assert!(lanes.n_turns() > 1);
    assert_eq!(lanes.shares(2)[0].key.handler, "h002");
}

#[test]
fn a_sweep_skips_probed_lanes_and_queues_of_others() {
    let served = QueueFilter::Except(vec![Name::new("media").expect("legal")]);
    let mut lanes = Lanes::new(served);
    find(&mut lanes, &[("a", 0, 1)]);
    let shares = lanes.shares(10_000);
    let flood = LaneRun {
        key: key("a", 0),
        n: 5_000,
        last: 9_000,
    };
    lanes.took(&shares, &[flood], 10_000);
    let ends: Vec<(LanePosition, LanePosition)> =
        lanes.ranges().into_iter().map(|r| (r.from, r.to)).collect();
    let heavy = place("q", "a", 0);
    let (start, end) = (place("", "", i64::MIN), place("~", "", i64::MIN));
    let queue = place("q", "", i64::MIN);
    let handler = place("q", "a", i64::MIN);
    assert_eq!(
        ends,
        [
            (start, place("media", "", i64::MIN)),
            (place("media", "~", i64::MIN), queue.clone()),
            (queue, handler.clone()),
            (handler, heavy.clone()),
            (heavy, end)
        ]
    );
    // A search between positions finds what committed late in it.
    let stretches = lanes.stretches(Instant::now());
    assert_eq!((stretches[0].after, stretches[0].upto), (0, 9_000));
    lanes.searched(&stretches, &[(0, 70)], Duration::from_millis(1));
    assert_eq!(lanes.shares(9)[0].after, 69);
}

#[test]
fn a_slow_search_takes_shorter_stretches_and_continues_after_them() {
    let mut lanes = lanes(&[("a", 0, 1)]);
    let shares = lanes.shares(10_000);
    let flood = LaneRun {
        key: key("a", 0),
        n: 5_000,
        last: 60_000_000,
    };
    lanes.took(&shares, &[flood], 10_000);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let stretches = lanes.stretches(later(3_600_000));
        seen.push((stretches[0].after, stretches[0].upto));
        lanes.searched(&stretches, &[], Duration::from_millis(100));
    }
    assert_eq!(
        seen,
        [(0, 60_000_000), (0, 7_500_000), (7_500_000, 8_437_500)]
    );
}

#[test]
fn only_served_named_queues_are_read_and_only_once() {
    let names = ["media", "zebra", "q"].map(|queue| Name::new(queue).expect("legal"));
    let mut lanes = Lanes::new(QueueFilter::Except(vec![names[0].clone()]));
    find(&mut lanes, &[("a", 0, 1)]);
    let shares = lanes.shares(10_000);
    let flood = LaneRun {
        key: key("a", 0),
        n: 5_000,
        last: 9_000,
    };
    lanes.took(&shares, &[flood], 10_000);
    lanes.named().add(&names);
    let ranges = lanes.named_ranges();
    let heavy = place("q", "a", 0);
    // Around the lane with many dead entries, in the order of the index.
    assert!(ranges.iter().any(|range| range.to == heavy));
    assert!(ranges.iter().any(|range| range.from == heavy));
    assert!(ranges.iter().all(|range| range.from.queue != "media"));
    assert_eq!(ranges.last().expect("a range").from.queue, "zebra");
    assert!(lanes.named_ranges().is_empty());
    let many: Vec<Name> = (0..1_000)
        .map(|n| Name::new(&format!("q{n}")).expect("legal"))
        .collect();
    lanes.named().add(&many);
    assert_eq!(lanes.named_ranges().len(), 64);
}
