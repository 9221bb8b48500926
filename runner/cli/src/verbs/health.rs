//! `pgtq health`: a health check for scripts and containers.

use clap::Args;

use crate::context::Context;
use crate::database;
use crate::error::Problem;
use crate::output::Cell;

/// Arguments of `pgtq health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Also require at least this many live runners
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) runners: usize,
}

pub(crate) async fn run(args: HealthArgs, context: &Context) -> Result<(), Problem> {
    let config = context.config(Vec::new())?;
    let store = database::open(context, &config).await?;
    store.ping().await?;
    let runners = store.runners().await?;
    let live = runners
        .iter()
        .filter(|runner| runner.state != "lost")
        .count();
    if live < args.runners {
        return Err(Problem::failed(format!(
            "{} live runners required, found {live}",
            args.runners
        )));
    }
    let json = serde_json::json!({"healthy": true, "runners": live});
    let pairs = [
        ("healthy", Cell::from("yes")),
        ("runners", live.to_string().into()),
    ];
    context.out.one("pgtq.health/v1", "healthy", &pairs, json)
}
