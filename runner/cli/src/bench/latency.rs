//! `latency`: single pushes at a fixed `--rate` to an otherwise idle runner. Measures from
//! the push to the start and to the end of the attempt, by the clock of the database.

use std::time::Duration;

use super::figure::Figure;
use super::stage::{BenchEnvironment, Field};
use super::work;
use crate::error::Problem;
use pgtq_task::{Name, NewTask};

/// Measures once.
pub async fn round(stage: &BenchEnvironment<'_>) -> Result<Vec<Figure>, Problem> {
    let field = stage.field().await?;
    let runners = field.runners().await?;
    let n = singles(&field, &stage.task).await?;
    work::reach(&runners, n, |_, _| ()).await?;
    runners.stop().await?;
    work::verify(&field.store, n, 0).await?;
    let mut figures = figures(&field, &stage.task.handler).await?;
    field.close().await?;
    for (figure, target) in figures.iter_mut().zip(["≤ 1", "", "≤ 5"]) {
        figure.set_target(target);
    }
    Ok(figures)
}

/// Pushes single tasks for the duration of the workload. Returns their number.
pub async fn singles(field: &Field<'_>, task: &NewTask) -> Result<u64, Problem> {
    let options = &field.stage.options;
    let n = (f64::from(options.rate) * f64::from(options.seconds)).ceil() as u64;
    let mut tick = tokio::time::interval(Duration::from_secs(1) / options.rate);
    for _ in 0..n {
        tick.tick().await;
        field.store.push(std::slice::from_ref(task)).await?;
    }
    Ok(n)
}

/// The latencies of one handler's tasks.
pub async fn figures(field: &Field<'_>, handler: &Name) -> Result<Vec<Figure>, Problem> {
    let Some(waits) = field.store.bench_waits(handler).await? else {
        return Err(Problem::failed(format!(
            "no task of `{handler}` has started"
        )));
    };
    let ms = |what: &str, seconds: f64| Figure::new(what, seconds * 1e3, "ms");
    Ok(vec![
        ms("push to start, p50", waits.start_p50),
        ms("push to start, p95", waits.start_p95),
        ms("push to start, p99", waits.start_p99),
        ms("push to start, slowest", waits.start_max),
        ms("push to end, p50", waits.end_p50),
    ])
}
