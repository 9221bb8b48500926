//! `orphans`: `drain` behind `--backlog` older tasks of a handler that no runner has. They
//! must not delay others.

use pgtq::bench::{BenchEnvironment, Figure, Problem, work};
use pgtq_task::{Name, NewTask};

use crate::args::LabArgs;
use crate::plain;
use crate::sql::Client;

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let plain = plain::drain(stage.field().await?).await?;
    let (n, n_orphans) = (u64::from(stage.options.tasks), u64::from(args.backlog));
    let field = stage.field().await?;
    let nobody = NewTask::new(Name::new("nobody.has.this")?, "{}");
    Client::connect(&field)
        .await?
        .fill(&nobody, n_orphans, false)
        .await?;
    work::push(&field, n, |_| stage.task.clone()).await?;
    let drained = work::drain(&field, n).await?;
    work::verify(&field.store, n, n_orphans).await?;
    field.close().await?;
    Ok(vec![
        Figure::new("plain", plain.rate(), "tasks/s"),
        Figure::new(
            format!("behind {n_orphans} orphans"),
            drained.rate(),
            "tasks/s",
        ),
        work::ratio("ratio to plain", drained.rate(), plain.rate()).target("≥ 0.95"),
    ])
}
