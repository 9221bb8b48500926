//! How much waits in each queue, at a cost that does not grow with it.

use super::StoreError;
use super::session::Lease;
use super::sql::sql;

/// Pages of a table that are counted: about 4 MB of each of two, within 30 ms.
const PAGES: i64 = 500;
/// Tasks counted one by one before chance is asked.
const EXACT: i64 = 20_000;
/// As many in each queue at least, however many queues there are.
const EXACT_EACH: i64 = 1_000;

/// What waits in one queue.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Waiting {
    pub(super) queue: String,
    pub(super) scheduled: i64,
    pub(super) runnable: i64,
    /// `scheduled` is an estimate.
    pub(super) scheduled_is_estimate: bool,
    /// `runnable` is an estimate.
    pub(super) runnable_is_estimate: bool,
    /// By the database's clock; of what was counted.
    pub(super) oldest_runnable_seconds: Option<f64>,
}

/// All queues in which something waits, by name.
pub(super) async fn waiting(lease: &mut Lease<'_>) -> Result<Vec<Waiting>, StoreError> {
    count(lease, PAGES, EXACT, EXACT_EACH).await
}

async fn count(
    lease: &mut Lease<'_>,
    pages: i64,
    exact: i64,
    exact_each: i64,
) -> Result<Vec<Waiting>, StoreError> {
    let rows = lease
        .query(sql!("waiting"), &[&pages, &exact, &exact_each])
        .await?;
    let waiting = rows.iter().map(|row| Waiting {
        queue: row.get("queue"),
        scheduled: row.get("scheduled"),
        runnable: row.get("runnable"),
        scheduled_is_estimate: row.get("scheduled_is_estimate"),
        runnable_is_estimate: row.get("runnable_is_estimate"),
        oldest_runnable_seconds: row.get("oldest_runnable_seconds"),
    });
    Ok(waiting.collect())
}

#[cfg(test)]
mod tests {
    use super::super::connection::Role;
    use super::super::testdb;
    use super::*;

    /// 30,000 runnable tasks and as many scheduled ones in `large`, 7 and 3 in `small`.
    async fn counted(pages: i64, exact: i64, exact_each: i64) -> Vec<Waiting> {
        let store = testdb::store().await;
        let client = testdb::psql(&store).await;
        let schema = &store.config().schema;
        let fill = "WITH n AS (
                SELECT nextval('{{schema}}.task_ids') AS id, CASE WHEN n % 3000 = 1 AND n < 21000 THEN 'small' ELSE 'large' END AS queue
                FROM generate_series(1, 30007) AS n)
            INSERT INTO {{schema}}.runnable_tasks (queue, handler, priority, position, id, due_at, args)
            SELECT n.queue, 'a', 0, n.id, n.id, now() - interval '1 minute', '{}' FROM n;
            INSERT INTO {{schema}}.scheduled_tasks (id, queue, handler, priority, run_at, args)
            SELECT nextval('{{schema}}.task_ids'), CASE WHEN n <= 3 THEN 'small' ELSE 'large' END, 'a', 0, now() + interval '1 hour', '{}'
            FROM generate_series(1, 30003) AS n";
        let filled = client.batch_execute(&schema.render(fill)).await;
        filled.expect("fill");
        let mut lease = store.lease(Role::General, "count").await.expect("lease");
        count(&mut lease, pages, exact, exact_each)
            .await
            .expect("count")
    }

    #[tokio::test]
    async fn what_fits_in_so_many_pages_is_counted_to_the_last() {
        let all = counted(10_000, 10, 1).await;
        let numbers: Vec<_> = all
            .iter()
            .map(|w| (w.queue.as_str(), w.scheduled, w.runnable))
            .collect();
        assert_eq!(numbers, [("large", 30_000, 30_000), ("small", 3, 7)]);
        let guessed = |w: &Waiting| w.scheduled_is_estimate || w.runnable_is_estimate;
        assert!(!all.iter().any(guessed));
        let oldest = all[0].oldest_runnable_seconds.expect("some wait");
        assert!((60.0..120.0).contains(&oldest), "{oldest}");
    }

    #[tokio::test]
    async fn of_more_an_estimate_is_made_and_said_and_small_queues_are_exact() {
        let all = counted(100, 100, 20).await;
        let [large, small] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert!(large.scheduled_is_estimate && large.runnable_is_estimate);
        for n in [large.scheduled, large.runnable] {
            // A quarter of the pages: ten standard deviations and more.
            assert!((15_000..45_000).contains(&n), "{n}");
        }
        assert!(!small.runnable_is_estimate);
        assert_eq!((small.queue.as_str(), small.runnable), ("small", 7));
    }

    #[tokio::test]
    async fn a_few_tasks_are_exact_however_large_their_table_once_was() {
        let all = counted(1, 40_000, 40_000).await;
        let numbers: Vec<_> = all.iter().map(|w| (w.scheduled, w.runnable)).collect();
        assert_eq!(numbers, [(30_000, 30_000), (3, 7)]);
    }
}
