//! `pgtq runners`: lists live runners and external workers, or drains runners.

use clap::Args;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::{Cell, Rows};
use pgtq_store::Store;

/// Arguments of `pgtq runners`.
#[derive(Debug, Args)]
pub(crate) struct RunnersArgs {
    /// Ask the live runners with this name or id to finish their running tasks and exit
    #[arg(long, value_name = "NAME")]
    pub(crate) drain: Option<String>,
}

pub(crate) async fn run(args: RunnersArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    if let Some(name) = &args.drain {
        context.writing(&config)?;
        let store = database::open(context, &config).await?;
        return drain(&store, name, context).await;
    }
    let store = database::open(context, &config).await?;
    let now = store.now().await?;
    let mut rows = Rows::new(
        "pgtq.runners/v1",
        &[
            "id",
            "name",
            "host",
            "pid",
            "state",
            "busy",
            "claimed",
            "slots",
            "queues",
            "plugins",
            "last seen",
            "started",
            "version",
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
            runner.held.to_string().into(),
            runner.slots.to_string().into(),
            runner.queues.join(",").into(),
            runner.digests.len().to_string().into(),
            // The age is measured by the clock of the database, not of this machine.
            Cell::new(
                format!("{:.0}s ago", runner.seen_seconds.max(0.0)),
                runner.seen_at.to_string(),
            ),
            Cell::time(Some(runner.started_at), now),
            runner.version.as_str().into(),
        ];
        rows.push(runner.id, cells, &runner);
    }
    for worker in store.workers().await? {
        let nothing = || Cell::from("");
        let cells = vec![
            nothing(),
            worker.name.as_str().into(),
            nothing(),
            nothing(),
            worker.state.into(),
            worker.running.to_string().into(),
            nothing(),
            worker.sessions.to_string().into(),
            worker.queues.join(",").into(),
            nothing(),
            Cell::new(
                format!("{:.0}s ago", worker.seen_seconds.max(0.0)),
                worker.seen_at.to_string(),
            ),
            nothing(),
            nothing(),
        ];
        rows.push(&worker.name, cells, &worker);
    }
    context.out.rows(&rows)?;
    if context.out.terminal && rows.len() == 0 {
        context.note("no runner or worker is live; start a runner with `pgtq run`");
    }
    Ok(())
}

async fn drain(store: &Store, name: &str, context: &Context) -> Result<(), Problem> {
    match store.drain(name).await? {
        0 => Err(
            Problem::not_found(format!("no live runner has the name or id `{name}`"))
                .help("list the live runners: pgtq runners"),
        ),
        1 => {
            context.note(format!(
                "{name} is draining: it exits when its running tasks have finished"
            ));
            Ok(())
        }
        n => {
            context.note(format!(
                "{n} runners are draining: they exit when their running tasks have finished"
            ));
            Ok(())
        }
    }
}
