//! `queues`: `drain` of the same number of tasks, in one queue and spread over many.

use pgtq::bench::{BenchEnvironment, Figure, Problem, work};
use pgtq_task::{Name, NewTask};

use crate::args::LabArgs;
use crate::plain;

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let one = plain::drain(stage.field().await?).await?;
    let n_queues = u64::from(args.queues);
    let names: Result<Vec<Name>, _> = (0..n_queues)
        .map(|i| Name::new(&format!("bench-{i}")))
        .collect();
    let names = names?;
    let n = u64::from(stage.options.tasks);
    let field = stage.field().await?;
    work::push(&field, n, |i| NewTask {
        queue: names.get((i % n_queues) as usize).cloned(),
        ..stage.task.clone()
    })
    .await?;
    let many = work::drain(&field, n).await?;
    work::verify(&field.store, n, 0).await?;
    field.close().await?;
    Ok(vec![
        Figure::new("one queue", one.rate(), "tasks/s"),
        Figure::new(format!("{n_queues} queues"), many.rate(), "tasks/s"),
        work::ratio("ratio to one queue", many.rate(), one.rate()).target("≥ 0.9"),
    ])
}
