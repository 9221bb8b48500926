//! The partitions of history and attempts: made, filled, moved into and dropped.

use std::time::Duration;

use crate::connect::connection::Store;
use crate::testdb::*;
use crate::tests::prune::{DAY, ended, ids, partitions};

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
