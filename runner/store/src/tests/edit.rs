//! Changes of waiting tasks from SQL: reschedule, reprioritise, move, edit, purge.

use crate::testdb::*;
use crate::tests::push_api::{refused, row};

#[tokio::test]
async fn a_waiting_task_can_be_rescheduled_reprioritised_moved_and_edited() {
    let store = store().await;
    let sql = psql(&store).await;
    sql.batch_execute("SELECT push('a', '{\"x\": 1}', key => 'k', retries => 4); SELECT push('a', queue => 'mail', key => 'k')")
        .await
        .expect("push");
    let task = "SELECT state, queue, handler, priority, retries, key, args FROM tasks WHERE id = 1";
    assert_eq!(ask(&sql, "SELECT reprioritise(1, 7)").await, "runnable");
    assert_eq!(
        row(
            &sql,
            "SELECT priority, position > 2 FROM runnable_tasks WHERE id = 1"
        )
        .await,
        "7|true"
    );
    assert_eq!(
        ask(&sql, "SELECT edit(1, patch => '{\"y\": 2}')").await,
        "runnable"
    );
    assert_eq!(
        row(&sql, task).await,
        "runnable|default|a|7|4|k|{\"x\": 1, \"y\": 2}"
    );
    let position = "SELECT position FROM runnable_tasks WHERE id = 1";
    let before = ask(&sql, position).await;
    assert_eq!(ask(&sql, "SELECT edit(1, '{\"z\" : 3}')").await, "runnable");
    assert_eq!(ask(&sql, position).await, before, "an edit keeps the place");
    assert_eq!(
        row(&sql, task).await,
        "runnable|default|a|7|4|k|{\"z\" : 3}"
    );
    assert_eq!(
        ask(&sql, "SELECT reschedule(1, delay => '3 days')").await,
        "scheduled"
    );
    assert_eq!(
        ask(
            &sql,
            "SELECT expires_at > now() + interval '9 days' FROM keys WHERE task_id = 1"
        )
        .await,
        "t"
    );
    assert_eq!(ask(&sql, "SELECT edit(1, '[]'::json)").await, "scheduled");

    let taken = refused(&sql, "SELECT move(1, 'mail')").await;
    assert_eq!(
        (taken.0.as_str(), taken.1.as_str()),
        ("23505", "another task of queue mail has the key 'k'")
    );
    assert_eq!(ask(&sql, "SELECT move(1, 'post')").await, "scheduled");
    assert_eq!(
        row(&sql, "SELECT * FROM find('k', 'post')").await,
        "1|scheduled"
    );
    assert_eq!(row(&sql, "SELECT * FROM find('k')").await, "nothing");
    assert_eq!(
        ask(&sql, "SELECT reschedule(1, run_at => now())").await,
        "runnable"
    );
    assert_eq!(row(&sql, task).await, "runnable|post|a|7|4|k|[]");

    // Too late, and a missing task.
    sql.batch_execute("SELECT pop('post')").await.expect("pop");
    let all = [
        "reprioritise(1, 2)",
        "move(1, 'x')",
        "edit(1, '{}'::jsonb)",
        "reschedule(1, delay => '1 s')",
    ];
    for call in all {
        assert_eq!(
            ask(&sql, &format!("SELECT {call}")).await,
            "running",
            "{call}"
        );
    }
    sql.batch_execute("SELECT complete(task_id, token) FROM popped")
        .await
        .expect("complete");
    assert_eq!(ask(&sql, "SELECT edit(1, '{}')").await, "complete");
    assert_eq!(ask(&sql, "SELECT move(99, 'x')").await, "null");
    for call in [
        "edit(2)",
        "edit(2, '{', NULL)",
        "move(2, 'a b')",
        "reschedule(2)",
        "reprioritise(2, NULL)",
    ] {
        let error = refused(&sql, &format!("SELECT {call}")).await;
        assert!(error.0.starts_with("22"), "{call}: {error:?}");
    }
}

