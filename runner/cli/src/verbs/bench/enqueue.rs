//! `enqueue`: tasks pushed in bulk, 5,000 a transaction, by one connection. The
//! clock runs while a push is under way. Nobody takes the tasks.

use super::figure::Figure;
use super::stage::Stage;
use super::{floor, work};
use crate::error::Problem;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Figure>, Problem> {
    let floor = floor::asked(stage).await?;
    let field = stage.field().await?;
    let n = u64::from(stage.args.tasks);
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
