use super::*;

fn key(handler: &str, priority: i32) -> LaneKey {
    LaneKey {
        priority,
        queue: "q".to_owned(),
        handler: handler.to_owned(),
    }
}

fn run(handler: &str, position: i64) -> Run {
    Run {
        key: key(handler, 0),
        n: 1,
        last: position,
    }
}

fn lanes(found: &[(&str, i32, i64)]) -> Lanes {
    let mut lanes = Lanes::new(QueueFilter::Except(Vec::new()));
    let found = found
        .iter()
        .map(|(handler, priority, first)| (key(handler, *priority), *first))
        .collect();
    lanes.refreshed(found, |_| false, Instant::now(), Duration::ZERO);
    lanes
}

#[test]
fn a_claim_starts_behind_the_last_position_taken() {
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
    lanes.refreshed(
        vec![(key("a", 0), 30)],
        |_| false,
        Instant::now(),
        Duration::ZERO,
    );
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
fn a_newcomer_is_served_beside_a_flood() {
    let mut lanes = lanes(&[("flood", 0, 1), ("rare", 0, 1)]);
    let shares = lanes.shares(10);
    let flood: Vec<_> = (1..=5).map(|i| run("flood", i)).collect();
    lanes.took(&shares, &flood, 10);
    let shares = lanes.shares(10);
    assert_eq!(shares[0].key.handler, "rare");
    assert_eq!(shares[1].most, 10);
}

#[test]
fn the_cost_of_a_refresh_sets_its_pace() {
    let mut lanes = lanes(&[]);
    let later = |ms: u64| Instant::now() + Duration::from_millis(ms);
    assert!(!lanes.refresh_due(false, later(900)) && lanes.refresh_due(false, later(1_100)));
    assert!(lanes.refresh_due(true, later(50)));
    lanes.add_cost(Duration::from_millis(500));
    assert!(!lanes.refresh_due(true, later(9_000)) && lanes.refresh_due(true, later(11_000)));
}

#[test]
fn a_new_handler_makes_a_refresh_due_and_an_old_one_loses_its_lanes() {
    let mut lanes = lanes(&[("a", 0, 1)]);
    lanes.set_handlers(&[Name::new("b").expect("legal")]);
    assert!(lanes.refresh_due(false, Instant::now()));
    assert!(lanes.shares(1).is_empty());
}
