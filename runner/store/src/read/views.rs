//! Tasks for display: lists, one task with its history, waiting for a final state.

use std::time::{Duration, Instant};

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::read::filter::Filter;
use crate::read::task_reads::detail;
use crate::read::task_row::{TaskDetail, TaskRow};
use crate::sql::sql;
use pgtq_task::TaskId;

impl Store {
    /// Bytes of texts, as stored, in one page of [`Store::tasks`] and in the attempts of
    /// [`Store::task`].
    pub const PAGE_BYTES: i64 = 16 << 20;

    /// As [`Store::page`], and continues until it reaches the limit or the bytes of a page, or
    /// has scanned everything.
    pub async fn tasks(&self, filter: &Filter) -> Result<Vec<TaskRow>, StoreError> {
        let mut filter = filter.clone();
        let mut tasks = Vec::new();
        loop {
            let page = self.page(&filter).await?;
            let n = u32::try_from(page.tasks.len()).unwrap_or(u32::MAX);
            filter.limit = filter.limit.saturating_sub(n);
            tasks.extend(page.tasks);
            filter.before = page.reached.filter(|_| filter.limit > 0);
            if filter.before.is_none() {
                return Ok(tasks);
            }
        }
    }

    /// Number of tasks that match a filter; its limit is ignored.
    pub async fn count(&self, filter: &Filter) -> Result<u64, StoreError> {
        let params = filter.params();
        let sql = filter.statement(include_str!("../sql/tasks_count.sql"));
        let rows = self
            .run(
                Role::Bulk,
                "count tasks",
                &sql,
                &[&params.queue, &params.handler, &params.since, &params.error],
            )
            .await?;
        Ok(rows[0].get::<_, i64>("count").unsigned_abs())
    }

    /// The next ids that match a filter, ascending, after `after`: for processing many tasks in
    /// batches (at most 100,000 at once: each batch sorts the backlog). The filter's limit and
    /// page are ignored.
    pub async fn ids(
        &self,
        filter: &Filter,
        after: Option<TaskId>,
    ) -> Result<Vec<TaskId>, StoreError> {
        let params = filter.params();
        let after = after.map_or(0, |id| id.0);
        let sql = filter.statement(include_str!("../sql/tasks_ids.sql"));
        let rows = self
            .run(
                Role::Bulk,
                "list tasks",
                &sql,
                &[
                    &params.queue,
                    &params.handler,
                    &params.since,
                    &params.error,
                    &after,
                ],
            )
            .await?;
        Ok(rows.iter().map(|row| TaskId(row.get("id"))).collect())
    }

    /// One task with its history; `None` when there is none with this id. If the server cannot
    /// return it, the reason replaces its texts.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskDetail>, StoreError> {
        let mut lease = self.lease(Role::General, "show a task").await?;
        detail(&mut lease, id).await
    }

    /// Waits until the task is complete, failed or cancelled; `None` when `timeout` passed first
    /// or there is no such task (any more). Cancel-safe.
    pub async fn wait_final(
        &self,
        id: TaskId,
        timeout: Option<Duration>,
    ) -> Result<Option<TaskDetail>, StoreError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(2);
        let mut looked: Option<Instant> = None;
        loop {
            let over = self
                .run(Role::General, "wait for a task", sql!("is_final"), &[&id.0])
                .await?;
            if !over.is_empty() {
                return self.task(id).await;
            }
            // The task may be deleted during the wait.
            if looked.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
                looked = Some(Instant::now());
                match self.task(id).await? {
                    None => return Ok(None),
                    Some(detail) if detail.task.state.is_final() => return Ok(Some(detail)),
                    Some(_) => {}
                }
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            tokio::time::sleep(pause.min(left.unwrap_or(pause))).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}
