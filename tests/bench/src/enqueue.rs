//! `enqueue`: bulk pushes, 5,000 tasks per transaction, from one connection. The time is
//! that of the pushes. No runner claims the tasks.

use pgtq::bench::{BenchEnvironment, Figure, Problem, work};

use crate::args::LabArgs;
use crate::floor;

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let floor = floor::asked(stage, args).await?;
    let field = stage.field().await?;
    let n = u64::from(stage.options.tasks);
    let pushed = work::push(&field, n, |_| stage.task.clone()).await?;
    work::verify(&field.store, 0, n).await?;
    field.close().await?;
    let rate = n as f64 / pushed.seconds;
    let mut figures = vec![
        Figure::new("rate", rate, "tasks/s"),
        Figure::new("wal per task", pushed.wal as f64 / n as f64, "B"),
    ];
    if let Some(floor) = floor {
        figures.push(Figure::new("floor", floor.inserted, "rows/s"));
        figures.push(work::ratio("ratio to floor", rate, floor.inserted).target("≥ 0.8"));
    }
    Ok(figures)
}
