//! Retention: what prune drops and keeps, and that no other transaction waits for it.

use std::time::Duration;

use crate::connection::Store;
use crate::maintain::Retention;
use crate::testdb::*;

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
    assert_eq!(again, crate::maintain::Pruned::default());
    // Such a task behaves like any other.
    let retried = store.retry(&[pgtq_task::TaskId(11)]).await.expect("retry");
    assert!(retried[0].changed);
    store.prune(7 * DAY).await.expect("prune");
    assert_eq!(ids(&client, "attempts", "task_id").await, "null");
}

/// The longest time to store an outcome while `prune` runs alongside a transaction that reads
/// history.
async fn longest_ending(store: &Store, client: &tokio_postgres::Client) -> Duration {
    let pruning = tokio::spawn({
        let store = store.clone();
        async move { store.prune(7 * DAY).await }
    });
    let mut longest = Duration::ZERO;
    let mut id = 1_000;
    while !pruning.is_finished() {
        let started = std::time::Instant::now();
        ended(client, id, "now()").await;
        longest = longest.max(started.elapsed());
        id += 2;
    }
    pruning.await.expect("joined").expect("prune");
    longest
}

#[tokio::test]
async fn an_idle_reader_delays_no_outcome_and_old_days_are_dropped_later() {
    let store = store().await;
    let client = psql(&store).await;
    for ago in 10..20 {
        partitions(&client, ago).await;
        let time = format!("now() - {ago} * interval '24 hours'");
        ended(&client, i64::from(ago) * 10, &time).await;
    }
    let reader = psql(&store).await;
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM history; SELECT count(*) FROM attempts")
        .await
        .expect("read");
    // Waiting for a lock would stall each of them for seconds.
    let longest = longest_ending(&store, &client).await;
    assert!(longest < Duration::from_millis(800), "{longest:?}");
    let old = "SELECT count(*) FROM partitions() WHERE high <= now() - interval '7 days'";
    assert_eq!(ask(&client, old).await, "20");
    reader.batch_execute("COMMIT").await.expect("commit");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!(pruned.dropped, 20);
    assert_eq!(ask(&client, old).await, "0");
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
async fn an_old_claim_keeps_only_the_partitions_of_its_outcomes() {
    let store = store().await;
    let client = psql(&store).await;
    for ago in [10, 20, 30] {
        partitions(&client, ago).await;
        let time = format!("now() - {ago} * interval '24 hours'");
        ended(&client, i64::from(ago), &time).await;
    }
    // Task 20 ended in claim 20, another task of which still runs.
    client
        .batch_execute(
            "INSERT INTO claims (id, runner_id, claimed_at, task_ids, queues, handlers, priorities, attempts, crashes, retries,
                                 pushed_at, due_at, keys, parents, args)
             SELECT 20, 1, now() - interval '40 days', '{20,2000}', '{q,q}', '{a,a}', '{0,0}', '{0,0}', '{0,0}',
                    '{NULL,NULL}', ARRAY[now(), now()], ARRAY[now(), now()], '{NULL,NULL}', '{NULL,NULL}', ARRAY['1', '1']::json[]",
        )
        .await
        .expect("claim");
    store.prune(7 * DAY).await.expect("prune");
    assert_eq!(ids(&client, "history", "id").await, "20 21");
    client
        .batch_execute("DELETE FROM claims")
        .await
        .expect("delete");
    store.prune(7 * DAY).await.expect("prune");
    assert_eq!(ids(&client, "history", "id").await, "null");
}

#[tokio::test]
async fn rows_of_a_default_partition_are_moved_and_block_no_new_partition() {
    let store = store().await;
    let client = psql(&store).await;
    let today = "SELECT string_agg(format('DROP TABLE %s', name), ';') FROM partitions() WHERE low <= now()";
    client
        .batch_execute(&ask(&client, today).await)
        .await
        .expect("drop");
    ended(&client, 1, "now()").await;
    ended(&client, 3, "now() - interval '2 days'").await;
    ended(&client, 5, "now() - interval '30 days'").await;
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!((pruned.created, pruned.rows), (2, 4));
    for table in ["history_default", "attempts_default"] {
        assert_eq!(
            ask(&client, &format!("SELECT count(*) FROM {table}")).await,
            "0"
        );
    }
    assert_eq!(ids(&client, "history", "id").await, "1 2 3 4");
    assert_eq!(ids(&client, "attempts", "task_id").await, "1 2 3 4");
}

#[tokio::test]
async fn many_rows_of_a_default_partition_are_moved_in_pieces() {
    let store = store().await;
    let client = psql(&store).await;
    let fill = "INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, finished_at)
        SELECT i, 'complete', 0, 1, 0, 'q', 'a', '{}', now(), now(),
               date_trunc('day', now()) - interval '48 hours' + i * interval '0.3 s'
        FROM generate_series(1, 150000) AS i";
    client.batch_execute(fill).await.expect("fill");
    store.prune(7 * DAY).await.expect("prune");
    assert_eq!(
        ask(&client, "SELECT count(*) FROM history_default").await,
        "0"
    );
    assert_eq!(ask(&client, "SELECT count(*) FROM history").await, "150000");
    let pieces = "SELECT count(*) FROM partitions() WHERE parent = 'history' AND high < now()";
    assert_eq!(ask(&client, pieces).await, "2");
}

#[tokio::test]
async fn partitions_are_created_while_old_ones_cannot_be_dropped() {
    let store = store().await;
    let client = psql(&store).await;
    partitions(&client, 10).await;
    let last = "SELECT name FROM partitions() WHERE parent = 'history' ORDER BY low DESC LIMIT 1";
    let drop = format!("DROP TABLE {}", ask(&client, last).await);
    client.batch_execute(&drop).await.expect("drop");
    let old = "SELECT name FROM partitions() WHERE high < now() LIMIT 1";
    let reader = psql(&store).await;
    let read = format!(
        "BEGIN; SELECT count(*) FROM {}; SELECT count(*) FROM history WHERE finished_at > now()",
        ask(&client, old).await
    );
    reader.batch_execute(&read).await.expect("read");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!(pruned.created, 0, "the default partition is read");
    reader.batch_execute("COMMIT").await.expect("commit");
    let read = format!("BEGIN; SELECT count(*) FROM {}", ask(&client, old).await);
    reader.batch_execute(&read).await.expect("read");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!((pruned.created, pruned.dropped), (1, 1));
    reader.batch_execute("COMMIT").await.expect("commit");
}

#[tokio::test]
async fn a_year_of_history_is_some_dozen_partitions() {
    let store = store().await;
    let client = psql(&store).await;
    store.prune(365 * DAY).await.expect("prune");
    let days = "SELECT DISTINCT partition_days('365 days')";
    assert_eq!(ask(&client, days).await, "30");
    // From the end of the existing daily ones on.
    let drop = "SELECT string_agg(format('DROP TABLE %s', name), ';') FROM partitions()";
    client
        .batch_execute(&ask(&client, drop).await)
        .await
        .expect("drop");
    store.prune(365 * DAY).await.expect("prune");
    let n = "SELECT count(*) <= 4 FROM partitions()";
    assert_eq!(ask(&client, n).await, "t");
    let covered = "SELECT bool_and(high > now() + interval '72 hours') FROM (SELECT parent, max(high) AS high FROM partitions() GROUP BY 1) AS p";
    assert_eq!(ask(&client, covered).await, "t");
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
