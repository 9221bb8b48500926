//! `pinned`: `drain` while a transaction from before the push is open, once of a
//! reader (a backup) and once of a writer (a forgotten session). Dead rows pile up
//! behind it; the rate must not care.

use super::figure::Figure;
use super::stage::Stage;
use super::work;
use crate::error::Problem;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Figure>, Problem> {
    let plain = work::plain(stage.field().await?).await?;
    let mut figures = vec![Figure::new("plain", plain.rate(), "tasks/s")];
    for (who, writing) in [("reader", false), ("writer", true)] {
        let field = stage.field().await?;
        let pin = field.store.bench_pin(writing).await?;
        let drained = work::plain(field).await?;
        drop(pin);
        let (first, last) = drained.ends();
        figures.extend([
            Figure::new(who, drained.rate(), "tasks/s"),
            work::ratio(
                &format!("{who}, ratio to plain"),
                drained.rate(),
                plain.rate(),
            )
            .target("≥ 0.95"),
            work::ratio(&format!("{who}, last tenth to first"), last, first).target("≥ 0.9"),
        ]);
    }
    Ok(figures)
}
