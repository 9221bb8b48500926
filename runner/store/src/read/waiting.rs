//! Counts the waiting tasks of each queue, at a cost that does not grow with their number.

use crate::connect::error::StoreError;
use crate::connect::session::Lease;
use crate::sql::sql;

/// Pages of a table that are counted: about 4 MB of each of two tables, within 30 ms.
const PAGES: i64 = 500;
/// Tasks counted exactly before sampling starts.
const EXACT: i64 = 20_000;
/// Minimum for each of a few queues.
const EXACT_EACH: i64 = 1_000;
/// Maximum queues in the list.
pub(crate) const MOST_QUEUES: i64 = 1_000;

/// The waiting tasks of one queue.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Waiting {
    pub(crate) queue: String,
    pub(crate) scheduled: i64,
    pub(crate) runnable: i64,
    /// `scheduled` is an estimate.
    pub(crate) scheduled_is_estimate: bool,
    /// `runnable` is an estimate.
    pub(crate) runnable_is_estimate: bool,
    /// By the database's clock; among the counted tasks only.
    pub(crate) oldest_runnable_seconds: Option<f64>,
}

/// The waiting tasks of all queues together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Total {
    pub(crate) scheduled: i64,
    pub(crate) runnable: i64,
    pub(crate) scheduled_is_estimate: bool,
    pub(crate) runnable_is_estimate: bool,
}

/// The first queues by name with waiting tasks, and the number of such queues: a lower bound if
/// there are many.
pub(crate) async fn waiting(lease: &mut Lease<'_>) -> Result<(Vec<Waiting>, i64), StoreError> {
    count(lease, PAGES, EXACT, EXACT_EACH).await
}

/// The total of waiting tasks.
pub(crate) async fn total(lease: &mut Lease<'_>) -> Result<Total, StoreError> {
    let rows = lease
        .query(sql!("waiting_total"), &[&PAGES, &EXACT])
        .await?;
    let row = &rows[0];
    Ok(Total {
        scheduled: row.get("scheduled"),
        runnable: row.get("runnable"),
        scheduled_is_estimate: row.get("scheduled_is_estimate"),
        runnable_is_estimate: row.get("runnable_is_estimate"),
    })
}

async fn count(
    lease: &mut Lease<'_>,
    pages: i64,
    exact: i64,
    exact_each: i64,
) -> Result<(Vec<Waiting>, i64), StoreError> {
    let rows = lease
        .query(
            sql!("waiting"),
            &[&pages, &exact, &exact_each, &MOST_QUEUES],
        )
        .await?;
    let n_found = rows.first().map_or(0, |row| row.get("found"));
    let waiting = rows.iter().map(|row| Waiting {
        queue: row.get("queue"),
        scheduled: row.get("scheduled"),
        runnable: row.get("runnable"),
        scheduled_is_estimate: row.get("scheduled_is_estimate"),
        runnable_is_estimate: row.get("runnable_is_estimate"),
        oldest_runnable_seconds: row.get("oldest_runnable_seconds"),
    });
    Ok((waiting.collect(), n_found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::role::Role;
    use crate::testdb;

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
        let counted = count(&mut lease, pages, exact, exact_each).await;
        let (queues, n_found) = counted.expect("count");
        assert_eq!(usize::try_from(n_found), Ok(queues.len()));
        queues
    }

    #[tokio::test]
    async fn tasks_within_the_sampled_pages_are_counted_exactly() {
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
    async fn more_tasks_are_marked_as_an_estimate_and_small_queues_are_exact() {
        let all = counted(100, 100, 20).await;
        let [large, small] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert!(large.scheduled_is_estimate && large.runnable_is_estimate);
        for n in [large.scheduled, large.runnable] {
            // A quarter of the pages: the bounds are more than ten standard deviations away.
            assert!((15_000..45_000).contains(&n), "{n}");
        }
        assert!(!small.runnable_is_estimate);
        assert_eq!((small.queue.as_str(), small.runnable), ("small", 7));
    }

    #[tokio::test]
    async fn a_few_tasks_are_exact_in_a_formerly_large_table() {
        let all = counted(1, 40_000, 40_000).await;
        let numbers: Vec<_> = all.iter().map(|w| (w.scheduled, w.runnable)).collect();
        assert_eq!(numbers, [(30_000, 30_000), (3, 7)]);
    }

    #[tokio::test]
    async fn the_first_of_a_hundred_thousand_queues_are_listed_within_a_second() {
        let store = testdb::store().await;
        let client = testdb::psql(&store).await;
        let fill = "INSERT INTO runnable_tasks (queue, handler, priority, position, id, args)
            SELECT 'q' || lpad((n % 100000)::text, 6, '0'), 'a', 0, n, n, '{}' FROM generate_series(1, 300000) AS n;
            SELECT setval('task_ids', 300000); ANALYZE runnable_tasks";
        client.batch_execute(fill).await.expect("fill");
        let started = std::time::Instant::now();
        let list = store.queue_list().await.expect("queues");
        assert_eq!(list.queues.len(), 1_000);
        assert_eq!(
            (list.queues[7].queue.as_str(), list.queues[7].runnable),
            ("q000007", 3)
        );
        assert_eq!(list.more, 10_000, "counted no further");
        let stats = store.stats().await.expect("stats");
        assert!(stats.runnable_is_estimate && (150_000..450_000).contains(&stats.runnable));
        let page = crate::read::filter::Filter {
            limit: 3,
            ..Default::default()
        };
        let tasks = store.tasks(&page).await.expect("tasks");
        let ids: Vec<i64> = tasks.iter().map(|task| task.id.0).collect();
        assert_eq!(ids, [300_000, 299_999, 299_998]);
        let one = store.task(pgtq_task::TaskId(150_000)).await.expect("show");
        assert_eq!(one.expect("it is there").task.queue, "q050000");
        // It takes half a second alone; other tests run at the same time.
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }
}