#[tokio::test]
async fn a_task_held_by_another_transaction_is_reported_as_locked() {
    let store = store().await;
    let (sql, other) = (psql(&store).await, psql(&store).await);
    sql.batch_execute(
        "SELECT push('a'); SELECT push('a', delay => '1 hour'); SELECT push('a', key => 'k')",
    )
    .await
    .expect("push");
    other
        .batch_execute("BEGIN; SELECT edit(n, '[1]') FROM generate_series(1, 3) AS n")
        .await
        .expect("held");
    sql.batch_execute("SET lock_timeout = '50ms'")
        .await
        .expect("set");
    for id in 1..=3 {
        let error = refused(&sql, &format!("SELECT edit({id}, '[2]')")).await;
        assert_eq!(error.0, "55P03");
        assert_eq!(
            error.1,
            format!("task {id} is locked by another transaction")
        );
    }
    other.batch_execute("COMMIT").await.expect("commit");
    assert_eq!(ask(&sql, "SELECT edit(1, '[2]')").await, "runnable");
    assert_eq!(ask(&sql, "SHOW lock_timeout").await, "50ms");
}

#[tokio::test]
async fn a_purge_deletes_waiting_tasks_of_one_queue_in_batches() {
    let store = store().await;
    let sql = psql(&store).await;
    sql.batch_execute(
        "SELECT push_many('a', ARRAY(SELECT '[1]'::jsonb FROM generate_series(1, 25)), queue => 'q');
         SELECT push('b', queue => 'q', key => 'k', delay => '1 hour'), push('b', queue => 'q', key => 'k2');
         SELECT push('a', key => 'k'); SELECT pop('q'); SELECT fail(task_id, token, 'no', retry_in => '1 hour') FROM popped;
         SELECT pop('q')",
    )
    .await
    .expect("fill");
    let mut deleted = Vec::new();
    while deleted.last().is_none_or(|n| n != "0") {
        deleted.push(ask(&sql, "SELECT purge('q', 10)").await);
    }
    assert_eq!(deleted, ["10", "10", "6", "0"]);
    let left = "SELECT string_agg(queue || ' ' || state, ',' ORDER BY queue) FROM tasks";
    assert_eq!(ask(&sql, left).await, "default runnable,q running");
    assert_eq!(
        ask(&sql, "SELECT string_agg(queue, ',') FROM keys").await,
        "default"
    );
    assert_eq!(ask(&sql, "SELECT count(*) FROM attempts").await, "0");
    assert_eq!(
        ask(&sql, "SELECT push_task('b', queue => 'q', key => 'k')")
            .await
            .split(',')
            .nth(1),
        Some("new)")
    );
    assert_eq!(refused(&sql, "SELECT purge(NULL)").await.0, "22023");
}

#[tokio::test]
async fn the_lifetime_of_a_key_counts_from_the_new_time_of_its_task() {
    let store = store().await;
    let sql = psql(&store).await;
    let lasts =
        "SELECT expires_at - (SELECT coalesce(max(run_at), now()) FROM scheduled_tasks) FROM keys";
    sql.batch_execute("SELECT push_task('a', key => 'k', key_ttl => '30 days')")
        .await
        .expect("push");
    ask(&sql, "SELECT reschedule(1, delay => '25 days')").await;
    let days = "SELECT round(extract(epoch FROM expires_at - now()) / 86400) FROM keys";
    assert_eq!(ask(&sql, days).await, "55");
    ask(&sql, "SELECT reschedule(1, delay => '0')").await;
    assert_eq!(ask(&sql, days).await, "30");
    let replace = "SELECT outcome FROM push_task('a', key => 'k', on_conflict => 'replace', delay => '1 day', key_ttl => '2 days')";
    assert_eq!(ask(&sql, replace).await, "replaced");
    assert_eq!(ask(&sql, lasts).await, "2 days");
    // Without a time or a lifetime, it stays unchanged.
    ask(&sql, "SELECT reprioritise(1, 4)").await;
    let replace = "SELECT outcome FROM push_task('a', key => 'k', on_conflict => 'replace')";
    assert_eq!(ask(&sql, replace).await, "replaced");
    assert_eq!(ask(&sql, days).await, "3");
}

#[tokio::test]
async fn a_patch_and_its_arguments_must_be_objects() {
    let store = store().await;
    let sql = psql(&store).await;
    sql.batch_execute("SELECT push('a', '[1, 2]'), push('a', '{\"x\": 1}')")
        .await
        .expect("push");
    for (id, patch) in [(1, "{\"b\": 1}"), (2, "[1]"), (2, "5")] {
        let edit = format!("SELECT edit({id}, patch => '{patch}')");
        assert_eq!(refused(&sql, &edit).await.0, "22023", "{edit}");
    }
    let args = "SELECT string_agg(args::text, ' ' ORDER BY id) FROM runnable";
    assert_eq!(ask(&sql, args).await, "[1, 2] {\"x\": 1}");
}
