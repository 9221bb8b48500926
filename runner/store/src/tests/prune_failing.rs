//! Retention: an error in one step of prune does not block the others.

use crate::testdb::*;
use crate::tests::prune::{DAY, ended, ids, partitions};
use crate::verbs::maintain::Retention;

/// The partition of history of the day this many days ago.
async fn partition(client: &tokio_postgres::Client, ago: i32) -> String {
    let text = format!(
        "SELECT name FROM partitions() WHERE parent = 'history' AND low = date_trunc('day', now(), 'UTC') - {ago} * interval '24 hours'"
    );
    ask(client, &text).await
}

#[tokio::test]
async fn a_failing_partition_blocks_no_other_and_no_key() {
    let store = store().await;
    let client = psql(&store).await;
    for ago in [10, 11, 12] {
        partitions(&client, ago).await;
        let time = format!("now() - {ago} * interval '24 hours'");
        ended(&client, i64::from(ago) * 10, &time).await;
    }
    let (refusing, viewed) = (partition(&client, 12).await, partition(&client, 11).await);
    client
        .batch_execute(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
             CREATE TRIGGER refuse BEFORE TRUNCATE ON {refusing} EXECUTE FUNCTION refuse();
             CREATE VIEW report AS SELECT * FROM {viewed};
             SELECT push('a', key => 'k'), cancel(1);
             UPDATE keys SET expires_at = now() - interval '1 h'"
        ))
        .await
        .expect("obstacles");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!((pruned.dropped, pruned.rows), (4, 1));
    let skipped: Vec<&String> = pruned.skipped.iter().collect();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(
        skipped[0].contains(&refusing) && skipped[0].contains("not this one"),
        "{skipped:?}"
    );
    assert!(
        skipped[1].contains(&viewed) && skipped[1].contains("other objects depend on it"),
        "{skipped:?}"
    );
    assert_eq!(ids(&client, "keys", "key").await, "null");
    assert_eq!(ids(&client, "history", "id").await, "1 120 121");

    // They are dropped when the obstacle is gone.
    client
        .batch_execute("DROP VIEW report; DROP FUNCTION refuse CASCADE")
        .await
        .expect("drop");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!((pruned.dropped, pruned.skipped.len()), (2, 0));
    assert_eq!(ids(&client, "history", "id").await, "1");
}

#[tokio::test]
async fn a_stuck_default_partition_blocks_no_other_drop() {
    let store = store().await;
    let client = psql(&store).await;
    partitions(&client, 10).await;
    ended(&client, 1, "now() - interval '10 days'").await;
    ended(&client, 3, "now() - interval '2 days'").await;
    client
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not from here'; END $$;
             CREATE TRIGGER refuse BEFORE DELETE ON history_default FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .expect("obstacle");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!(pruned.dropped, 2);
    let skipped = pruned.skipped.first().expect("one");
    assert!(
        skipped.contains("history_default: not from here"),
        "{skipped}"
    );
    assert_eq!(ids(&client, "history", "id").await, "3 4");
}

#[tokio::test]
async fn a_damaged_row_keeps_its_partition_until_failed_tasks_expire() {
    let store = super::unreadable::own_database("").await;
    let client = psql(&store).await;
    for ago in [10, 11] {
        partitions(&client, ago).await;
        let time = format!("now() - {ago} * interval '24 hours'");
        ended(&client, i64::from(ago) * 10, &time).await;
    }
    let large = "UPDATE history SET args = (SELECT to_json(string_agg(md5(i::text), '')) FROM generate_series(1, 3000) AS i)
        WHERE id IN (101, 111)";
    client.batch_execute(large).await.expect("large");
    for ago in [10, 11] {
        super::unreadable::damage(&client, &partition(&client, ago).await).await;
    }
    let read = "SELECT args::text FROM history WHERE id = 111";
    client
        .query(read, &[])
        .await
        .expect_err("the row is unreadable");
    let retention = Retention {
        history: 7 * DAY,
        failed: 30 * DAY,
    };
    for _ in 0..2 {
        let pruned = store.prune(retention).await.expect("prune");
        assert_eq!(pruned.skipped.len(), 2, "{pruned:?}");
        assert!(
            pruned
                .skipped
                .iter()
                .all(|reason| reason.contains("chunk number")),
            "{pruned:?}"
        );
    }
    assert_eq!(ids(&client, "history", "id").await, "100 101 110 111");
    assert_eq!(ids(&client, "attempts", "task_id").await, "101 111");
    // Without the row, its partition behaves like any other.
    let id = pgtq_task::TaskId(101);
    assert!(store.delete(&[id]).await.expect("delete")[0].changed);
    let pruned = store.prune(retention).await.expect("prune");
    assert_eq!(pruned.skipped.len(), 1, "{pruned:?}");
    assert_eq!(ids(&client, "history", "id").await, "110 111");
    let pruned = store.prune(7 * DAY).await.expect("prune");
    assert_eq!((pruned.dropped, pruned.skipped.len()), (4, 0));
}

#[tokio::test]
async fn many_rows_leave_the_default_partition_at_any_rate() {
    let store = store().await;
    let client = psql(&store).await;
    let today = "SELECT string_agg(format('DROP TABLE %s', name), ';') FROM partitions() WHERE low <= now()";
    client
        .batch_execute(&ask(&client, today).await)
        .await
        .expect("drop");
    // Within thirty seconds, and then at one point in time.
    let fill = "INSERT INTO history (id, state, priority, attempts, crashes, queue, handler, args, pushed_at, due_at, finished_at)
        SELECT i, 'complete', 0, 1, 0, 'q', 'a', '{}', now(), now(),
               date_trunc('day', now(), 'UTC') + interval '1 us' + least(i, 300000) * interval '0.1 ms'
        FROM generate_series(1, 420000) AS i";
    client.batch_execute(fill).await.expect("fill");
    store.prune(7 * DAY).await.expect("prune");
    let left = "SELECT count(*) FROM history_default";
    assert_eq!(ask(&client, left).await, "0");
    assert_eq!(ask(&client, "SELECT count(*) FROM history").await, "420000");
    let today = "SELECT bool_and(high - low >= interval '1 ms') AND min(low) <= now() AND max(high) > now() AND count(*) < 10
        FROM partitions() WHERE parent = 'history' AND low <= now()";
    assert_eq!(ask(&client, today).await, "t");
}
