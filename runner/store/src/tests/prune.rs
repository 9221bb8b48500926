//! Retention: what prune drops and keeps, and that no other transaction waits for it.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::verbs::maintain::Retention;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A complete and a failed task that ended at `time`, with an earlier attempt each.
pub(super) async fn ended(client: &tokio_postgres::Client, id: i64, time: &str) {
    let text = format!(
        "INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, finished_at, claim_id)
         SELECT i, CASE i WHEN {id} THEN 'complete' ELSE 'failed' END, 0, 2, 0, 'default', 'a', '{{}}', now(), now(), {time}, i
         FROM generate_series({id}, {id} + 1) AS i;
         INSERT INTO attempts (task_id, claim_id, number, kind, ended_at)
         SELECT i, i, 1, 'error', {time} FROM generate_series({id}, {id} + 1) AS i"
    );
    client.batch_execute(&text).await.expect("insert");
}

/// A partition of each table for the day this many days ago.
pub(super) async fn partitions(client: &tokio_postgres::Client, ago: i32) {
    let text = format!(
        "SELECT add_partition(t, day, day + interval '24 hours')
         FROM unnest(ARRAY['history', 'attempts']) AS t,
              (SELECT date_trunc('day', now(), 'UTC') - {ago} * interval '24 hours') AS p (day)"
    );
    client.batch_execute(&text).await.expect("partitions");
}

pub(super) async fn ids(client: &tokio_postgres::Client, table: &str, column: &str) -> String {
    let text = format!("SELECT string_agg({column}::text, ' ' ORDER BY {column}) FROM {table}");
    ask(client, &text).await
}

#[tokio::test]
async fn every_table_has_a_replica_identity_and_a_publication_of_all_tables_breaks_nothing() {
    let store = store().await;
    let client = psql(&store).await;
    partitions(&client, 20).await;
    ended(&client, 1, "now() - interval '20 days'").await;
    ended(&client, 3, "now() - interval '40 days'").await;
    ended(&client, 5, "now()").await;
    let without = "SELECT string_agg(c.relname, ' ') FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relreplident <> 'f'
          AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid
              AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END)";
    assert_eq!(ask(&client, without).await, "null");
    let publication = format!("{}_all", store.config().schema);
    client
        .batch_execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"))
        .await
        .expect("publication");
    let retried = store.retry(&[pgtq_task::TaskId(6)]).await.expect("retry");
    assert!(retried[0].changed);
    let deleted = store.delete(&[pgtq_task::TaskId(5)]).await.expect("delete");
    assert!(deleted[0].changed);
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!((pruned.dropped, pruned.rows), (2, 4));
    // Partitions that prune creates are no exception.
    assert_eq!(ask(&client, without).await, "null");
    let drop = format!("DROP PUBLICATION {publication}");
    client.batch_execute(&drop).await.expect("drop");
}

#[tokio::test]
async fn many_failed_tasks_are_kept_in_place_and_the_others_are_deleted_in_steps() {
    let store = store().await;
    let client = psql(&store).await;
    partitions(&client, 10).await;
    let fill = "INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, finished_at)
        SELECT i, CASE WHEN i % 8 < 3 THEN 'failed' ELSE 'complete' END, 0, 1, 0, 'default', 'a', '{}', now(), now(), now() - interval '240 hours'
        FROM generate_series(1, 160000) AS i";
    client.batch_execute(fill).await.expect("fill");
    let one = "SELECT changed FROM prune_partition(now() - interval '7 days', now() - interval '30 days')";
    let left = "SELECT concat_ws(' ', count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state <> 'failed') BETWEEN 1 AND 99999) FROM history";
    // The partition of attempts has nothing to keep, and comes first.
    let mut seen = Vec::new();
    for _ in 0..3 {
        assert_eq!(ask(&client, one).await, "t");
        seen.push(ask(&client, left).await);
    }
    assert_eq!(seen, ["60000 f", "60000 t", "60000 f"]);
    let retention = Retention {
        history: 7 * DAY,
        failed: 30 * DAY,
    };
    store.prune(retention).await.expect("prune");
    assert_eq!(ask(&client, "SELECT count(*) FROM history").await, "60000");
    assert_eq!(store.prune(7 * DAY).await.expect("prune").dropped, 2);
}

#[tokio::test]
async fn failed_tasks_are_kept_longer_than_complete_ones() {
    let store = store().await;
    let client = psql(&store).await;
    for ago in [10, 40] {
        partitions(&client, ago).await;
        let time = format!("now() - {ago} * interval '24 hours'");
        ended(&client, i64::from(ago), &time).await;
    }
    let retention = Retention {
        history: 7 * DAY,
        failed: 30 * DAY,
    };
    store.prune(retention).await.expect("prune");
    assert_eq!(ids(&client, "history", "id").await, "11");
    assert_eq!(ids(&client, "attempts", "task_id").await, "11");
    let again = store.prune(retention).await.expect("prune");
    assert_eq!(again, crate::verbs::maintain::Pruned::default());
    // Such a task behaves like any other.
    let retried = store.retry(&[pgtq_task::TaskId(11)]).await.expect("retry");
    assert!(retried[0].changed);
    store.prune(7 * DAY).await.expect("prune");
    assert_eq!(ids(&client, "attempts", "task_id").await, "null");
}

