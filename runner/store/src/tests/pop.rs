//! What pop takes, in which order, how much of it, and what tend does for it.

use tokio_postgres::Client;

use crate::testdb::*;

/// Pushes tasks of a MiB: random data, or data that compresses well.
async fn push_large(client: &Client, n: usize, is_noise: bool) {
    let text = match is_noise {
        true => {
            "(SELECT string_agg(md5(t::text || i::text), '') FROM generate_series(1, 32000) AS i)"
        }
        false => "repeat('pgtq', 256000 + t * 0)",
    };
    let push = format!(
        "SELECT push('a', json_build_array({text})::text) FROM generate_series(1, {n}) AS t"
    );
    client.batch_execute(&push).await.expect("push");
}

#[tokio::test]
async fn the_oldest_tasks_of_a_priority_come_first_for_any_handler() {
    let store = store().await;
    let client = psql(&store).await;
    let push = "SELECT push(CASE i % 3 WHEN 0 THEN 'aaa' WHEN 1 THEN 'zzz' ELSE 'mmm' END, queue => CASE WHEN i < 20 THEN 'q' ELSE 'default' END)
        FROM generate_series(1, 40) AS i;
        SELECT push('later', priority => 1), push('urgent', priority => -1)";
    client.batch_execute(push).await.expect("push");
    let mut seen = Vec::new();
    for n in [1, 1, 7, 30, 9] {
        let pop = format!(
            "SELECT string_agg(id::text, ' ' ORDER BY n) FROM pop(n => {n}, queues => '{{default,q}}') WITH ORDINALITY AS p
                 (queue, id, token, handler, args, attempt, retries, priority, pushed_at, due_at, key, parent, expires_at, n)"
        );
        seen.extend(
            ask(&client, &pop)
                .await
                .split(' ')
                .map(|id| id.parse::<i64>().expect("an id")),
        );
    }
    let expected: Vec<i64> = std::iter::once(42).chain(1..=41).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_older_task_is_not_starved_by_a_flow_of_another_handler() {
    let store = store().await;
    let client = psql(&store).await;
    ask(&client, "SELECT push('zzz')").await;
    for _ in 0..3 {
        ask(&client, "SELECT push('aaa')").await;
    }
    assert_eq!(ask(&client, "SELECT handler FROM pop()").await, "zzz");
}

#[tokio::test]
async fn concurrent_workers_share_the_tasks_of_all_lanes() {
    let store = store().await;
    let first = psql(&store).await;
    let push = "SELECT push('h' || i % 4) FROM generate_series(1, 300) AS i";
    first.batch_execute(push).await.expect("push");
    let mut sessions = Vec::new();
    for n in 1..=30 {
        // Each holds its transaction open, so that the next must skip its tasks.
        let session = psql(&store).await;
        session.batch_execute("BEGIN").await.expect("begin");
        let pop = format!("SELECT count(*) FROM pop(n => {n})");
        let expected = n.min(300 - (1..n).sum::<i32>().min(300));
        assert_eq!(ask(&session, &pop).await, expected.to_string(), "{n}");
        sessions.push(session);
    }
    for session in &sessions {
        session.batch_execute("COMMIT").await.expect("commit");
    }
    let held = "SELECT count(*) || ' ' || count(DISTINCT token) FROM popped";
    assert_eq!(ask(&first, held).await, "300 300");
}

#[tokio::test]
async fn paused_queues_and_handlers_are_skipped() {
    let store = store().await;
    let client = psql(&store).await;
    let push = "SELECT push('a', queue => 'p'), push('b', queue => 'q'), push('a', queue => 'q')";
    client.batch_execute(push).await.expect("push");
    client
        .batch_execute("SELECT pause(queue => 'p'), pause(handler => 'b')")
        .await
        .expect("pause");
    let pop = "SELECT string_agg(id::text, ' ') FROM pop(queues => '{p,q}', n => 9)";
    assert_eq!(ask(&client, pop).await, "3");
    assert_eq!(ask(&client, "SELECT count(*) FROM pop('p')").await, "0");
}

#[tokio::test]
async fn a_pop_locks_only_the_tasks_it_takes() {
    let store = store().await;
    let worker = psql(&store).await;
    let client = psql(&store).await;
    let due = "SELECT push('a'); SELECT push('b', delay => '1 ms', queue => 'other');
        SELECT pg_sleep(0.002)";
    client.batch_execute(due).await.expect("push");
    // The classic mistake: the worker keeps its transaction open.
    worker.batch_execute("BEGIN").await.expect("begin");
    assert_eq!(ask(&worker, "SELECT count(*) FROM pop()").await, "1");
    assert_eq!(ask(&client, "SELECT promoted FROM tend()").await, "1");
    let other = "SELECT count(*) FROM pop('other')";
    assert_eq!(ask(&client, other).await, "1");
}

#[tokio::test]
async fn one_tend_runs_at_a_time_and_the_others_do_not_wait() {
    let store = store().await;
    let first = psql(&store).await;
    let second = psql(&store).await;
    ask(&first, "SELECT push('a')").await;
    ask(&first, "SELECT count(*) FROM pop(lease => '1 microsecond')").await;
    first.batch_execute("BEGIN").await.expect("begin");
    let tend = "SELECT expired FROM tend()";
    assert_eq!(ask(&first, tend).await, "1");
    assert_eq!(ask(&second, tend).await, "0");
    first.batch_execute("ROLLBACK").await.expect("rollback");
    assert_eq!(ask(&second, tend).await, "1");
}

#[tokio::test]
async fn a_lease_locked_at_its_expiry_is_found_again() {
    let store = store().await;
    let client = psql(&store).await;
    let worker = psql(&store).await;
    ask(&client, "SELECT push('a')").await;
    ask(
        &client,
        "SELECT count(*) FROM pop(lease => '1 microsecond')",
    )
    .await;
    // An outcome that is rolled back, long after tend has run.
    let end = "BEGIN; SELECT complete(task_id, token) FROM popped";
    worker.batch_execute(end).await.expect("complete");
    let tend = "SELECT expired FROM tend()";
    assert_eq!(ask(&client, tend).await, "0");
    worker.batch_execute("ROLLBACK").await.expect("rollback");
    let a_minute = "UPDATE upkeep SET expired_all_at = now() - interval '2 minutes'";
    client.batch_execute(a_minute).await.expect("time passes");
    assert_eq!(ask(&client, tend).await, "1");
}

#[tokio::test]
async fn a_pop_of_large_tasks_takes_a_bounded_number_of_bytes() {
    for is_noise in [true, false] {
        let store = store().await;
        let client = psql(&store).await;
        push_large(&client, 40, is_noise).await;
        // 32 MiB, and the task that exceeds it.
        let popped = "SELECT count(*) FROM pop(n => 10000)";
        assert_eq!(ask(&client, popped).await, "33", "{is_noise}");
        assert_eq!(ask(&client, popped).await, "7");
        assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "0");
    }
}

