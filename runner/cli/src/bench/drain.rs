//! `drain`: runs a backlog of tasks. Measures from the start of the engines, with plugins
//! loaded, to the last durable outcome. WAL is split into that of the push and the rest.

use super::figure::Figure;
use super::stage::Field;
use super::work;
use crate::error::Problem;

/// Measures once, in this schema. The first figure is the rate.
pub async fn round(field: Field<'_>) -> Result<Vec<Figure>, Problem> {
    let n = u64::from(field.stage.options.tasks);
    let task = field.stage.task.clone();
    let pushed = work::push(&field, n, |_| task.clone()).await?;
    let drained = work::drain(&field, n).await?;
    work::verify(&field.store, n, 0).await?;
    field.close().await?;
    let (first, last) = drained.ends();
    let each = |bytes: u64| bytes as f64 / n as f64;
    Ok(vec![
        Figure::new("rate", drained.rate(), "tasks/s"),
        Figure::new("first tenth", first, "tasks/s"),
        Figure::new("last tenth", last, "tasks/s"),
        Figure::new("wal of push per task", each(pushed.wal), "B"),
        Figure::new("wal of claim and finish per task", each(drained.wal), "B").target("≤ 450"),
        Figure::new("wal per task", each(pushed.wal + drained.wal), "B").target("≤ 700"),
        Figure::new(
            "processor of runners per task",
            drained.processor.as_secs_f64() * 1e6 / n as f64,
            "µs",
        ),
    ])
}
