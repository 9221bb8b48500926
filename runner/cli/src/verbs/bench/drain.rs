//! `drain`: a backlog to its end. The clock runs from the start of the engines,
//! plugins loaded, to the last durable ending. WAL is split into the push and the
//! rest; `--pin` holds an old snapshot from before the push.

use super::figure::Figure;
use super::stage::Stage;
use super::{PinKind, floor, work};
use crate::error::Problem;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Figure>, Problem> {
    let floor = floor::asked(stage).await?;
    let field = stage.field().await?;
    let n = u64::from(stage.args.tasks);
    let _pin = match stage.args.pin {
        Some(kind) => Some(field.store.bench_pin(kind == PinKind::Write).await?),
        None => None,
    };
    let pushed = work::push(&field, n, |_| stage.task.clone()).await?;
    let drained = work::drain(&field, n).await?;
    work::verify(&field.store, n, 0).await?;
    field.close().await?;
    let (first, last) = drained.ends();
    let each = |bytes: u64| bytes as f64 / n as f64;
    let mut figures = vec![
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
    ];
    if let Some(floor) = floor {
        figures.push(Figure::new("floor", floor.drained, "jobs/s"));
        figures.push(work::ratio("ratio to floor", drained.rate(), floor.drained).target("≥ 0.6"));
    }
    Ok(figures)
}
