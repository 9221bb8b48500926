//! Push: many tasks in one transaction.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use crate::connect::connection::Store;
use crate::connect::error::StoreError;
use crate::connect::role::Role;
use crate::connect::session::Lease;
use crate::sql::sql;
use pgtq_task::{MAX_ARGS_BYTES, Name, NewTask, State, TaskId};

/// The result for one pushed task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The task's id.
    pub id: TaskId,
    /// A task with this idempotency key existed already: this is its id.
    pub existed: bool,
}

/// What a push with a key does when a task with this key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Leaves that task unchanged.
    Ignore,
    /// Changes that task, if it has not started.
    Replace,
}

/// The result of [`Store::push_task`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// It was added.
    New,
    /// Another task has the key, and is unchanged.
    Existing,
    /// The waiting task that has the key was changed.
    Replaced,
    /// The task that has the key has started, so it was not replaced.
    Running,
}

/// Tasks and bytes of arguments for one statement. 5,000 rows were no slower
/// per row than 1,000 or 20,000 in other queues' measurements.
const CHUNK_TASKS: usize = 5_000;
const CHUNK_BYTES: usize = 16 << 20;
/// Three thousand years: rejected, and still a valid interval.
const FAR_SECONDS: f64 = 1e11;

impl Store {
    /// Pushes all tasks or none, in this order. Any number: large pushes are sent in chunks
    /// inside one transaction. Rejected: a name, size, delay or JSON text that the database does
    /// not accept. After a transient error it is unknown whether the tasks exist: only a push
    /// with keys may be repeated.
    pub async fn push(&self, tasks: &[NewTask]) -> Result<Vec<Pushed>, StoreError> {
        if let Some(task) = tasks.iter().find(|task| task.args.len() > MAX_ARGS_BYTES) {
            return Err(StoreError::Refused {
                message: format!(
                    "the arguments for {} have {} bytes, at most {MAX_ARGS_BYTES} are allowed",
                    task.handler,
                    task.args.len()
                ),
                hint: Some("store the data elsewhere and push a reference to it".to_owned()),
            });
        }
        let role = if tasks.len() > 100 {
            Role::Bulk
        } else {
            Role::General
        };
        let mut lease = self.lease(role, "push").await?;
        if let [task] = tasks
            && task.key.is_none()
            && task.parent.is_none()
        {
            return Ok(vec![push_one(&mut lease, task).await?]);
        }
        let chunks = chunks(tasks);
        if let [chunk] = chunks.as_slice() {
            return push_on(&mut lease, chunk).await;
        }
        lease.begin().await?;
        let mut pushed = Vec::with_capacity(tasks.len());
        for chunk in chunks {
            match push_on(&mut lease, chunk).await {
                Ok(more) => pushed.extend(more),
                Err(error) => {
                    // The first error is the one to report.
                    lease.rollback().await.ok();
                    return Err(error);
                }
            }
        }
        lease.commit().await?;
        Ok(pushed)
    }
}

impl Store {
    /// Pushes one task of an application, and returns the result. `key_ttl`: how long its key is
    /// kept after the task is due, instead of the retention.
    pub async fn push_task(
        &self,
        task: &NewTask,
        on_conflict: OnConflict,
        key_ttl: Option<Duration>,
    ) -> Result<(TaskId, PushOutcome), StoreError> {
        let queue = task.queue.as_ref().map_or("default", |name| name.as_str());
        let retries = task.retries.map(|retries| retries.to_column());
        let on_conflict = match on_conflict {
            OnConflict::Replace if task.key.is_some() => "replace",
            _ => "ignore",
        };
        let key_ttl = key_ttl.map(seconds);
        let params: [&(dyn ToSql + Sync); 10] = [
            &task.handler.as_str(),
            &task.args,
            &queue,
            &task.priority,
            &delay(task),
            &task.run_at,
            &retries,
            &task.key,
            &on_conflict,
            &key_ttl,
        ];
        let rows = self
            .run(Role::General, "push", sql!("push_task"), &params)
            .await?;
        let outcome = match rows[0].get("outcome") {
            "new" => PushOutcome::New,
            "replaced" => PushOutcome::Replaced,
            "running" => PushOutcome::Running,
            _ => PushOutcome::Existing,
        };
        Ok((TaskId(rows[0].get("id")), outcome))
    }

