//! Operations on tasks and queues: cancel, retry, delete, pause, resume.

use std::collections::HashMap;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::sql::{Sql, sql};
use pgtq_task::{Name, State, TaskId};

/// The result for one task id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The task.
    pub id: TaskId,
    /// Its state before the call; `None` when there is no such task.
    pub was: Option<State>,
    /// Whether the call had an effect. A cancel request for a running task counts, although the
    /// task ends a moment later.
    pub changed: bool,
}

/// Bytes of tasks, as stored, that one statement moves or deletes, if it has more than one task:
/// a server takes a second for some ten MiB of arguments.
const MOVE_BYTES: i64 = 16 << 20;
/// Up to this many are moved without reading their size.
const FEW: usize = 16;

impl Store {
    /// Cancels waiting tasks at once, and running ones by a request to their runner. One result
    /// for each id, in this order. Like the other verbs here, it moves many large tasks in
    /// several transactions, so that after an error some may have been moved.
    pub async fn cancel(&self, ids: &[TaskId]) -> Result<Vec<Moved>, StoreError> {
        self.move_tasks("cancel tasks", sql!("cancel_tasks"), ids)
            .await
    }

    /// Makes failed and cancelled tasks runnable with their counters reset, and scheduled ones
    /// runnable now. One result for each id, in this order.
    pub async fn retry(&self, ids: &[TaskId]) -> Result<Vec<Moved>, StoreError> {
        self.move_tasks("retry tasks", sql!("retry_tasks"), ids)
            .await
    }

    /// Deletes tasks with their history. Running tasks are not deleted. One result for each id,
    /// in this order.
    pub async fn delete(&self, ids: &[TaskId]) -> Result<Vec<Moved>, StoreError> {
        self.move_tasks("delete tasks", sql!("delete_tasks"), ids)
            .await
    }

    async fn move_tasks(
        &self,
        verb: &'static str,
        sql: &Sql,
        ids: &[TaskId],
    ) -> Result<Vec<Moved>, StoreError> {
        let numbers: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let mut found: HashMap<i64, (Option<State>, bool)> = HashMap::new();
        for part in self.parts(verb, &numbers).await? {
            let rows = self.run(Role::Bulk, verb, sql, &[&part]).await?;
            for row in &rows {
                let was = row.get::<_, Option<&str>>("was").and_then(State::parse);
                // A task that was moved here may be found again in its new table.
                found
                    .entry(row.get("id"))
                    .or_insert((was, row.get("changed")));
            }
        }
        Ok(ids
            .iter()
            .map(|id| {
                let (was, changed) = found.get(&id.0).copied().unwrap_or((None, false));
                Moved {
                    id: *id,
                    was,
                    changed,
                }
            })
            .collect())
    }

    /// Splits ids into parts of at most [`MOVE_BYTES`], and of at least one task.
    async fn parts<'a>(
        &self,
        verb: &'static str,
        ids: &'a [i64],
    ) -> Result<Vec<&'a [i64]>, StoreError> {
        if ids.len() <= FEW {
            return Ok(vec![ids]);
        }
        let sql = sql!("task_bytes");
        let rows = self.run(Role::Bulk, verb, sql, &[&ids]).await?;
        let sizes: HashMap<i64, i64> = rows
            .iter()
            .map(|row| (row.get("id"), row.get("bytes")))
            .collect();
        let mut parts = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (n, id) in ids.iter().enumerate() {
            let size = sizes.get(id).copied().unwrap_or(0);
            if n > start && bytes + size > MOVE_BYTES {
                parts.push(&ids[start..n]);
                (start, bytes) = (n, 0);
            }
            bytes += size;
        }
        parts.push(&ids[start..]);
        Ok(parts)
    }

    /// Stops claims from a queue, within a second or so. Running tasks continue. False: it was
    /// paused already.
    pub async fn pause_queue(&self, queue: &Name) -> Result<bool, StoreError> {
        self.toggle(sql!("pause"), Some(queue), None).await
    }

    /// Ends a pause. False: it was not paused.
    pub async fn resume_queue(&self, queue: &Name) -> Result<bool, StoreError> {
        self.toggle(sql!("resume"), Some(queue), None).await
    }

    /// Stops claims of a handler's tasks, within a second or so. False: it was
    /// paused already.
    pub async fn pause_handler(&self, handler: &Name) -> Result<bool, StoreError> {
        self.toggle(sql!("pause"), None, Some(handler)).await
    }

    /// Ends a pause. False: it was not paused.
    pub async fn resume_handler(&self, handler: &Name) -> Result<bool, StoreError> {
        self.toggle(sql!("resume"), None, Some(handler)).await
    }

    async fn toggle(
        &self,
        sql: &Sql,
        queue: Option<&Name>,
        handler: Option<&Name>,
    ) -> Result<bool, StoreError> {
        let (queue, handler) = (queue.map(Name::as_str), handler.map(Name::as_str));
        let rows = self
            .run(Role::General, "pause or resume", sql, &[&queue, &handler])
            .await?;
        Ok(rows[0].get("changed"))
    }
}