#[tokio::test]
async fn large_tasks_are_expired_in_steps() {
    let store = store().await;
    let client = psql(&store).await;
    push_large(&client, 20, true).await;
    ask(&client, "SELECT count(*) FROM pop(n => 20)").await;
    let expire = "UPDATE popped SET expires_at = now() - interval '1 s'";
    client.batch_execute(expire).await.expect("expire");
    let mut steps = Vec::new();
    for _ in 0..4 {
        let tended = store.tend(1000).await.expect("tend");
        steps.push((tended.expired, tended.more));
    }
    assert_eq!(steps, [(8, true), (8, true), (4, false), (0, false)]);
}

/// Pages of the database that a pop of one task touches.
async fn pages_of_a_pop(client: &Client) -> i64 {
    let explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM pop()";
    // Plans are made at the first uses.
    for _ in 0..8 {
        ask(client, explain).await;
    }
    let plan: serde_json::Value =
        serde_json::from_str(&ask(client, explain).await).expect("a plan");
    let plan = &plan[0]["Plan"];
    ["Shared Hit Blocks", "Shared Read Blocks"]
        .iter()
        .filter_map(|kind| plan[*kind].as_i64())
        .sum()
}

#[tokio::test]
async fn dead_rows_kept_by_an_old_snapshot_do_not_slow_down_a_pop() {
    let store = store().await;
    let client = psql(&store).await;
    let report = psql(&store).await;
    ask(
        &client,
        "SELECT count(push('a')) FROM generate_series(1, 40) AS i",
    )
    .await;
    let few = pages_of_a_pop(&client).await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM history";
    report.batch_execute(begin).await.expect("a report");
    client
        .batch_execute(
            "SELECT count(push('a')) FROM generate_series(1, 30000) AS i;
             DELETE FROM runnable_tasks WHERE id < 30000",
        )
        .await
        .expect("dead rows");
    let many = pages_of_a_pop(&client).await;
    assert!(
        many > few + 200,
        "the dead rows are not read: {few}, {many}"
    );
    // Two seconds of a worker's life: the start of the lane moves with the second call.
    for _ in 0..2 {
        ask(&client, "SELECT expired FROM tend()").await;
        let second = "UPDATE upkeep SET bound_at = now() - interval '2 s'";
        client.batch_execute(second).await.expect("time passes");
    }
    ask(&client, "SELECT expired FROM tend()").await;
    let after = pages_of_a_pop(&client).await;
    assert!(after < few + 100, "{few} before, {many}, {after} after");
}

