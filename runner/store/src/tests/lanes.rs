//! Many lanes, lanes of other runners, and lanes with many dead entries.

use std::time::Duration;

use crate::testdb::*;
use crate::tests::plans::{buffers, explain};
use crate::verbs::lanes::sweep::Range;
use crate::verbs::listen::Wake;

/// Tasks of a handler that no runner has, each in its own queue.
const FOREIGN: &str = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
     SELECT 'foreign-' || n, 'nobody', 0, n, n, '{}' FROM generate_series(1, 100000) AS n;
     SELECT setval('task_ids', 100000); ANALYZE runnable_tasks";

/// Claims that find nothing, until a sweep is complete: one is enough, unless the machine is
/// busy.
async fn sweep_once(runner: &mut TestRunner) {
    while runner.lanes.n_sweeps() == 0 {
        assert!(runner.claim_on(1).await.is_empty());
    }
}

#[tokio::test]
async fn a_hundred_thousand_unserved_queues_delay_no_claim() {
    let store = store().await;
    psql(&store)
        .await
        .batch_execute(FOREIGN)
        .await
        .expect("fill");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    sweep_once(&mut runner).await;
    for queue in ["default", "zebra", "alpha"] {
        let mut task = new_task("a");
        task.queue = Some(name(queue));
        store.push(&[task]).await.expect("push");
        // As after a notification that names no queue.
        runner.lanes.wake();
        while runner.lanes.wakes_in().is_some_and(|left| !left.is_zero()) {
            tokio::task::yield_now().await;
        }
        // One sweep finds it; on a busy machine it takes several claims.
        let mut found = runner.claim_on(1).await;
        while found.is_empty() && runner.lanes.wakes_in().is_some() {
            found = runner.claim_on(1).await;
        }
        assert_eq!(found.len(), 1, "{queue}");
    }
    // A known lane needs no sweep.
    let n_sweeps = runner.lanes.n_sweeps();
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(runner.claim_on(1).await.len(), 1);
    assert!(runner.lanes.n_sweeps() <= n_sweeps + 1);
}

#[tokio::test]
async fn a_new_lane_in_a_notification_is_claimed_without_a_sweep() {
    let store = store().await;
    let client = psql(&store).await;
    client.batch_execute(FOREIGN).await.expect("fill");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    sweep_once(&mut runner).await;
    let n_sweeps = runner.lanes.n_sweeps();
    // No sweep is due for the rest of the test.
    runner.lanes.add_cost(Duration::from_secs(3_600));
    let mut listener = store.listen().await.expect("listen");
    for queue in ["alpha", "foreign-77", "zebra"] {
        store.request_wake(None).await.expect("ask");
        let mut task = new_task("a");
        task.queue = Some(name(queue));
        store.push(&[task]).await.expect("push");
        while !matches!(listener.recv().await, Wake::Work(_)) {}
        let named = listener.named().take();
        assert_eq!(named.iter().collect::<Vec<_>>(), [&name(queue)]);
        // It reads nothing of a hundred thousand other lanes.
        runner.lanes.named().add(&named);
        let ranges = runner.lanes.named_ranges();
        let n_buffers = read(&store, &ranges).await;
        assert!(n_buffers < 20, "{n_buffers} buffers");
        runner.lanes.named().add(&named);
        assert_eq!(runner.claim_on(1).await.len(), 1, "{queue}");
        assert_eq!(runner.lanes.n_sweeps(), n_sweeps, "{queue}");
    }
}

#[tokio::test]
async fn a_sweep_timeout_fails_no_claim_and_raises_its_limit() {
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
async fn a_sweep_does_not_read_dead_entries_of_probed_lanes() {
    let store = store().await;
    let client = psql(&store).await;
    let fill = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'default', 'a', 0, n, n, '{}' FROM generate_series(1, 20000) AS n;
         SELECT setval('task_ids', 20000); ANALYZE runnable_tasks";
    client.batch_execute(fill).await.expect("fill");
    // A snapshot that keeps the deleted entries alive.
    let old = psql(&store).await;
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM runnable_tasks";
    old.batch_execute(snapshot).await.expect("a snapshot");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let mut n_claimed = 0;
    while n_claimed < 20_000 {
        n_claimed += runner.claim_on(500).await.len();
    }
    let ranges = runner.lanes.ranges();
    // Up to its queue, its handler and its priority, and after it.
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
        // A sweep consists of slices of limited time, so it may take several claims.
        let started = std::time::Instant::now();
        while runner.claim_on(9).await.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60), "{queue}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    old.batch_execute("ROLLBACK").await.expect("end");
}

/// Buffers that a sweep over these ranges reads.
async fn read(store: &crate::connect::connection::Store, ranges: &[Range]) -> u64 {
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
    let sql = crate::sql::sql!("lanes");
    buffers(&explain(store, options, sql, &params).await)
}

#[tokio::test]
async fn a_late_commit_in_a_large_lane_is_found() {
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
        assert!(started.elapsed() < Duration::from_secs(60));
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

/// Claims and finishes 200,000 tasks over this number of lanes; returns the time, and the CPU
/// time of this process and of the server's.
async fn drain(n_lanes: u32) -> [Duration; 3] {
    let store = store().await;
    let fill = format!(
        "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'q' || n % {n_lanes}, 'a', 0, n, n, '{{}}' FROM generate_series(1, 200000) AS n;
         SELECT setval('task_ids', 200000); ANALYZE runnable_tasks"
    );
    let client = psql(&store).await;
    client.batch_execute(&fill).await.expect("fill");
    let mut runner = TestRunner::new(&store, &["a"]).await;
    let (started, spent) = (std::time::Instant::now(), processor_time(&client).await);
    let mut n_claimed = 0;
    while n_claimed < 200_000 {
        let taken = runner.claim_on(1_000).await;
        assert!(!taken.is_empty(), "{n_claimed} of 200,000");
        n_claimed += taken.len();
        let finished = runner.store.finish(runner.id, &taken, true).await;
        finished.expect("finish");
    }
    let (wall, now) = (started.elapsed(), processor_time(&client).await);
    [wall, now.0 - spent.0, now.1 - spent.1]
}

/// Of all threads of this process, and of all sessions of the server.
async fn processor_time(client: &tokio_postgres::Client) -> (Duration, Duration) {
    let of = |stat: &str| {
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        Duration::from_millis(10 * ticks.filter_map(|t| t.parse::<u64>().ok()).sum::<u64>())
    };
    let stats = "SELECT pg_read_file('/proc/' || pid || '/stat') FROM pg_stat_activity
         WHERE backend_type = 'client backend'";
    let rows = client.query(stats, &[]).await.expect("as superuser");
    let own = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    (of(&own), rows.iter().map(|row| of(row.get(0))).sum())
}

/// `cargo test -p pgtq-store --lib tests::lanes -- --ignored --nocapture`
#[tokio::test]
#[ignore = "measures"]
async fn twenty_thousand_lanes_drain_as_fast_as_one() {
    for _ in 0..3 {
        let (one, many) = (drain(1).await, drain(20_000).await);
        let ratio = one[0].as_secs_f64() / many[0].as_secs_f64();
        let spent = |of: [Duration; 3]| (of[1] + of[2]).as_secs_f64();
        eprintln!(
            "time, processor time here, and of the server: one lane {one:.2?}, 20,000 lanes {many:.2?}: \
             {ratio:.2} x by time, {:.2} x by processor time",
            spent(one) / spent(many)
        );
    }
}
