//! Finding and changing tasks in a long history and a long backlog.

use std::time::{Duration, Instant};

use crate::read::filter::Filter;
use crate::testdb::*;
use crate::verbs::maintain::PromoteCursor;
use pgtq_task::{State, TaskId};

async fn backlog(client: &tokio_postgres::Client, n: i32) {
    let text = format!(
        "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
         SELECT 'q' || i % 3, 'a', 0, i, i, '{{}}'
         FROM (SELECT nextval('task_ids') AS i FROM generate_series(1, {n})) AS n"
    );
    client.batch_execute(&text).await.expect("fill");
}

/// Complete tasks of the handler `a`, and every 10,000th of `rare`.
async fn history(client: &tokio_postgres::Client, n: i32) {
    let text = format!(
        "INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, parent, error_message)
         SELECT i, CASE WHEN i % 5000 = 0 THEN 'failed' ELSE 'complete' END, 0, 1, 0,
                CASE WHEN i % 10000 = 1 THEN 'rare' ELSE 'q' END, CASE WHEN i % 10000 = 2 THEN 'rare' ELSE 'a' END, '{{}}',
                now(), now(), CASE WHEN i % 10000 = 3 THEN 42 END, CASE WHEN i % 5000 = 0 THEN 'no luck' END
         FROM (SELECT nextval('task_ids') AS i FROM generate_series(1, {n})) AS n;
         SELECT brin_summarize_new_values(c.oid::regclass) FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam
         WHERE a.amname = 'brin' AND c.relkind = 'i' AND c.relnamespace = current_schema()::regnamespace;
         ANALYZE history"
    );
    client.batch_execute(&text).await.expect("fill");
}

/// Shared buffers that a statement touches, functions included.
async fn buffers(client: &tokio_postgres::Client, sql: &str) -> u64 {
    let text = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}");
    let plan: serde_json::Value = serde_json::from_str(&ask(client, &text).await).expect("json");
    let plan = &plan[0]["Plan"];
    let count = |key: &str| plan[key].as_u64().unwrap_or(0);
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

/// The same for a read-only query, without the catalogue reads of a session after other tests
/// have changed the catalogue.
async fn least_buffers(client: &tokio_postgres::Client, sql: &str) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..10 {
        least = least.min(buffers(client, sql).await);
    }
    least
}

#[tokio::test]
async fn cancelling_many_tasks_one_by_one_has_a_constant_cost() {
    let store = store().await;
    let client = psql(&store).await;
    backlog(&client, 6_000).await;
    client.batch_execute("BEGIN").await.expect("begin");
    let some = |n: u32, verb: &str, from: &str| {
        format!("SELECT count({verb}(id)) FROM (SELECT id FROM {from} ORDER BY id LIMIT {n}) AS t")
    };
    let first = buffers(&client, &some(500, "cancel", "runnable_tasks")).await;
    ask(&client, &some(4_000, "cancel", "runnable_tasks")).await;
    let last = buffers(&client, &some(500, "cancel", "runnable_tasks")).await;
    assert!(last < 2 * first + 5_000, "{first} {last}");
    ask(&client, &some(2_000, "retry", "cancelled")).await;
    // The minimum of several runs: other tests change the catalogue, which is then read again.
    let mut retried = u64::MAX;
    for _ in 0..3 {
        retried = retried.min(buffers(&client, &some(500, "retry", "cancelled")).await);
    }
    assert!(retried < 60_000, "{retried}");
    client.batch_execute("ROLLBACK").await.expect("rollback");
}

#[tokio::test]
async fn cancelling_from_the_newest_costs_the_same_as_from_the_oldest() {
    let store = store().await;
    let client = psql(&store).await;
    backlog(&client, 6_000).await;
    client.batch_execute("BEGIN").await.expect("begin");
    let newest = |n: u32| {
        format!(
            "SELECT count(cancel(id)) FROM (SELECT id FROM runnable_tasks ORDER BY id DESC LIMIT {n}) AS t"
        )
    };
    let first = buffers(&client, &newest(500)).await;
    ask(&client, &newest(4_000)).await;
    let last = buffers(&client, &newest(500)).await;
    assert!(last < first + 5_000, "{first} {last}");
    // Another lane, which the first call has not seen.
    let other = "SELECT cancel(push('b', priority => 7))";
    assert_eq!(ask(&client, other).await, "cancelled");
    client.batch_execute("ROLLBACK").await.expect("rollback");
    let kept = "SELECT coalesce(current_setting('pgtq.lanes', true), '') = ''";
    assert_eq!(ask(&client, kept).await, "t");
}

