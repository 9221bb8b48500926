//! Retention: what prune cannot do keeps it from nothing else.

use super::super::testdb::*;
use super::prune::DAY;

#[tokio::test]
async fn more_rows_than_are_moved_at_once_leave_the_default_partition_whatever_their_rate() {
    let store = store().await;
    let client = psql(&store).await;
    let today = "SELECT string_agg(format('DROP TABLE %s', name), ';') FROM partitions() WHERE low <= now()";
    client
        .batch_execute(&ask(&client, today).await)
        .await
        .expect("drop");
    // In thirty seconds, and then in one moment.
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
