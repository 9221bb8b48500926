//! What a page of tasks reads, for any length of history and backlog.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::read::filter::Filter;
use crate::sql::Sql;
use crate::testdb::*;
use crate::tests::plans;
use pgtq_task::{State, TaskId};

/// Shared buffers that a page touches, with these literals for its queue, handler, time
/// and error.
async fn buffers(store: &Store, states: &str, filter: [&str; 4]) -> u64 {
    let sql = Sql {
        name: None,
        text: include_str!("../sql/tasks.sql")
            .replace("{{states}}", states)
            .into(),
    };
    let [queue, handler, since, error] = filter;
    let params = [
        queue,
        handler,
        since,
        error,
        "NULL::bigint",
        "50",
        "16777216",
    ];
    let options = "ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF";
    let mut least = u64::MAX;
    for _ in 0..3 {
        let plan = plans::explain(store, options, &sql, &params).await;
        least = least.min(plans::buffers(&plan));
    }
    least
}

const ALL: &str = "'scheduled', 'runnable', 'running', 'complete', 'failed', 'cancelled'";
const NO_TEXT: &str = "NULL::text";
const NO_TIME: &str = "NULL::float8";

/// Failed tasks that ended this long ago.
async fn failed(client: &tokio_postgres::Client, n: i32, age: &str) {
    let text = format!(
        "INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, finished_at, error_message)
         SELECT i, 'failed', 0, 1, 0, 'q', 'a', '{{}}', now(), now(), now() - interval '{age}',
                CASE WHEN i IN (100, 12000, 24990) THEN 'out of luck' ELSE repeat('refused by ' || i, 10) END
         FROM (SELECT nextval('task_ids') AS i FROM generate_series(1, {n})) AS n;
         ANALYZE history"
    );
    client.batch_execute(&text).await.expect("fill");
}

#[tokio::test]
async fn a_page_by_error_scans_ten_thousand_failed_tasks_and_the_next_continues() {
    let store = store().await;
    let client = psql(&store).await;
    failed(&client, 25_000, "0").await;
    let mut filter = Filter {
        error: Some("LUCK".into()),
        ..Filter::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = store.page(&filter).await.expect("page");
        let ids: Vec<i64> = page.tasks.iter().map(|task| task.id.0).collect();
        pages.push((ids, page.reached.map(|id| id.0)));
        filter.before = page.reached;
        if filter.before.is_none() {
            break;
        }
    }
    let wanted = [
        (vec![24_990], Some(15_001)),
        (vec![12_000], Some(5_001)),
        (vec![100], None),
    ];
    assert_eq!(pages, wanted);
    // A full page continues from its last task, and a state without tasks does not cause all
    // others to be read.
    let full = Filter {
        error: Some("refused".into()),
        ..Filter::default()
    };
    let page = store.page(&full).await.expect("page");
    assert_eq!((page.tasks.len(), page.reached), (50, None));
    let cancelled = Filter {
        states: vec![State::Cancelled],
        ..Filter::default()
    };
    let page = store.page(&cancelled).await.expect("page");
    assert_eq!(
        (page.tasks, page.reached),
        (Vec::new(), Some(TaskId(15_001)))
    );
}

#[tokio::test]
async fn a_page_by_error_reads_no_more_when_twice_as_many_failed() {
    let store = store().await;
    let client = psql(&store).await;
    failed(&client, 15_000, "2 hours").await;
    // Failures before the time cost an index entry each, and no page of the table.
    let recent = [NO_TEXT, NO_TEXT, "600", NO_TEXT];
    let recent = buffers(&store, "'failed'", recent).await;
    assert!(recent < 500, "{recent}");
    for (states, error) in [(ALL, "'%luck%'"), ("'cancelled'", NO_TEXT)] {
        let before = buffers(&store, states, [NO_TEXT, NO_TEXT, NO_TIME, error]).await;
        failed(&client, 15_000, "0").await;
        let after = buffers(&store, states, [NO_TEXT, NO_TEXT, NO_TIME, error]).await;
        assert!(after < before + 200, "{states}: {before} {after}");
    }
}

#[tokio::test]
async fn a_page_by_time_reads_twenty_thousand_of_an_old_backlog() {
    let store = store().await;
    let client = psql(&store).await;
    let fill = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, pushed_at, args)
        SELECT 'q', 'a', 0, i, i, now() - interval '2 hours', '{}' FROM (SELECT nextval('task_ids') AS i FROM generate_series(1, 30000)) AS n;
        INSERT INTO runnable_tasks (queue, handler, priority, position, id, pushed_at, args)
        SELECT 'q', 'a', 0, nextval('task_ids'), i, now() - interval '2 hours', '{}' FROM (SELECT nextval('task_ids') AS i FROM generate_series(1, 30000)) AS n;
        INSERT INTO scheduled_tasks (id, queue, handler, priority, run_at, pushed_at, args)
        SELECT nextval('task_ids'), 'q', 'a', 0, now() + interval '1 day', now() - interval '2 hours', '{}' FROM generate_series(1, 30000);
        ANALYZE runnable_tasks; ANALYZE scheduled_tasks";
    client.batch_execute(fill).await.expect("fill");
    let by_time = [NO_TEXT, NO_TEXT, "600", NO_TEXT];
    let before = buffers(&store, ALL, by_time).await;
    client.batch_execute(fill).await.expect("fill");
    client
        .batch_execute("SELECT push('a', queue => 'q')")
        .await
        .expect("push");
    let after = buffers(&store, ALL, by_time).await;
    assert!(after < before + 200, "{before} {after}");
    let minutes = |n: u64| Filter {
        since: Some(Duration::from_secs(60 * n)),
        ..Filter::default()
    };
    let page = store.page(&minutes(10)).await.expect("page");
    assert_eq!((page.tasks.len(), page.reached), (1, None));
    // Within some minutes of the time, a task below may match.
    let page = store.page(&minutes(118)).await.expect("page");
    assert_eq!(page.tasks.len(), 1);
    let reached = page.reached.expect("an id").0;
    assert!((220_000..240_000).contains(&reached), "{reached}");
    let all = store.tasks(&minutes(118)).await.expect("tasks");
    assert_eq!(all.len(), 1);
}

/// Returned tasks are at the end of their lane.
#[tokio::test]
async fn a_page_continues_below_many_returned_tasks() {
    let store = store().await;
    let client = psql(&store).await;
    let fill = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
        SELECT 'q', 'a', 0, i, i, '{}' FROM (SELECT nextval('task_ids') AS i FROM generate_series(1, 5)) AS n;
        INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
        SELECT 'q', 'b', 0, 100000 + i, i, '{}' FROM (SELECT nextval('task_ids') AS i FROM generate_series(1, 25000)) AS n";
    client.batch_execute(fill).await.expect("fill");
    let mut filter = Filter {
        handler: Some("a".into()),
        ..Filter::default()
    };
    let mut ids = Vec::new();
    for _ in 0..5 {
        let page = store.page(&filter).await.expect("page");
        ids.extend(page.tasks.iter().map(|task| task.id.0));
        filter.before = page.reached;
        if filter.before.is_none() {
            break;
        }
    }
    assert_eq!(ids, [5, 4, 3, 2, 1]);
}
