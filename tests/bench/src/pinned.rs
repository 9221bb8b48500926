//! `pinned`: `drain` while a transaction from before the push is open, of a reader (a
//! backup) and of a writer (a forgotten session). Dead rows accumulate, and the rate must
//! not drop.

use pgtq::bench::{BenchEnvironment, Figure, Problem, work};

use crate::args::PinKind;
use crate::plain;
use crate::sql::Client;

pub(crate) async fn round(stage: &BenchEnvironment<'_>) -> Result<Vec<Figure>, Problem> {
    let plain = plain::drain(stage.field().await?).await?;
    let mut figures = vec![Figure::new("plain", plain.rate(), "tasks/s")];
    for (who, kind) in [("reader", PinKind::Read), ("writer", PinKind::Write)] {
        let field = stage.field().await?;
        let pin = Client::pin(&field, kind).await?;
        let drained = plain::drain(field).await?;
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
