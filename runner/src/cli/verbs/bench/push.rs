//! `push`: one task a transaction from `--clients` connections for `--seconds`,
//! while runners take what comes. With `--baseline` the same connections then
//! insert bare rows into a table with one index, while the same runners are busy.

use std::time::{Duration, Instant};

use super::figure::Figure;
use super::stage::{Field, Stage};
use super::work;
use crate::cli::error::Problem;
use crate::store::Store;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Figure>, Problem> {
    let field = stage.field().await?;
    let mut stores = Vec::new();
    for _ in 0..stage.args.clients {
        stores.push(field.connect().await?);
    }
    let runners = field.runners().await?;
    let rate = for_a_while(stage, &stores, async |store| {
        store.push(std::slice::from_ref(&stage.task)).await?;
        Ok(())
    })
    .await?;
    work::reach(&runners, rate.n, |_, _| ()).await?;
    let mut figures = vec![Figure::new("rate", rate.each_second(), "tasks/s")];
    let mut ended = rate.n;
    if stage.args.baseline {
        field.store.floor_create().await?;
        let (floor, kept_busy) = bare(&field, &stores, rate.each_second()).await?;
        ended += kept_busy;
        work::reach(&runners, ended, |_, _| ()).await?;
        figures.push(Figure::new("bare inserts", floor.each_second(), "rows/s"));
        let ratio = work::ratio(
            "ratio to bare inserts",
            rate.each_second(),
            floor.each_second(),
        );
        figures.push(ratio.target("≥ 0.9"));
    }
    runners.stop().await?;
    work::verify(&field.store, ended, 0).await?;
    field.close().await?;
    Ok(figures)
}

/// Bare inserts, with the runners as busy as the pushes kept them; how many tasks
/// that took.
async fn bare(field: &Field<'_>, stores: &[Store], rate: f64) -> Result<(Rate, u64), Problem> {
    let stage = field.stage;
    let n = (rate * f64::from(stage.args.seconds)) as u64;
    work::push(field, n, |_| stage.task.clone()).await?;
    let floor = for_a_while(stage, stores, async |store| {
        Ok(store.floor_insert(&stage.args.args, 1).await?)
    })
    .await?;
    Ok((floor, n))
}

struct Rate {
    n: u64,
    seconds: f64,
}

impl Rate {
    fn each_second(&self) -> f64 {
        self.n as f64 / self.seconds
    }
}

/// All connections do the same thing again and again until the time is over.
async fn for_a_while(
    stage: &Stage<'_>,
    stores: &[Store],
    once: impl AsyncFn(&Store) -> Result<(), Problem>,
) -> Result<Rate, Problem> {
    let whole = Duration::from_secs(stage.args.seconds.into());
    let started = Instant::now();
    let clients = stores.iter().map(|store| async {
        let mut n = 0_u64;
        while started.elapsed() < whole {
            once(store).await?;
            n += 1;
        }
        Ok::<u64, Problem>(n)
    });
    let counts = futures_util::future::try_join_all(clients).await?;
    Ok(Rate {
        n: counts.iter().sum(),
        seconds: started.elapsed().as_secs_f64(),
    })
}