#[tokio::test]
async fn one_prune_runs_at_a_time_and_the_others_do_not_wait() {
    let store = store().await;
    let client = psql(&store).await;
    partitions(&client, 10).await;
    let other = psql(&store).await;
    other
        .batch_execute("BEGIN; SELECT * FROM prune('7 days')")
        .await
        .expect("prune");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!(pruned.dropped, 0);
    other.batch_execute("ROLLBACK").await.expect("rollback");
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let store = Store::connect(store.config().clone())
            .await
            .expect("connect");
        all.spawn(async move { store.prune(7 * DAY).await.expect("prune").dropped });
    }
    assert_eq!(all.join_all().await.iter().sum::<u64>(), 2);
}

#[tokio::test]
async fn keys_expire_by_their_own_time_and_stay_with_waiting_or_running_tasks() {
    let store = store().await;
    let client = psql(&store).await;
    let mut runner = TestRunner::new(&store, &["b"]).await;
    client
        .batch_execute(
            "SELECT push('a', key => 'runnable'), push('a', key => 'scheduled', delay => '1 day'), push('b', key => 'running'),
                    push('a', key => 'gone'), push('a', key => 'young');
             DELETE FROM runnable_tasks WHERE key IN ('gone', 'young');
             UPDATE keys SET expires_at = now() - interval '1 hour' WHERE key <> 'young'",
        )
        .await
        .expect("push");
    assert_eq!(runner.claim(1).await.len(), 1);
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!(pruned.rows, 1);
    assert_eq!(
        ids(&client, "keys", "key").await,
        "runnable running scheduled young"
    );
    let due = "SELECT count(*) FROM keys WHERE expires_at < now() + interval '6 days'";
    assert_eq!(ask(&client, due).await, "0");
}

#[tokio::test]
async fn prune_needs_read_committed_and_keeps_the_key_of_a_task_under_retry() {
    let store = store().await;
    let client = psql(&store).await;
    let other = psql(&store).await;
    other
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .expect("begin");
    let refused = super::push_api::refused(&other, "SELECT prune('7 days')").await;
    assert_eq!(refused.0, "25001");
    other.batch_execute("ROLLBACK").await.expect("rollback");

    // The transaction of the retry is older than the key's new end.
    other.batch_execute("BEGIN").await.expect("begin");
    client
        .batch_execute(
            "SELECT push_task('a', key => 'k', key_ttl => '1 ms'), cancel(1);
             UPDATE keys SET expires_at = first_at + interval '1 us'",
        )
        .await
        .expect("push");
    assert_eq!(ask(&other, "SELECT retry(1)").await, "runnable");
    assert_eq!(store.prune(7 * DAY).await.expect("prune").rows, 0);
    other.batch_execute("COMMIT").await.expect("commit");
    assert_eq!(store.prune(7 * DAY).await.expect("prune").rows, 0);
    assert_eq!(ask(&client, "SELECT push('a', key => 'k')").await, "1");

    // A retry that comes while the key is being deleted inserts it again.
    client
        .batch_execute("SELECT cancel(1); UPDATE keys SET expires_at = first_at + interval '1 us'")
        .await
        .expect("cancel");
    other
        .batch_execute("BEGIN; SELECT prune('7 days')")
        .await
        .expect("prune");
    let retrying = tokio::spawn({
        let store = store.clone();
        async move { store.retry(&[pgtq_task::TaskId(1)]).await }
    });
    let pruner = ask(&other, "SELECT pg_backend_pid()").await;
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE {pruner} = ANY (pg_blocking_pids(pid))"
    );
    while ask(&client, &waits).await == "0" && !retrying.is_finished() {
        tokio::task::yield_now().await;
    }
    other.batch_execute("COMMIT").await.expect("commit");
    retrying.await.expect("joined").expect("retry");
    assert_eq!(ask(&client, "SELECT push('a', key => 'k')").await, "1");
}

#[tokio::test]
async fn saved_values_are_pruned_a_batch_at_a_time_and_all_of_them_in_turn() {
    let store = store().await;
    let client = psql(&store).await;
    client
        .batch_execute(
            "INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at)
             SELECT i, CASE WHEN i % 2 = 0 THEN 'complete' ELSE 'failed' END, 0, 1, 0, 'q', 'a', '{}', now(), now()
             FROM generate_series(1, 10) AS i;
             INSERT INTO task_state (task_id, name, value, claim_id) SELECT i, 'x', '1', i FROM generate_series(1, 10) AS i",
        )
        .await
        .expect("fill");
    for left in [8, 6, 5, 5] {
        client
            .batch_execute("SELECT prune_state('7 days', 4)")
            .await
            .expect("prune");
        assert_eq!(
            ask(&client, "SELECT count(*) FROM task_state").await,
            left.to_string()
        );
    }
}
