//! `pgtq runners`: who is alive.

use clap::Args;
use jiff::Timestamp;

use crate::cli::context::Context;
use crate::cli::database;
use crate::cli::error::Problem;
use crate::cli::output::{Cell, Rows};

/// Live runners, their slots and plugins.
#[derive(Debug, Args)]
pub(crate) struct RunnersArgs {}

pub(crate) async fn run(_args: RunnersArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    let now = Timestamp::now();
    let mut rows = Rows::new(
        "pgtq.runners/v1",
        &[
            "id", "name", "host", "pid", "state", "busy", "slots", "queues", "plugins", "seen",
            "started", "version",
        ],
    );
    for runner in store.runners().await? {
        let cells = vec![
            runner.id.to_string().into(),
            runner.name.as_str().into(),
            runner.host.as_str().into(),
            runner.pid.to_string().into(),
            runner.state.as_str().into(),
            runner.busy.to_string().into(),
            runner.slots.to_string().into(),
            runner.queues.join(",").into(),
            runner.digests.len().to_string().into(),
            // The database's clock says how long ago, ours may be wrong.
            Cell::new(
                format!("{:.0}s ago", runner.seen_seconds.max(0.0)),
                runner.seen_at.to_string(),
            ),
            Cell::time(Some(runner.started_at), now),
            runner.version.as_str().into(),
        ];
        rows.push(
            runner.id,
            cells,
            serde_json::to_value(&runner).unwrap_or_default(),
        );
    }
    context.out.rows(&rows)?;
    if context.out.terminal && rows.len() == 0 {
        context.note("no runner is alive; start one with `pgtq run`");
    }
    Ok(())
}
