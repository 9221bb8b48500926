//! Many lanes, lanes of others, and lanes with many dead entries.

use std::time::Duration;

use super::super::lanes::Range;
use super::super::testdb::*;
use super::plans::{buffers, explain};

/// Tasks of a handler that nobody has, each in a queue of its own.
const FOREIGN: &str = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
     SELECT 'foreign-' || n, 'nobody', 0, n, n, '{}' FROM generate_series(1, 100000) AS n;
     SELECT setval('task_ids', 100000); ANALYZE runnable_tasks";

#[tokio::test]
async fn a_hundred_thousand_queues_that_nobody_serves_hold_up_no_claim() {
    let store = store().await;
    psql(&store)
        .await
        .batch_execute(FOREIGN)
        .await
        .expect("fill");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    assert!(runner.claim_on(1).await.is_empty(), "all was looked at");
    assert_eq!(runner.lanes.n_sweeps(), 1);
    for queue in ["default", "zebra", "alpha"] {
        let mut task = new_task("a");
        task.queue = Some(name(queue));
        store.push(&[task]).await.expect("push");
        // As after a notification. A new lane is found by one claim.
        runner.lanes.wake();
        while runner.lanes.wakes_in().is_some_and(|left| !left.is_zero()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(runner.claim_on(1).await.len(), 1, "{queue}");
    }
    // A known lane needs no look.
    let n_sweeps = runner.lanes.n_sweeps();
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(runner.claim_on(1).await.len(), 1);
    assert!(runner.lanes.n_sweeps() <= n_sweeps + 1);
}

#[tokio::test]
async fn a_sweep_that_runs_out_of_time_fails_no_claim_and_gets_more_time() {
    let store = store().await;
    let client = psql(&store).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(runner.claim_on(9).await.len(), 1);
    client.batch_execute(FOREIGN).await.expect("fill");
    store.push(&[new_task("a")]).await.expect("push");
    runner.lanes.set_patience(Duration::from_millis(3));
    assert_eq!(runner.claim_on(9).await.len(), 1, "of a known lane");
    let mut task = new_task("a");
    task.queue = Some(name("zebra"));
    store.push(&[task]).await.expect("push");
    let mut found = Vec::new();
    while found.is_empty() {
        runner.lanes.wake();
        found = runner.claim_on(9).await;
    }
}

#[tokio::test]
async fn a_sweep_does_not_pass_the_dead_of_lanes_that_claims_probe() {
    let store = store().await;
    let client = psql(&store).await;
    let fill = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'default', 'a', 0, n, n, '{}' FROM generate_series(1, 20000) AS n;
         SELECT setval('task_ids', 20000); ANALYZE runnable_tasks";
    client.batch_execute(fill).await.expect("fill");
    // A snapshot that keeps what the claims delete.
    let old = psql(&store).await;
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM runnable_tasks";
    old.batch_execute(snapshot).await.expect("a snapshot");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let mut n_claimed = 0;
    while n_claimed < 20_000 {
        n_claimed += runner.claim_on(500).await.len();
    }
    let ranges = runner.lanes.ranges();
    // Up to its queue, its handler and its priority, and behind it.
    assert_eq!(ranges.len(), 4);
    let whole = Range {
        from: ranges[0].from.clone(),
        to: ranges[3].to.clone(),
    };
    let (all, without) = (read(&store, &[whole]).await, read(&store, &ranges).await);
    assert!(all > 200, "{all} buffers");
    assert!(without < 20, "{without} buffers instead of {all}");
    // New lanes beside it, and new tasks in it, are found at once.
    for queue in ["default", "alpha", "zebra"] {
        let mut task = new_task("a");
        task.queue = Some(name(queue));
        store.push(&[task]).await.expect("push");
        runner.lanes.wake();
        // A sweep is slices of limited time, so it may take several claims.
        let started = std::time::Instant::now();
        while runner.claim_on(9).await.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(10), "{queue}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    old.batch_execute("ROLLBACK").await.expect("end");
}

/// Buffers that a sweep over these ranges reads.
async fn read(store: &super::super::Store, ranges: &[Range]) -> u64 {
    let list = |of: &dyn Fn(&Range) -> String| {
        let all: Vec<String> = ranges
            .iter()
            .map(|range| format!("\"{}\"", of(range)))
            .collect();
        format!("'{{{}}}'", all.join(","))
    };
    let params = [
        "'{a}'".to_owned(),
        list(&|r| r.from.queue.clone()),
        list(&|r| r.from.handler.clone()),
        list(&|r| r.from.priority.to_string()),
        list(&|r| r.to.queue.clone()),
        list(&|r| r.to.handler.clone()),
        list(&|r| r.to.priority.to_string()),
        "10000".to_owned(),
    ];
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    let options = "ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF";
    let sql = super::super::sql::sql!("lanes");
    buffers(&explain(store, options, sql, &params).await)
}

#[tokio::test]
async fn a_task_that_commits_late_in_a_lane_of_many_is_found() {
    let store = store().await;
    let client = psql(&store).await;
    let late = psql(&store).await;
    late.batch_execute("BEGIN; SELECT push('a')")
        .await
        .expect("push");
    let fill = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'default', 'a', 0, n, n, '{}'
         FROM (SELECT nextval('task_ids') AS n FROM generate_series(1, 2000)) AS t";
    client.batch_execute(fill).await.expect("fill");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let mut n_claimed = 0;
    while n_claimed < 2_000 {
        n_claimed += runner.claim_on(500).await.len();
    }
    late.batch_execute("COMMIT").await.expect("commit");
    let started = std::time::Instant::now();
    while runner.claim_on(9).await.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_urgent_task_is_taken_first_while_twenty_thousand_lanes_are_served() {
    let store = store().await;
    let client = psql(&store).await;
    let fill = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'q' || n % 20000, 'a', 0, n, n, '{}' FROM generate_series(1, 60000) AS n;
         SELECT setval('task_ids', 60000); ANALYZE runnable_tasks";
    client.batch_execute(fill).await.expect("fill");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let mut urgent = new_task("a");
    urgent.priority = -5;
    let (mut n_claims, mut n_claimed, mut n_first) = (0, 0, 0);
    let started = std::time::Instant::now();
    while n_claimed < 60_000 {
        if n_claims % 10 == 0 {
            store.push(&[urgent.clone()]).await.expect("push");
        }
        let taken = runner.claim_on(500).await;
        if taken.is_empty() {
            // All known lanes are empty, and the next sweep is not due yet.
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "{n_claimed} of 60,000"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        n_first += usize::from(n_claims % 10 == 0 && taken[0].task.priority == -5);
        n_claimed += taken
            .iter()
            .filter(|ending| ending.task.priority == 0)
            .count();
        n_claims += 1;
    }
    // The first one waits for a sweep; from then on its lane is probed.
    assert!(
        n_first + 1 >= n_claims / 10,
        "{n_first} of {} claims",
        n_claims / 10
    );
    assert!(n_claims < 250, "{n_claims} claims of 500 for 60,000 tasks");
}

/// Claims and ends 100,000 tasks over so many lanes; returns the time.
async fn drain(n_lanes: u32) -> Duration {
    let store = store().await;
    let fill = format!(
        "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'q' || n % {n_lanes}, 'a', 0, n, n, '{{}}' FROM generate_series(1, 100000) AS n;
         SELECT setval('task_ids', 100000); ANALYZE runnable_tasks"
    );
    psql(&store).await.batch_execute(&fill).await.expect("fill");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let started = std::time::Instant::now();
    let mut n_claimed = 0;
    while n_claimed < 100_000 {
        let taken = runner.claim_on(500).await;
        assert!(!taken.is_empty(), "{n_claimed} of 100,000");
        n_claimed += taken.len();
        let finished = runner.store.finish(runner.id, &taken, true).await;
        finished.expect("finish");
    }
    started.elapsed()
}

/// `cargo test -p pgtq --lib store::tests::lanes -- --ignored --nocapture`
#[tokio::test]
#[ignore = "measures"]
async fn twenty_thousand_lanes_drain_as_fast_as_one() {
    for _ in 0..3 {
        let (one, many) = (drain(1).await, drain(10_000).await);
        let ratio = one.as_secs_f64() / many.as_secs_f64();
        eprintln!("one lane {one:?}, 10,000 lanes {many:?}: {ratio:.2} x");
    }
}
