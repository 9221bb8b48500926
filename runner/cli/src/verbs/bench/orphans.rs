//! `orphans`: `drain` with `--backlog` older tasks in front whose handler nobody
//! has loaded. They wait, and nobody else must.

use super::figure::Figure;
use super::stage::Stage;
use super::work;
use crate::error::Problem;
use pgtq_task::{Name, NewTask};

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Figure>, Problem> {
    let plain = work::plain(stage.field().await?).await?;
    let (n, n_orphans) = (u64::from(stage.args.tasks), u64::from(stage.args.backlog));
    let field = stage.field().await?;
    let nobody = NewTask::new(Name::new("nobody.has.this")?, "{}");
    field.store.bench_fill(&nobody, n_orphans, false).await?;
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
