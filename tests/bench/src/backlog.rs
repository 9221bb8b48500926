//! `backlog`: the rate of the first `--tasks` tasks while `--backlog` more of the same
//! handler wait behind them, and while as many are scheduled; and the duration of the
//! operators' views at that depth. The server generates the backlog.

use std::time::Instant;

use pgtq::bench::{BenchEnvironment, Field, Figure, Problem, work};
use pgtq_store::Filter;

use crate::args::LabArgs;
use crate::plain;
use crate::sql::Client;

pub(crate) async fn round(
    stage: &BenchEnvironment<'_>,
    args: &LabArgs,
) -> Result<Vec<Figure>, Problem> {
    let (n, more) = (u64::from(stage.options.tasks), u64::from(args.backlog));
    let plain = plain::drain(stage.field().await?).await?;
    let mut figures = vec![Figure::new("plain", plain.rate(), "tasks/s")];
    for (what, scheduled) in [("waiting", false), ("scheduled", true)] {
        let field = stage.field().await?;
        work::push(&field, n, |_| stage.task.clone()).await?;
        Client::connect(&field)
            .await?
            .fill(&stage.task, more, scheduled)
            .await?;
        let drained = work::drain(&field, n).await?;
        // The runners may have finished a few more before they stopped.
        let counts = field.store.bench_counts().await?;
        work::verify(
            &field.store,
            counts.ended,
            n + more - counts.ended.min(n + more),
        )
        .await?;
        figures.push(Figure::new(
            format!("{more} {what}"),
            drained.rate(),
            "tasks/s",
        ));
        let name = format!("{what}, ratio to plain");
        figures.push(work::ratio(&name, drained.rate(), plain.rate()).target("≥ 0.95"));
        figures.extend(views(&field, what).await?);
        field.close().await?;
    }
    Ok(figures)
}

/// The duration of the queries of `pgtq tasks`, `queues` and `stats`, in milliseconds.
async fn views(field: &Field<'_>, what: &str) -> Result<Vec<Figure>, Problem> {
    let mut figures = Vec::new();
    let mut add = |verb: &str, started: Instant| {
        let took = started.elapsed().as_secs_f64() * 1e3;
        figures.push(Figure::new(format!("{what}, {verb}"), took, "ms").target("≤ 100"));
    };
    let started = Instant::now();
    field.store.tasks(&Filter::default()).await?;
    add("tasks", started);
    let started = Instant::now();
    field.store.queues().await?;
    add("queues", started);
    let started = Instant::now();
    field.store.stats().await?;
    add("stats", started);
    Ok(figures)
}
