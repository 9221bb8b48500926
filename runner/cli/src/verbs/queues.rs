//! `pgtq queues`: lists queues with their numbers of tasks.

use std::time::Duration;

use clap::Args;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use crate::text;

/// Arguments of `pgtq queues`.
#[derive(Debug, Args)]
pub(crate) struct QueuesArgs {}

pub(crate) async fn run(_args: QueuesArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let now = store.now().await?;
    let mut rows = Rows::new(
        "pgtq.queues/v1",
        &[
            "queue",
            "scheduled",
            "runnable",
            "running",
            "complete/hour",
            "failed/hour",
            "oldest",
            "paused",
        ],
    );
    let list = store.queue_list().await?;
    for queue in list.queues {
        let count = |n: i64| Cell::count(u64::try_from(n).unwrap_or(0));
        let oldest = queue.oldest_runnable_seconds.map(|s| s.max(0.0));
        let cells = vec![
            queue.queue.as_str().into(),
            Cell::about(queue.scheduled, queue.scheduled_is_estimate),
            Cell::about(queue.runnable, queue.runnable_is_estimate),
            count(queue.running),
            count(queue.complete_hour),
            count(queue.failed_hour),
            Cell::new(
                oldest.map_or_else(String::new, |s| text::coarse(Duration::from_secs_f64(s))),
                oldest.map_or_else(String::new, |s| format!("{s:.3}")),
            ),
            Cell::time(queue.paused_at, now),
        ];
        rows.push(&queue.queue, cells, &queue);
    }
    context.out.rows(&rows)?;
    if list.more > 0 {
        let n_or_more = if list.more >= 10_000 {
            "at least 10000"
        } else {
            &list.more.to_string()
        };
        context.note(format!(
            "showing the first {} queues by name; {n_or_more} more queues contain tasks, see one with: pgtq tasks queue:NAME",
            rows.len()
        ));
    }
    if context.out.terminal && rows.len() == 0 {
        context.note("all queues are empty");
    }
    Ok(())
}