    /// The task with an idempotency key, and its state if its history is kept.
    pub async fn find(
        &self,
        key: &str,
        queue: &Name,
    ) -> Result<Option<(TaskId, Option<State>)>, StoreError> {
        let params: [&(dyn ToSql + Sync); 2] = [&key, &queue.as_str()];
        let rows = self
            .run(
                Role::General,
                "find a task by its key",
                sql!("find"),
                &params,
            )
            .await?;
        Ok(rows.first().map(|row| {
            let state = row.get::<_, Option<&str>>("state");
            (TaskId(row.get("id")), state.and_then(State::parse))
        }))
    }
}

/// Pushes a task that cannot exist already: this function costs a third of the one for many.
async fn push_one(lease: &mut Lease<'_>, task: &NewTask) -> Result<Pushed, StoreError> {
    let queue = task.queue.as_ref().map_or("default", |name| name.as_str());
    let retries = task.retries.map(|retries| retries.to_column());
    let rows = lease
        .query(
            sql!("push_one"),
            &[
                &task.handler.as_str(),
                &task.args,
                &queue,
                &task.priority,
                &delay(task),
                &task.run_at,
                &retries,
            ],
        )
        .await?;
    Ok(Pushed {
        id: TaskId(rows[0].get("id")),
        existed: false,
    })
}

/// In seconds.
fn delay(task: &NewTask) -> Option<f64> {
    task.delay.map(seconds)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64().min(FAR_SECONDS)
}

/// New tasks as arrays, one array per column.
pub(crate) struct PushColumns<'a> {
    handlers: Vec<&'a str>,
    args: Vec<&'a str>,
    queues: Vec<&'a str>,
    priorities: Vec<i32>,
    delays: Vec<Option<f64>>,
    run_ats: Vec<Option<jiff::Timestamp>>,
    retries: Vec<Option<i32>>,
    keys: Vec<Option<&'a str>>,
    scopes: Vec<Option<&'a str>>,
}

impl<'a> PushColumns<'a> {
    pub(crate) fn new(tasks: &'a [NewTask]) -> Self {
        fn column<'a, T>(tasks: &'a [NewTask], field: impl Fn(&'a NewTask) -> T) -> Vec<T> {
            tasks.iter().map(field).collect()
        }
        PushColumns {
            handlers: column(tasks, |task| task.handler.as_str()),
            args: column(tasks, |task| task.args.as_str()),
            queues: column(tasks, |task| {
                task.queue.as_ref().map_or("default", |name| name.as_str())
            }),
            priorities: column(tasks, |task| task.priority),
            delays: column(tasks, delay),
            run_ats: column(tasks, |task| task.run_at),
            retries: column(tasks, |task| {
                task.retries.map(|retries| retries.to_column())
            }),
            keys: column(tasks, |task| task.key.as_deref()),
            scopes: column(tasks, |task| task.key_scope.as_deref()),
        }
    }

    /// The parameters of `push.sql`, up to the parents.
    pub(crate) fn params(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.handlers,
            &self.args,
            &self.queues,
            &self.priorities,
            &self.delays,
            &self.run_ats,
            &self.retries,
            &self.keys,
            &self.scopes,
        ]
    }
}

/// Pushes one chunk, in the transaction of `lease` if one is open.
pub(crate) async fn push_on(
    lease: &mut Lease<'_>,
    tasks: &[NewTask],
) -> Result<Vec<Pushed>, StoreError> {
    let parents: Vec<Option<i64>> = tasks
        .iter()
        .map(|task| task.parent.map(|id| id.0))
        .collect();
    let columns = PushColumns::new(tasks);
    let mut params = columns.params().to_vec();
    let of_plugins = |task: &NewTask| task.parent.is_some() || task.key_scope.is_some();
    let rows = if tasks.iter().any(of_plugins) {
        params.push(&parents);
        lease.query(sql!("push"), &params).await?
    } else {
        lease.query(sql!("push_arrays"), &params[..8]).await?
    };
    Ok(rows
        .iter()
        .map(|row| Pushed {
            id: TaskId(row.get("id")),
            existed: row.get("existed"),
        })
        .collect())
}

/// Consecutive chunks within both limits; always at least one chunk.
fn chunks(tasks: &[NewTask]) -> Vec<&[NewTask]> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (i, task) in tasks.iter().enumerate() {
        if i > start && (i - start == CHUNK_TASKS || bytes + task.args.len() > CHUNK_BYTES) {
            chunks.push(&tasks[start..i]);
            start = i;
            bytes = 0;
        }
        bytes += task.args.len();
    }
    chunks.push(&tasks[start..]);
    chunks
}
