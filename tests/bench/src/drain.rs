//! `drain` of `pgtq bench`. `--pin` holds a snapshot from before the push, `--baseline`
//! adds the baseline of raw SQL.

use pgtq::bench::work::ratio;
use pgtq::bench::{BenchEnvironment, Figure, Problem, drain};

use crate::args::LabArgs;
use crate::floor;
use crate::sql::Client;

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let floor = floor::asked(stage, args).await?;
    let field = stage.field().await?;
    let _pin = match args.pin {
        Some(kind) => Some(Client::pin(&field, kind).await?),
        None => None,
    };
    let mut figures = drain::round(field).await?;
    if let Some(floor) = floor {
        // The rate is the first figure.
        let rate = figures[0].value;
        figures.push(Figure::new("floor", floor.drained, "jobs/s"));
        figures.push(ratio("ratio to floor", rate, floor.drained).target("≥ 0.6"));
    }
    Ok(figures)
}
