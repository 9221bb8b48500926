//! Reads a claim's result: one row with an array for each column, as in the claims table.
//!
//! A row for each task would be sent, parsed and looked up by column name a thousand times for
//! values that are the same in nearly all of them.

use tokio_postgres::Row;

use crate::sql::json::JsonText;
use crate::sql::timestamp::DbTimestamp;
use crate::verbs::lanes::lane::{LaneKey, LaneRun};
use pgtq_task::{Name, Retries, Task, TaskId, Traits};

/// The tasks of a claim, and their lanes.
pub(crate) fn read(row: &Row) -> (Vec<LaneRun>, Vec<Task>) {
    let ids: Vec<i64> = row.get("ids");
    let queues: Vec<&str> = row.get("queues");
    let handlers: Vec<&str> = row.get("handlers");
    let priorities: Vec<i32> = row.get("priorities");
    let positions: Vec<i64> = row.get("positions");
    let attempts: Vec<i32> = row.get("attempts");
    let crashes: Vec<i32> = row.get("crashes");
    let retries: Vec<Option<i32>> = row.get("retries");
    let pushed_at: Vec<DbTimestamp> = row.get("pushed_at");
    let due_at: Vec<DbTimestamp> = row.get("due_at");
    let mut keys: Vec<Option<String>> = row.get("keys");
    let parents: Vec<Option<i64>> = row.get("parents");
    // NULL as a whole when no task has traits.
    let mut traits: Option<Vec<Option<JsonText>>> = row.get("traits");
    let mut args: Vec<JsonText> = row.get("args");

    let count = |value: i32| u32::try_from(value).unwrap_or(0);
    let mut runs: Vec<LaneRun> = Vec::new();
    let mut tasks: Vec<Task> = Vec::with_capacity(ids.len());
    // Adjacent tasks are mostly of one lane: the lane and its names are allocated once for them.
    for i in 0..ids.len() {
        let lane = (priorities[i], queues[i], handlers[i]);
        let before = tasks.last();
        let name = |text: &str, before: Option<&Name>| match before {
            Some(name) if name.as_str() == text => name.clone(),
            _ => Name::trusted(text),
        };
        let queue = name(lane.1, before.map(|task| &task.queue));
        let handler = name(lane.2, before.map(|task| &task.handler));
        match runs.last_mut() {
            Some(run) if i > 0 && lane == (priorities[i - 1], queues[i - 1], handlers[i - 1]) => {
                run.n += 1;
                run.last = run.last.max(positions[i]);
            }
            _ => runs.push(LaneRun {
                key: LaneKey {
                    priority: lane.0,
                    queue: lane.1.to_owned(),
                    handler: lane.2.to_owned(),
                },
                n: 1,
                last: positions[i],
            }),
        }
        tasks.push(Task {
            id: TaskId(ids[i]),
            queue,
            handler,
            priority: priorities[i],
            args: std::mem::take(&mut args[i].0),
            attempts: count(attempts[i]),
            crashes: count(crashes[i]),
            retries: retries[i].map(Retries::from_column),
            pushed_at: pushed_at[i].0,
            due_at: due_at[i].0,
            key: keys[i].take(),
            parent: parents[i].map(TaskId),
            traits: traits
                .as_mut()
                .and_then(|traits| traits[i].take())
                .map(|traits| Traits::new(traits.0)),
        });
    }
    (runs, tasks)
}
