//! The baseline: one table, raw SQL, no handlers, no retries, no recovery, on the same
//! server in the same run.

use std::time::Instant;

use pgtq::bench::work::BATCH;
use pgtq::bench::{BenchEnvironment, Field, Problem};

use crate::args::LabArgs;
use crate::sql::{self, Client};

/// The number of connections that take jobs, and of jobs per statement.
const WORKERS: usize = 2;
const TAKEN: u32 = 500;

/// Jobs per second: bulk inserts of one connection, and jobs finished by two.
pub(crate) struct Floor {
    pub(crate) inserted: f64,
    pub(crate) drained: f64,
}

/// Measures the baseline, if requested.
pub(crate) async fn asked(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Option<Floor>, Problem> {
    match args.baseline {
        true => Ok(Some(measure(stage.field().await?).await?)),
        false => Ok(None),
    }
}

async fn measure(field: Field<'_>) -> Result<Floor, Problem> {
    let options = &field.stage.options;
    let n = options.tasks as usize;
    let client = Client::connect(&field).await?;
    client.floor_create().await?;
    let floor = client.floor().await?;
    let started = Instant::now();
    let mut left = n;
    while left > 0 {
        let now = left.min(BATCH);
        floor.insert(&options.args, now).await?;
        left -= now;
    }
    let inserted = n as f64 / started.elapsed().as_secs_f64();
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Client::connect(&field).await?.floor().await?);
    }
    let started = Instant::now();
    futures_util::future::try_join_all(workers.iter().map(take_all)).await?;
    let drained = n as f64 / started.elapsed().as_secs_f64();
    let counts = floor.counts().await?;
    if counts != (0, n as u64) {
        return Err(Problem::failed(format!(
            "the floor lost jobs, so nothing is reported: {} wait, {} of {n} ended",
            counts.0, counts.1
        )));
    }
    field.close().await?;
    Ok(Floor { inserted, drained })
}

async fn take_all(floor: &sql::Floor) -> Result<(), Problem> {
    while floor.step(TAKEN).await? > 0 {}
    Ok(())
}
