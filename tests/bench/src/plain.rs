//! The usual tasks drained with nothing in the way: what other workloads compare with.

use pgtq::bench::work::{self, Drained};
use pgtq::bench::{Field, Problem};

/// Pushes and drains the usual tasks in a schema of their own.
pub(crate) async fn drain(field: Field<'_>) -> Result<Drained, Problem> {
    let n = u64::from(field.stage.options.tasks);
    let task = field.stage.task.clone();
    work::push(&field, n, |_| task.clone()).await?;
    let drained = work::drain(&field, n).await?;
    work::verify(&field.store, n, 0).await?;
    field.close().await?;
    Ok(drained)
}
