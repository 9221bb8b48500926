//! Reads tasks for display, including tasks that the server cannot return in full.

use std::borrow::Cow;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::session::Lease;
use crate::read::filter::Filter;
use crate::read::task_row::{TaskDetail, TaskPage, attempt_row, task_row};
use crate::sql::{Sql, sql};
use pgtq_task::{State, TaskId};

impl Store {
    /// A page of tasks, newest (highest id) first: at most `limit`, and fewer if their texts
    /// exceed [`Store::PAGE_BYTES`], or if the tasks that one page scans contain fewer matches.
    /// If the server cannot return a task, the reason replaces its texts.
    pub async fn page(&self, filter: &Filter) -> Result<TaskPage, StoreError> {
        let mut lease = self.lease(Role::General, "list tasks").await?;
        let text = include_str!("../sql/tasks.sql");
        match page(&mut lease, filter, text.into()).await {
            Err(_) if lease.met_unreadable() => {}
            rows => {
                let (rows, reached) = rows?;
                let tasks = rows.iter().map(task_row).collect::<Result<_, _>>()?;
                return Ok(TaskPage { tasks, reached });
            }
        }
        let mut tasks = Vec::new();
        let (rows, reached) = page(&mut lease, filter, without_texts(text)).await?;
        for row in rows {
            let without = task_row(&row)?;
            let found = detail(&mut lease, without.id).await?;
            tasks.push(found.map_or(without, |found| found.task));
        }
        Ok(TaskPage { tasks, reached })
    }
}

/// The rows of `tasks.sql`, or of a text derived from it, and the lowest id that it scanned.
async fn page(
    lease: &mut Lease<'_>,
    filter: &Filter,
    text: Cow<'static, str>,
) -> Result<(Vec<Row>, Option<TaskId>), StoreError> {
    let params = filter.params();
    let before = filter.before.map(|id| id.0);
    let limit = i64::from(filter.limit);
    let sql = filter.statement(text);
    let params: [&(dyn ToSql + Sync); 7] = [
        &params.queue,
        &params.handler,
        &params.since,
        &params.error,
        &before,
        &limit,
        &Store::PAGE_BYTES,
    ];
    let mut rows = lease.query(&sql, &params).await?;
    let reached = rows
        .first()
        .and_then(|row| row.get::<_, Option<i64>>("reached"));
    rows.retain(|row| row.get::<_, Option<i64>>("id").is_some());
    Ok((rows, reached.map(TaskId)))
}

/// One task with its attempts.
pub(crate) async fn detail(
    lease: &mut Lease<'_>,
    id: TaskId,
) -> Result<Option<TaskDetail>, StoreError> {
    let rows = match lease.query(sql!("task"), &[&id.0]).await {
        Err(reason) if lease.met_unreadable() => return unreadable(lease, id, &reason).await,
        rows => rows?,
    };
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let bounds: [&(dyn ToSql + Sync); 2] = [&id.0, &Store::PAGE_BYTES];
    let attempts = match lease.query(sql!("task_attempts"), &bounds).await {
        Err(reason) if lease.met_unreadable() => return unreadable(lease, id, &reason).await,
        attempts => attempts?,
    };
    let task = task_row(row)?;
    Ok(Some(TaskDetail {
        attempts_omitted: attempts.first().map_or(0, |row| row.get("omitted")),
        attempts: attempts.iter().map(attempt_row).collect(),
        progress: task.progress.clone(),
        task,
        cancel_asked: row.get("cancel_asked"),
    }))
}

/// A task whose texts the server cannot return.
async fn unreadable(
    lease: &mut Lease<'_>,
    id: TaskId,
    reason: &StoreError,
) -> Result<Option<TaskDetail>, StoreError> {
    let sql = Sql {
        name: None,
        text: without_texts(include_str!("../sql/task.sql")),
    };
    let rows = lease.query(&sql, &[&id.0]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let mut task = task_row(row)?;
    let what = match task.claim.filter(|_| task.state == State::Running) {
        Some(claim) => format!("claim {claim}, which holds this task"),
        None => "this task".to_owned(),
    };
    task.error_message = Some(format!("the database cannot read {what}: {reason}"));
    Ok(Some(TaskDetail {
        attempts: Vec::new(),
        attempts_omitted: 0,
        progress: None,
        task,
        cancel_asked: row.get("cancel_asked"),
    }))
}

/// The text columns of tasks, and their replacements.
const TEXTS: [(&str, &str); 6] = [
    ("{{schema}}.running AS", RUNNING_WITHOUT_ARGS),
    ("t.args::text AS args", "'null' AS args"),
    ("t.result::text AS result", "NULL::text AS result"),
    (
        "t.error_kind, t.error_message,",
        "t.error_kind, NULL::text AS error_message,",
    ),
    ("t.key::text AS key", "NULL::text AS key"),
    (
        "p.fraction, p.message",
        "NULL::float8 AS fraction, NULL::text AS message",
    ),
];

/// The view `running` without reading the arguments of a claim.
const RUNNING_WITHOUT_ARGS: &str = "(
    SELECT r.id, r.state, r.queue, r.handler, r.priority, 'null'::json AS args, r.result, r.error_kind, r.error_code,
           r.error_message, r.attempts, r.crashes, r.retries, r.pushed_at, r.due_at, r.started_at, r.finished_at,
           r.runner_id, r.claim_id, r.key, r.parent
    FROM {{schema}}.running AS r) AS";

/// `tasks.sql` or `task.sql` without the text columns.
fn without_texts(text: &str) -> Cow<'static, str> {
    let each = TEXTS.iter();
    Cow::Owned(each.fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_found_in_both_statements() {
        for text in [
            include_str!("../sql/tasks.sql"),
            include_str!("../sql/task.sql"),
        ] {
            let without = without_texts(text);
            for (from, to) in TEXTS {
                assert_eq!(text.matches(from).count(), 1, "{from}");
                let n_left = to.matches(from).count();
                assert!(without.contains(to), "{from}");
                assert_eq!(without.matches(from).count(), n_left, "{from}");
            }
        }
    }
}