#[tokio::test]
async fn a_task_of_a_long_transaction_is_found_before_the_start_of_its_lane() {
    let store = store().await;
    let client = psql(&store).await;
    let slow = psql(&store).await;
    let pop = "SELECT id FROM pop()";
    assert_eq!(ask(&client, pop).await, "nothing");
    slow.batch_execute("BEGIN; SELECT push('a')")
        .await
        .expect("push");
    ask(
        &client,
        "SELECT count(push('a')) FROM generate_series(1, 2000) AS i",
    )
    .await;
    client
        .batch_execute("DELETE FROM runnable_tasks")
        .await
        .expect("end");
    let start = "SELECT position FROM lane_starts";
    for _ in 0..3 {
        ask(&client, "SELECT expired FROM tend()").await;
        let second = "UPDATE upkeep SET bound_at = now() - interval '2 s'";
        client.batch_execute(second).await.expect("time passes");
        // A lane is known through a task in it.
        ask(&client, "SELECT push('a')").await;
    }
    let moved: i64 = ask(&client, start).await.parse().expect("a position");
    assert!(moved > 1000, "{moved}");
    slow.batch_execute("COMMIT").await.expect("commit");
    ask(&client, "SELECT expired FROM tend()").await;
    assert_eq!(ask(&client, pop).await, "1");
}

#[tokio::test]
async fn a_pop_without_tend_soon_ignores_the_starts_of_lanes() {
    let store = store().await;
    let client = psql(&store).await;
    ask(&client, "SELECT push('a')").await;
    let starts = "INSERT INTO lane_starts VALUES ('default', 'a', 0, 1000, now())";
    client.batch_execute(starts).await.expect("a start");
    let pop = "SELECT count(*) FROM pop()";
    assert_eq!(ask(&client, pop).await, "0");
    let old = "UPDATE lane_starts SET checked_at = now() - interval '2 minutes'";
    client.batch_execute(old).await.expect("time passes");
    assert_eq!(ask(&client, pop).await, "1");
}

#[tokio::test]
async fn a_lane_between_known_lanes_is_found_at_once() {
    let store = store().await;
    let client = psql(&store).await;
    let starts = "INSERT INTO lane_starts VALUES ('default', 'b', 0, 0, now()), ('default', 'd', 5, 0, now())";
    client.batch_execute(starts).await.expect("starts");
    for (handler, priority) in [
        ("a", 0),
        ("b", -7),
        ("b", 0),
        ("b", 3),
        ("c", 1),
        ("d", 4),
        ("d", 6),
        ("e", -2_147_483_648_i64),
        ("zzz", 2_147_483_647),
    ] {
        let push = format!("SELECT push('{handler}', priority => {priority})");
        ask(&client, &push).await;
        for wanted in ["NULL".to_owned(), format!("'{{x,{handler},zz}}'")] {
            let pop = format!("SELECT handler || priority FROM pop(handlers => {wanted})");
            assert_eq!(ask(&client, &pop).await, format!("{handler}{priority}"));
            let release = "SELECT release(task_id, token) FROM popped";
            assert_eq!(ask(&client, release).await, "t");
        }
        client
            .batch_execute("DELETE FROM runnable_tasks")
            .await
            .expect("empty");
    }
}
