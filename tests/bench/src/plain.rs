//! A drain of the default tasks under normal conditions, for comparison.

use pgtq::bench::work::{self, Drained};
use pgtq::bench::{Field, Problem};

/// Pushes and drains the default tasks in a separate schema.
pub(crate) async fn drain(field: Field<'_>) -> Result<Drained, Problem> {
    let n = u64::from(field.stage.options.tasks);
    let task = field.stage.task.clone();
    work::push(&field, n, |_| task.clone()).await?;
    let drained = work::drain(&field, n).await?;
    work::verify(&field.store, n, 0).await?;
    field.close().await?;
    Ok(drained)
}