#[tokio::test]
async fn ten_thousand_ids_are_found_at_a_constant_cost_per_call() {
    let store = store().await;
    let client = psql(&store).await;
    // The plans are made for an empty table.
    for _ in 0..8 {
        ask(&client, "SELECT cancel(1)").await;
    }
    backlog(&client, 60_000).await;
    for n in 0..10 {
        let started = Instant::now();
        let found = "SELECT count(*) FROM find_runnable(ARRAY(SELECT id FROM runnable_tasks ORDER BY id LIMIT 10000))";
        assert_eq!(ask(&client, found).await, "10000");
        let took = started.elapsed();
        // A plan for the empty table takes 12 to 18 s.
        assert!(took < Duration::from_secs(8), "call {n}: {took:?}");
    }
    let started = Instant::now();
    let cancelled = "SELECT count(*) FROM cancel_tasks(ARRAY(SELECT id FROM runnable_tasks WHERE queue = 'q1'))";
    assert_eq!(ask(&client, cancelled).await, "20000");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn runnable_tasks_are_found_in_one_lane_in_many_lanes_and_after_a_return() {
    let store = store().await;
    let client = psql(&store).await;
    client
        .batch_execute(
            "SELECT push('a', queue => 'q' || i) FROM generate_series(1, 3000) AS i;
             UPDATE runnable_tasks SET position = nextval('task_ids') WHERE id % 1000 = 7",
        )
        .await
        .expect("push");
    let rows = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM runnable_tasks WHERE ctid = ANY (ARRAY(SELECT find_runnable(";
    for (ids, wanted) in [
        ("ARRAY[5]", "5"),
        ("ARRAY[7, 8, 99999]", "7 8"),
        ("ARRAY[3000, 1007]", "1007 3000"),
        ("'{}'", "null"),
    ] {
        assert_eq!(ask(&client, &format!("{rows}{ids})))")).await, wanted);
    }
    client
        .batch_execute("DELETE FROM runnable_tasks WHERE id > 1 AND id <> 1007")
        .await
        .expect("delete");
    assert_eq!(
        ask(&client, &format!("{rows}ARRAY[1, 1007])))")).await,
        "1 1007"
    );
}

#[tokio::test]
async fn filters_with_few_matches_find_them_in_old_history() {
    let store = store().await;
    let client = psql(&store).await;
    history(&client, 60_000).await;
    let list = async |filter: Filter| {
        let rows = store.tasks(&filter).await.expect("tasks");
        rows.iter().map(|row| row.id.0).collect::<Vec<_>>()
    };
    let base = Filter::default();
    let all = list(base.clone()).await;
    assert_eq!((all.len(), all[0], all[49]), (50, 60_000, 59_951));
    let rare = Filter {
        queue: Some(name("rare")),
        ..base.clone()
    };
    assert_eq!(
        list(rare).await,
        [50_001, 40_001, 30_001, 20_001, 10_001, 1]
    );
    for pattern in ["rare", "ra*"] {
        let rare = Filter {
            handler: Some(pattern.into()),
            ..base.clone()
        };
        assert_eq!(
            list(rare).await,
            [50_002, 40_002, 30_002, 20_002, 10_002, 2]
        );
    }
    let error = Filter {
        error: Some("LUCK".into()),
        before: Some(TaskId(20_000)),
        ..base.clone()
    };
    assert_eq!(list(error).await, [15_000, 10_000, 5_000]);
    let failed = Filter {
        states: vec![State::Failed],
        since: Some(Duration::from_secs(3_600)),
        limit: 3,
        ..base.clone()
    };
    assert_eq!(list(failed).await, [60_000, 55_000, 50_000]);
    let older = Filter {
        before: Some(TaskId(30_000)),
        limit: 2,
        ..base
    };
    assert_eq!(list(older).await, [29_999, 29_998]);
}

#[tokio::test]
async fn a_task_is_found_by_id_and_by_parent_without_reading_history() {
    let store = store().await;
    let client = psql(&store).await;
    history(&client, 40_000).await;
    assert_eq!(
        ask(&client, "SELECT count(*) FROM tasks WHERE parent = 42").await,
        "4"
    );
    backlog(&client, 20_000).await;
    for (question, most) in [
        ("SELECT * FROM tasks WHERE parent = 42", 100),
        ("SELECT * FROM get(20000)", 300),
        ("SELECT * FROM get(50000)", 300),
    ] {
        ask(&client, question).await;
        let touched = least_buffers(&client, question).await;
        assert!(touched < most, "{question}: {touched}");
    }
    assert_eq!(ask(&client, "SELECT state FROM get(20000)").await, "failed");
    assert_eq!(
        ask(&client, "SELECT state FROM get(50000)").await,
        "runnable"
    );
    let touched = least_buffers(
        &client,
        "SELECT count(*) FROM history WHERE handler = 'absent'",
    )
    .await;
    assert!(touched < 150, "{touched}");
}

#[tokio::test]
async fn a_cancel_of_a_running_task_opens_only_the_partitions_of_its_claim() {
    let store = store().await;
    let client = psql(&store).await;
    let mut runner = TestRunner::new(&store, &["a"]).await;
    store.push(&[new_task("a")]).await.expect("push");
    assert_eq!(runner.claim(1).await.len(), 1);
    client
        .batch_execute(
            "SELECT add_partition(t, date_trunc('day', now()) - i * interval '24 hours', date_trunc('day', now()) - (i - 1) * interval '24 hours')
             FROM unnest(ARRAY['history', 'attempts']) AS t, generate_series(1, 60) AS i",
        )
        .await
        .expect("partitions");
    let other = psql(&store).await;
    other
        .batch_execute("BEGIN; SELECT live_among(ARRAY[1])")
        .await
        .expect("look");
    let locks =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid = pg_backend_pid()";
    let locks: u32 = ask(&other, locks).await.parse().expect("a number");
    assert!(locks < 60, "{locks}");
    assert_eq!(ask(&other, "SELECT cancel(1)").await, "running");
}

#[tokio::test]
async fn a_task_with_many_attempts_is_shown_with_the_first_and_the_last() {
    let store = store().await;
    let client = psql(&store).await;
    client
        .batch_execute(
            "SELECT push('a');
             INSERT INTO attempts (task_id, claim_id, number, kind, ended_at)
             SELECT 1, i, i, 'snooze', now() + i * interval '1 ms' FROM generate_series(1, 300) AS i",
        )
        .await
        .expect("fill");
    let detail = store.task(TaskId(1)).await.expect("task").expect("there");
    let numbers: Vec<i32> = detail.attempts.iter().map(|row| row.number).collect();
    let wanted: Vec<i32> = (1..=50).chain(251..=300).collect();
    assert_eq!((numbers, detail.attempts_omitted), (wanted, 200));
}

#[tokio::test]
async fn a_task_is_shown_with_the_texts_of_its_newest_attempts_up_to_a_limit() {
    // Regardless of how well they compress.
    for message in ["repeat('x', 32)", "md5(random()::text || i || n)"] {
        let store = store().await;
        let client = psql(&store).await;
        let fill = format!(
            r#"SELECT push('a');
             INSERT INTO attempts (task_id, claim_id, number, kind, error_message, error_details, ended_at, logs)
             SELECT 1, i, i, 'error', repeat('no ', 1000), '"no"', now() + i * interval '1 ms', (
                 SELECT json_agg(json_build_object('level', 'info', 'at_ms', n, 'message', {message}))
                 FROM generate_series(1, 14000) AS n WHERE i > 0)
             FROM generate_series(1, 100) AS i"#
        );
        client.batch_execute(&fill).await.expect("fill");
        let detail = store.task(TaskId(1)).await.expect("task").expect("there");
        assert_eq!((detail.attempts.len(), detail.attempts_omitted), (100, 0));
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let lengths = detail.attempts.iter().map(|row| length(&row.logs));
        let sum: usize = lengths.clone().sum();
        assert!((14 << 20..=16 << 20).contains(&sum), "{sum}");
        // The newest have all, the others the beginning of their message.
        let n_whole = lengths.clone().filter(|n| *n > 1_000_000).count();
        assert!(lengths.skip(100 - n_whole).all(|n| n > 1_000_000));
        for (n, row) in detail.attempts.iter().enumerate() {
            let is_whole = n >= 100 - n_whole;
            assert_eq!(row.texts_omitted, !is_whole, "{n}");
            assert_eq!(row.error_details.is_some(), is_whole, "{n}");
            let message = if is_whole { 3_000 } else { 1_000 };
            assert_eq!(length(&row.error_message), message, "{n}");
        }
    }
}

#[tokio::test]
async fn promoting_many_continues_from_its_cursor_and_finds_stragglers() {
    let store = store().await;
    let client = psql(&store).await;
    let due = "INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, args)
        SELECT nextval('task_ids'), 'q', 'a', 0, now() - interval '1 minute', '{}' FROM generate_series(1, 2500)";
    client.batch_execute(due).await.expect("fill");
    let mut cursor = PromoteCursor::default();
    let first = store
        .promote_next(1_000, &mut cursor)
        .await
        .expect("promote");
    assert_eq!(first.count, 1_000);
    // Its transaction committed late.
    let late = "UPDATE scheduled_tasks SET run_at = now() - interval '1 hour' WHERE id = 2400";
    client.batch_execute(late).await.expect("update");
    let mut counts = Vec::new();
    for _ in 0..2 {
        let more = store
            .promote_next(1_000, &mut cursor)
            .await
            .expect("promote");
        counts.push(more.count);
    }
    assert_eq!(counts, [1_000, 499]);
    let started = Instant::now();
    while store
        .promote_next(1_000, &mut cursor)
        .await
        .expect("promote")
        .count
        == 0
    {
        assert!(started.elapsed() < Duration::from_secs(60), "not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&client, "SELECT count(*) FROM runnable").await, "2500");
}
