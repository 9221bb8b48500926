//! `steady`: `--rate` tasks per second for `--seconds`, in small pushes every 10 ms,
//! independent of the runners. Measures the maximum depth of the queue, its depth in the
//! last tenth of the time, and the waiting times of tasks. `--pin` holds an old snapshot.

use std::time::{Duration, Instant};

use pgtq::bench::{BenchEnvironment, Figure, Problem, latency, median, work};

use crate::args::LabArgs;
use crate::sql::Client;

/// The interval between two pushes.
const EVERY: Duration = Duration::from_millis(10);

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let field = stage.field().await?;
    let pin = match args.pin {
        Some(kind) => Some(Client::pin(&field, kind).await?),
        None => None,
    };
    let runners = field.runners().await?;
    let started = Instant::now();
    let whole = Duration::from_secs(stage.options.seconds.into());
    let mut tick = tokio::time::interval(EVERY);
    let (mut pushed, mut depths) = (0_u64, Vec::new());
    while started.elapsed() < whole {
        tick.tick().await;
        // The total that should be pushed by now, to make up for slow pushes.
        let due = (started.elapsed().as_secs_f64() * f64::from(stage.options.rate)) as u64;
        let batch = vec![stage.task.clone(); due.saturating_sub(pushed) as usize];
        if !batch.is_empty() {
            field.store.push(&batch).await?;
        }
        pushed = pushed.max(due);
        depths.push(pushed.saturating_sub(runners.n_final()) as f64);
    }
    let offered = pushed as f64 / started.elapsed().as_secs_f64();
    work::reach(&runners, pushed, |_, _| ()).await?;
    runners.stop().await?;
    drop(pin);
    work::verify(&field.store, pushed, 0).await?;
    let last = &depths[depths.len() - depths.len().div_ceil(10)..];
    let mut figures = vec![
        Figure::new("offered", offered, "tasks/s"),
        Figure::new("depth, median", median(&depths), "tasks"),
        Figure::new("depth, last tenth", median(last), "tasks"),
        Figure::new(
            "depth, deepest",
            depths.iter().copied().fold(0.0, f64::max),
            "tasks",
        ),
    ];
    figures.extend(latency::figures(&field, &stage.task.handler).await?);
    field.close().await?;
    Ok(figures)
}
