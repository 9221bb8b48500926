//! The floor: one table, raw SQL, no handlers, no retries, no recovery. What the
//! same server does in the same run when nobody asks for more.

use std::time::Instant;

use super::stage::{Field, Stage};
use super::work::BATCH;
use crate::error::Problem;
use pgtq_store::Store;

/// Connections that take jobs, and jobs that each takes at once.
const WORKERS: usize = 2;
const TAKEN: u32 = 500;

/// Jobs a second, bulk inserted by one connection and taken by two.
pub(super) struct Floor {
    pub(super) inserted: f64,
    pub(super) drained: f64,
}

/// Measures the floor, if it was asked for.
pub(super) async fn asked(stage: &Stage<'_>) -> Result<Option<Floor>, Problem> {
    match stage.args.baseline {
        true => Ok(Some(measure(stage.field().await?).await?)),
        false => Ok(None),
    }
}

async fn measure(field: Field<'_>) -> Result<Floor, Problem> {
    let args = &field.stage.args;
    let n = args.tasks as usize;
    field.store.floor_create().await?;
    let started = Instant::now();
    let mut left = n;
    while left > 0 {
        let now = left.min(BATCH);
        field.store.floor_insert(&args.args, now).await?;
        left -= now;
    }
    let inserted = n as f64 / started.elapsed().as_secs_f64();
    let mut stores = Vec::new();
    for _ in 0..WORKERS {
        stores.push(field.connect().await?);
    }
    let started = Instant::now();
    futures_util::future::try_join_all(stores.iter().map(take_all)).await?;
    let drained = n as f64 / started.elapsed().as_secs_f64();
    let counts = field.store.floor_counts().await?;
    if counts != (0, n as u64) {
        return Err(Problem::failed(format!(
            "the floor lost jobs, so nothing is reported: {} wait, {} of {n} ended",
            counts.0, counts.1
        )));
    }
    field.close().await?;
    Ok(Floor { inserted, drained })
}

async fn take_all(store: &Store) -> Result<(), Problem> {
    while store.floor_step(TAKEN).await? > 0 {}
    Ok(())
}
