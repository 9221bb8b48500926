//! `pgtq stats`: shows task counts, throughput and latency.

use std::time::Duration;

use clap::Args;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::{Cell, Format, Rows};
use crate::text;
use pgtq_store::Stats;

/// Arguments of `pgtq stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {}

pub(crate) async fn run(_args: StatsArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let stats = store.stats().await?;
    let count = |n: i64| Cell::count(u64::try_from(n).unwrap_or(0));
    let last_minutes = stats
        .ended_per_minute
        .iter()
        .map(i64::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let pairs = [
        (
            "scheduled",
            Cell::about(stats.scheduled, stats.scheduled_is_estimate),
        ),
        (
            "runnable",
            Cell::about(stats.runnable, stats.runnable_is_estimate),
        ),
        ("running", count(stats.running)),
        ("finished/min", last_minutes.into()),
    ];
    context
        .out
        .one("pgtq.stats/v1", stats.runnable, &pairs, &stats)?;
    match context.out.format {
        Format::Table if !stats.handlers.is_empty() => {
            if context.out.terminal {
                context.out.raw("\nlast five minutes\n")?;
            }
            context.out.rows(&handlers(&stats))
        }
        _ => Ok(()),
    }
}

fn handlers(stats: &Stats) -> Rows {
    let mut rows = Rows::new(
        "pgtq.handler_stats/v1",
        &[
            "handler",
            "complete",
            "failed",
            "cancelled",
            "wait p50",
            "wait p95",
            "run p50",
            "run p95",
        ],
    );
    for row in &stats.handlers {
        let count = |n: i64| Cell::count(u64::try_from(n).unwrap_or(0));
        let time = |seconds: f64| {
            let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            Cell::new(text::fine(duration), format!("{seconds:.6}"))
        };
        let cells = vec![
            row.handler.as_str().into(),
            count(row.complete),
            count(row.failed),
            count(row.cancelled),
            time(row.wait_p50),
            time(row.wait_p95),
            time(row.run_p50),
            time(row.run_p95),
        ];
        rows.push(&row.handler, cells, row);
    }
    rows
}
